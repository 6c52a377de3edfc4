"""Prepare, accumulate, step, log, save; the loop knows no method."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.optim import AdamW

from gflowvlm.config.training import TrainerConfig
from gflowvlm.errors import UserError
from gflowvlm.objectives.work import Sample, Tally, Work, total
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.gradient import accumulate
from gflowvlm.trainer.optimizer import rate, set_rate
from gflowvlm.trainer.progress import ProgressDisplay
from gflowvlm.trainer.samples import SampleLog, sample_table
from gflowvlm.trainer.signals import stop_on_signal
from gflowvlm.trainer.spending import Spending, Stopwatch
from gflowvlm.trainer.tracking import Tracker

OPTIMIZER_FILE = "optimizer.pt"
POLICY_FOLDER = "policy"
SHOWN = (
    "loss",
    "strict",
    "reach",
    "right_moves",
    "log_reward",
    "nats_per_token",
    "rewards/accuracies",
)
SHOWN_IF_ANY = ("cut", "out_of_room", "invalid_replies", "shortened_prompts")


class Method(Protocol):
    """Where an update's rows come from and what they are to be judged by."""

    def prepare(self, update: int) -> Iterable[Work]:
        """This process's work of an update, counted from 0: each is one step of the optimiser.

        A function of the update, the policy and the number of processes. One that comes later may
        be made after the steps before it; all processes give equally many.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates into a checkpoint."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place."""
        ...


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
    look: Callable[[int], dict[str, float]] | None = None  # evaluation during training
    look_every: int = 0
    settings: Mapping[str, Any] | None = None  # of the whole run, for trackers to show
    processes: Processes = ALONE
    spent: Spending = field(default_factory=Spending)

    def resume(self, folder: Path) -> int:
        """Read a checkpoint in place; gives the number of updates done."""
        self.policy.load(folder / POLICY_FOLDER)
        checkpoint.load_optimizer(self.optimizer, folder / OPTIMIZER_FILE)
        self.method.load(folder)
        self.spent = Spending.read(checkpoint.read_state(folder))
        return checkpoint.step_of(folder)

    def run(self, *, done: int = 0) -> bool:
        """Train to the end; True if it was reached, False if a signal asked to stop.

        The end is `max_updates`, or the first update that uses up `max_environment_steps`.
        """
        self.processes.copy_from_main(self._parameters())
        with stop_on_signal() as request, self._journal(done) as journal:
            step = done
            while not self._over(step):
                metrics, replies = self.update(step)
                step += 1
                over = self._over(step)
                if journal:
                    journal.display.expect(step if over else round(self._expected_updates(step)))
                if journal and replies and _due(step - 1, self.config.samples_every):
                    journal.show(step, replies)
                if self.look is not None and _due(step, self.look_every):
                    metrics |= self.look(step)
                if journal and (_due(step, self.config.log_every) or over):
                    journal.log(step, metrics)
                stop = any(self.processes.gather(request.stop_requested))
                if journal and (stop or _due(step, self.config.checkpoint_every) or over):
                    self.save(step)
                if stop and not over:
                    if journal:
                        line = f"stopped after update {step}; --resume goes on from there"
                        journal.display.say(line)
                    return False
        return True

    def update(self, update: int) -> tuple[dict[str, float], list[Sample]]:
        """All steps of an update; gives its metrics and a few of its games' replies.

        The metrics are the same on every process but for times; replies are of its own games. What
        is measured in every step is a mean over them, a peak the greatest.
        """
        watch, stepping = Stopwatch(), 0.0
        self._set_rate(update)
        steps: list[list[Tally]] = []
        known: dict[str, float] = {}
        samples: list[Sample] = []
        episodes = decisions = 0
        for work in self.method.prepare(update):
            prepared = watch.wall
            steps.append(self._step(update, work))
            known |= work.metrics
            samples += work.samples
            episodes += work.episodes_played
            decisions += work.environment_steps
            stepping += watch.wall - prepared
        played = self.processes.gather((episodes, decisions, watch.cpu))
        self.spent.add(played, gradient_steps=len(steps), wall_seconds=watch.wall)
        known |= {
            "environment_steps": self.spent.environment_steps,
            "seconds_prepare": watch.wall - stepping,
            "seconds_step": stepping,
        }
        metrics = total([tally.over(len(steps)) for step in steps for tally in step])
        return {**metrics, **known}, samples

    def _step(self, update: int, work: Work) -> list[Tally]:
        """One step of the optimiser; gives what all processes measured in it."""
        self.optimizer.zero_grad()
        tallies = self.processes.gather(
            accumulate(self.policy, work, self.config.rows_per_pass),
        )
        loss = total(tallies)["loss"]
        parameters = self._parameters()
        self.processes.sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"update {update + 1}: found loss {loss} and gradient norm {norm}, expected finite "
                "numbers; nothing was saved and earlier checkpoints are kept: lower "
                "trainer.learning_rate or set reward.floor higher"
            )
        self.optimizer.step()
        clipped = float(norm > self.config.max_grad_norm)
        return [*tallies, Tally(means={"gradient_norm": norm, "clipped": clipped}, peaks={})]

    def _set_rate(self, update: int) -> None:
        """The learning rate of an update's steps."""
        factor = rate(
            update,
            warmup=self.config.warmup_updates,
            total=self._expected_updates(update),
            schedule=self.config.schedule,
        )
        set_rate(self.optimizer, self.config.learning_rate * factor)

    def save(self, step: int) -> Path:
        """Write a checkpoint of the state after `step` updates; for the main process."""

        def write(folder: Path) -> None:
            self.policy.save(folder / POLICY_FOLDER)
            checkpoint.save_optimizer(self.optimizer, folder / OPTIMIZER_FILE)
            self.method.save(folder)

        written = checkpoint.save(self.run_dir, step, write, self.spent.as_state())
        checkpoint.prune(self.run_dir, keep=self.config.keep_checkpoints)
        return written

    @contextmanager
    def _journal(self, done: int) -> Iterator["_Journal | None"]:
        """What the main process writes and shows; None on the others."""
        if not self.processes.main:
            yield None
            return
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
            yield _Journal(tracker=tracker, samples=samples, display=display)

    def _over(self, step: int) -> bool:
        """Whether training ends after `step` updates."""
        spent = self.spent.exhausts(self.config.max_environment_steps)
        return spent or step >= self.config.max_updates

    def _expected_updates(self, update: int) -> float:
        """Updates that the learning rate's schedule runs over, judged after `update` of them."""
        return self.spent.expected_updates(
            update,
            max_updates=self.config.max_updates,
            max_environment_steps=self.config.max_environment_steps,
        )

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


@dataclass(frozen=True, kw_only=True)
class _Journal:
    """Where a run's numbers and replies go."""

    tracker: Tracker
    samples: SampleLog
    display: ProgressDisplay

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of an update and show some of them."""
        self.tracker.log(step, metrics)
        usual = {name: metrics[name] for name in SHOWN if name in metrics}
        rare = {name: metrics[name] for name in SHOWN_IF_ANY if metrics.get(name)}
        self.display.advance(step, usual | rare)

    def show(self, step: int, replies: list[Sample]) -> None:
        """Keep some replies and show them."""
        self.samples.write(step, replies)
        self.display.show(sample_table(step, replies))


def _due(count: int, every: int) -> bool:
    """Whether something that happens every so often happens now; never where `every` is 0."""
    return every > 0 and count % every == 0
