"""Prepare, accumulate, step, log, save; the loop knows no method."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.optim import AdamW

from gflowvlm.config.training import TrainerConfig
from gflowvlm.errors import UserError
from gflowvlm.objectives.work import Sample, Work, total
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
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
SHOWN_IF_ANY = ("cut", "invalid_replies")


class Method(Protocol):
    """Where an update's rows come from and what they are to be judged by."""

    def prepare(self, update: int) -> Work:
        """This process's work of an update, counted from 0.

        A function of the update, the policy and the number of processes.
        """
        ...


@dataclass(frozen=True)
class _Output:
    """Where a run's main process writes."""

    tracker: Tracker
    samples: SampleLog
    display: ProgressDisplay


@dataclass(kw_only=True)
class Trainer:
    """Runs the updates of one method on one policy and keeps them on disk.

    Of several processes each has its own copy of all this, and all take the same step: gradients
    are summed before it. The main one writes.
    """

    policy: Policy
    method: Method
    optimizer: AdamW
    config: TrainerConfig
    run_dir: Path
    state: dict[str, Any]  # plain values stored with every checkpoint
    look: Callable[[int], dict[str, float]] | None = None  # evaluation during training
    look_every: int = 0
    settings: Mapping[str, Any] | None = None  # of the whole run, for trackers to show
    processes: Processes = ALONE

    def resume(self, folder: Path) -> int:
        """Read a checkpoint in place; gives the number of updates done."""
        self.policy.load(folder / POLICY_FOLDER)
        checkpoint.load_optimizer(self.optimizer, folder / OPTIMIZER_FILE)
        return checkpoint.step_of(folder)

    def run(self, *, done: int = 0) -> bool:
        """Train to the last update; True if it was reached, False if a signal asked to stop."""
        self.processes.copy_from_main(self._parameters())
        last, main = self.config.max_updates, self.processes.main
        with stop_on_signal() as request, ExitStack() as stack:
            output = stack.enter_context(self._output(done)) if main else None
            for update in range(done, last):
                metrics, replies = self.update(update)
                step = update + 1
                if output and replies and _due(update, self.config.samples_every):
                    output.samples.write(step, replies)
                    output.display.show(sample_table(step, replies))
                if self.look is not None and _due(step, self.look_every):
                    metrics |= self.look(step)
                if output and (step % self.config.log_every == 0 or step == last):
                    output.tracker.log(step, metrics)
                    output.display.advance(step, _shown(metrics))
                stop = any(self.processes.gather(request.stop_requested))
                if main and (stop or step % self.config.checkpoint_every == 0 or step == last):
                    self.save(step)
                if stop and step < last:
                    if output:
                        output.display.say(
                            f"stopped after update {step}; --resume goes on from there"
                        )
                    return False
        return True

    @contextmanager
    def _output(self, done: int) -> Iterator["_Output"]:
        """What the main process alone writes and shows."""
        with (
            Tracker(
                self.run_dir,
                resumed_step=done,
                trackers=self.config.trackers,
                settings=self.settings,
            ) as tracker,
            closing(SampleLog(self.run_dir, resumed_step=done)) as samples,
            ProgressDisplay(self.config.max_updates, done=done) as display,
        ):
            yield _Output(tracker, samples, display)

    def update(self, update: int) -> tuple[dict[str, float], list[Sample]]:
        """One step of the optimiser; gives its metrics and a few of this process's replies.

        Metrics are the same on every process but for times.
        """
        began = time.monotonic()
        work = self.method.prepare(update)
        prepared = time.monotonic()
        self.optimizer.zero_grad()
        tally = accumulate(self.policy, work, self.config.rows_per_pass)
        metrics = total(self.processes.gather(tally))
        parameters = self._parameters()
        self.processes.sum_gradients(parameters)
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
        """Write a checkpoint of the state after `step` updates; for the main process."""

        def write(folder: Path) -> None:
            self.policy.save(folder / POLICY_FOLDER)
            checkpoint.save_optimizer(self.optimizer, folder / OPTIMIZER_FILE)

        written = checkpoint.save(self.run_dir, step, write, self.state)
        checkpoint.prune(self.run_dir, keep=self.config.keep_checkpoints)
        return written

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def _due(count: int, every: int) -> bool:
    """Whether something that happens every so often happens now; never where `every` is 0."""
    return every > 0 and count % every == 0


def _shown(metrics: dict[str, float]) -> dict[str, float]:
    """What a line of progress says."""
    usual = {name: metrics[name] for name in SHOWN if name in metrics}
    return usual | {name: metrics[name] for name in SHOWN_IF_ANY if metrics.get(name)}
