"""One update's episodes and how they are judged: what a training method hands to the trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput

Loss = Callable[[StepScores, slice], ObjectiveOutput]
"""Scores of all rows of the episodes in a slice of the batch -> their loss."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One update's episodes and how they are judged."""

    episodes: Sequence[Sequence[Row]]  # the rows of each, in the order of their decisions
    loss: Loss
    couples_rows: bool  # True if an episode's loss depends on other episodes
    share: Callable[[slice], float]  # weight of a slice's loss in that of the whole; sums to 1
    metrics: dict[str, float]  # what is known before the update
