"""A share of games and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from gflowvlm.episode import Episode
from gflowvlm.evaluation import metrics


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of games with its 95 % Wilson interval."""

    value: float
    low: float
    high: float


def share_of(episodes: Sequence[Episode], value: float) -> Share:
    """A share of some games with its interval."""
    low, high = metrics.wilson(round(value * len(episodes)), len(episodes))
    return Share(value=value, low=low, high=high)
