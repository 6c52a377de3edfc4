"""One update's rows and how they are judged: what a training method hands to the trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput

Loss = Callable[[StepScores, slice], ObjectiveOutput]
"""Scores of the rows in a slice of the batch -> their loss."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One process's rows of an update, and how they are judged.

    A row that couples with others is never apart from them: groups stay within a process.
    """

    rows: Sequence[Row]
    loss: Loss
    couples_rows: bool  # True if a row's loss depends on other rows
    share: Callable[[slice], float]  # weight of a slice's loss in that of all processes' rows
    metrics: dict[str, float]  # what is known of all processes' rows before the update


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a part of the rows adds to the metrics of all."""

    means: dict[str, float]  # to be summed: each times the part's share
    peaks: dict[str, float]  # to be maximised


def total(tallies: Sequence[Tally]) -> dict[str, float]:
    """Metrics of all parts together."""
    found: dict[str, float] = {}
    for tally in tallies:
        for name, value in tally.means.items():
            found[name] = found.get(name, 0.0) + value
        for name, value in tally.peaks.items():
            found[name] = max(found.get(name, value), value)
    return found
