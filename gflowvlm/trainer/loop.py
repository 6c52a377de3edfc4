"""Prepare, accumulate, step, log, save; the loop knows no method."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.optim import AdamW

from gflowvlm.config.training import TrainerConfig
from gflowvlm.errors import UserError
from gflowvlm.objectives.work import Sample, Work
from gflowvlm.policy.base import Policy
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.gradient import accumulate
from gflowvlm.trainer.optimizer import rate, set_rate
from gflowvlm.trainer.progress import ProgressDisplay
from gflowvlm.trainer.samples import SampleLog, sample_table
from gflowvlm.trainer.signals import stop_on_signal
from gflowvlm.trainer.tracking import Tracker

OPTIMIZER_FILE = "optimizer.pt"
POLICY_FOLDER = "policy"
SHOWN = ("loss", "strict", "reach", "right_moves", "log_reward", "nats_per_token")


class Method(Protocol):
    """Where an update's rows come from and what they are to be judged by."""

    def prepare(self, update: int) -> Work:
        """The work of an update, counted from 0; a function of the update and the policy."""
        ...

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates into a checkpoint."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place."""
        ...


@dataclass(kw_only=True)
class Trainer:
    """Runs the updates of one method on one policy and keeps them on disk."""

    policy: Policy
    method: Method
    optimizer: AdamW
    config: TrainerConfig
    run_dir: Path
    state: dict[str, Any]  # plain values stored with every checkpoint
    look: Callable[[int], dict[str, float]] | None = None  # evaluation during training
    look_every: int = 0
    settings: Mapping[str, Any] | None = None  # of the whole run, for trackers to show

    def resume(self, folder: Path) -> int:
        """Read a checkpoint in place; gives the number of updates done."""
        self.policy.load(folder / POLICY_FOLDER)
        checkpoint.load_optimizer(self.optimizer, folder / OPTIMIZER_FILE)
        self.method.load(folder)
        return checkpoint.step_of(folder)

    def run(self, *, done: int = 0) -> bool:
        """Train to the last update; True if it was reached, False if a signal asked to stop."""
        total = self.config.max_updates
        with (
            stop_on_signal() as request,
            Tracker(
                self.run_dir,
                resumed_step=done,
                trackers=self.config.trackers,
                settings=self.settings,
            ) as tracker,
            closing(SampleLog(self.run_dir, resumed_step=done)) as samples,
            ProgressDisplay(total, done=done) as display,
        ):
            for update in range(done, total):
                metrics, replies = self.update(update)
                step = update + 1
                if replies and _due(update, self.config.samples_every):
                    samples.write(step, replies)
                    display.show(sample_table(step, replies))
                if self.look is not None and _due(step, self.look_every):
                    metrics |= self.look(step)
                if step % self.config.log_every == 0 or step == total:
                    tracker.log(step, metrics)
                    display.advance(step, {k: metrics[k] for k in SHOWN if k in metrics})
                stop = request.stop_requested
                if stop or step % self.config.checkpoint_every == 0 or step == total:
                    self.save(step)
                if stop and step < total:
                    display.say(f"stopped after update {step}; --resume goes on from there")
                    return False
        return True

    def update(self, update: int) -> tuple[dict[str, float], list[Sample]]:
        """One step of the optimiser; gives its metrics and a few of its games' replies."""
        began = time.monotonic()
        work = self.method.prepare(update)
        prepared = time.monotonic()
        self.optimizer.zero_grad()
        metrics = accumulate(self.policy, work, self.config.rows_per_pass)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm).item()
        if not (math.isfinite(metrics["loss"]) and math.isfinite(norm)):
            raise UserError(
                f"update {update + 1}: found loss {metrics['loss']} and gradient norm {norm}, "
                "expected finite numbers; nothing was changed and earlier checkpoints are kept: "
                "lower trainer.learning_rate or set reward.floor higher"
            )
        factor = rate(
            update,
            warmup=self.config.warmup_updates,
            total=self.config.max_updates,
            schedule=self.config.schedule,
        )
        set_rate(self.optimizer, self.config.learning_rate * factor)
        self.optimizer.step()
        timing = {"seconds_prepare": prepared - began, "seconds_step": time.monotonic() - prepared}
        clipped = float(norm > self.config.max_grad_norm)
        step = {"gradient_norm": norm, "clipped": clipped, **timing}
        return {**metrics, **work.metrics, **step}, work.samples

    def save(self, step: int) -> Path:
        """Write a checkpoint of the state after `step` updates."""

        def write(folder: Path) -> None:
            self.policy.save(folder / POLICY_FOLDER)
            checkpoint.save_optimizer(self.optimizer, folder / OPTIMIZER_FILE)
            self.method.save(folder)

        written = checkpoint.save(self.run_dir, step, write, self.state)
        checkpoint.prune(self.run_dir, keep=self.config.keep_checkpoints)
        return written


def _due(count: int, every: int) -> bool:
    """Whether something that happens every so often happens now; never where `every` is 0."""
    return every > 0 and count % every == 0
