"""Several seeds of a method as one figure with its interval (Agarwal et al. 2021, rliable).

The figure is the interquartile mean of the runs' scores: of `n` scores `int(n / 4)` are left out
at either end, so that of three runs it is their mean. A stratum is one split: runs are drawn with
replacement within it, never across.

Two things differ from rliable, both because three seeds are few:

- A run's score comes from a sample of starts. Within each drawn run the starts are drawn again
  too, whole, as the games of a start are alike. Runs alone understate the spread of n of them by
  (n - 1) / n, and give an interval of no width where they happen to tie; starts drawn again count
  the noise of evaluation once more, which errs on the side of caution.
- Methods are drawn independently, although run s of each meets the same starts: paired by seed,
  three of three differences of one sign, one case in four under no difference, would exclude 0.

And a difference counts only if the methods' runs do not overlap (see `apart`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Strata = Sequence[Sequence[Array]]
"""Strata, runs of each, [starts] values of each run; NaN where a start has none."""

RESAMPLES = 2000
COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure over runs with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    runs: int  # fewest in a stratum


def interquartile_mean(scores: Array) -> Array:
    """[..., n] scores -> [...], the mean without the int(n / 4) least and greatest."""
    cut = scores.shape[-1] // 4
    ordered = np.sort(scores, axis=-1)
    return ordered[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def run_scores(runs: Sequence[Array]) -> Array:
    """[runs] mean over each run's starts, NaN where none has a value."""
    return np.array([_mean(run[None])[0] for run in runs])


def point(strata: Strata) -> float:
    """The figure of the runs as they are."""
    return float(interquartile_mean(np.concatenate([run_scores(runs) for runs in strata])))


def resampled(strata: Strata, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """[resamples] figures of runs drawn again within each stratum, and of starts within each run.

    NaN where a draw holds no value at all.
    """
    drawn: list[Array] = []
    for runs in strata:
        for _ in runs:
            chosen = rng.integers(len(runs), size=resamples)
            score = np.empty(resamples)
            for number, run in enumerate(runs):
                at = np.flatnonzero(chosen == number)
                score[at] = _mean(run[rng.integers(len(run), size=(len(at), len(run)))])
            drawn.append(score)
    return interquartile_mean(np.stack(drawn, axis=-1))


def interval(strata: Strata, draws: Array) -> Interval | None:
    """The figure and the interval that its draws span; None where some run has no value."""
    value = point(strata)
    if np.isnan(value):
        return None
    low, high = bounds(draws)
    return Interval(value=value, low=low, high=high, runs=min(map(len, strata)))


def bounds(draws: Array) -> tuple[float, float]:
    """The middle 95 % of draws."""
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _mean(values: Array) -> Array:
    """[n, starts] -> [n], over what is a number."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
