"""One update's episodes and how they are judged: what a training method hands to the trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput

Loss = Callable[[StepScores, slice], ObjectiveOutput]
"""Scores of all rows of the episodes in a slice of the batch -> their loss."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One reply of an update's games, for people to read."""

    episode: int  # number of the episode within the run
    decision: int  # counted from 0
    reply: str
    action: str | None  # None where the reply names no legal action
    reward: float  # the environment's own, for this step
    log_pf: float  # nats, thought weighted as in the loss
    log_ref: float  # nats, the same under the frozen reference; 0 where alpha is 0
    log_reward: float  # log R of the whole episode, nats


@dataclass(frozen=True, kw_only=True)
class Work:
    """One process's episodes of one step of the optimiser, and how they are judged.

    One that couples with others is never apart from them: groups stay within a process.
    """

    episodes: Sequence[Sequence[Row]]  # the rows of each, in the order of their decisions
    loss: Loss
    couples_rows: bool  # True if an episode's loss depends on other episodes
    share: Callable[[slice], float]  # weight of a slice's loss in that of all processes' episodes
    metrics: dict[str, float]  # what is known of all processes' episodes before the step
    episodes_played: int = 0  # by this process's policy for this step, cut ones included
    environment_steps: int = 0  # its decisions in them: what `max_environment_steps` counts
    samples: list[Sample] = field(default_factory=list)  # of a few games; filled by `loss`


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a part of the episodes adds to the metrics of all."""

    means: dict[str, float]  # to be summed: each times the part's share
    peaks: dict[str, float]  # to be maximised

    def over(self, steps: int) -> "Tally":
        """What it adds to the mean of so many steps; peaks stay as they are."""
        means = {name: value / steps for name, value in self.means.items()}
        return Tally(means=means, peaks=self.peaks)


def total(tallies: Sequence[Tally]) -> dict[str, float]:
    """Metrics of all parts together."""
    found: dict[str, float] = {}
    for tally in tallies:
        for name, value in tally.means.items():
            found[name] = found.get(name, 0.0) + value
        for name, value in tally.peaks.items():
            found[name] = max(found.get(name, value), value)
    return found
