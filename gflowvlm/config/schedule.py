"""Numbers that move while a run goes on."""

from math import cos, pi
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gflowvlm.config.section import Section


class Schedule(Section):
    """A number that moves from `start` to `end`; a bare number in its place stays put."""

    start: float = Field(gt=0)
    """Value at the first update."""
    end: float = Field(gt=0)
    """Value from update `over` on."""
    over: int = Field(ge=0)
    """Updates from `start` to `end`; 0 is at `end` from the first update."""
    shape: Literal["linear", "cosine", "exponential"] = "linear"
    """`linear` moves evenly, `cosine` slowly at both ends and fastest half-way, `exponential` by
    the same factor every update."""

    def at(self, update: int) -> float:
        """Value at an update, counted from 0."""
        if update >= self.over:
            return self.end
        done = update / self.over
        if self.shape == "exponential":
            return self.start * (self.end / self.start) ** done
        if self.shape == "cosine":
            done = (1 - cos(pi * done)) / 2
        return self.start + (self.end - self.start) * done


def _constant(value: Any) -> Any:
    """Let a bare number stand for a schedule that never moves."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"start": value, "end": value, "over": 0}
    return value


ScheduledNumber = Annotated[Schedule, BeforeValidator(_constant)]
"""A schedule, or a bare number for one that never moves."""
