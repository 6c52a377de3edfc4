"""One update's rows and how they are judged: what a training method hands to the trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput

Loss = Callable[[StepScores, slice], ObjectiveOutput]
"""Scores of the rows in a slice of the batch -> their loss."""


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
    """One update's rows and how they are judged."""

    rows: Sequence[Row]
    loss: Loss
    couples_rows: bool  # True if a row's loss depends on other rows
    share: Callable[[slice], float]  # weight of a slice's loss in that of the whole; sums to 1
    metrics: dict[str, float]  # what is known before the update
    samples: list[Sample] = field(default_factory=list)  # of a few games; filled by `loss`
