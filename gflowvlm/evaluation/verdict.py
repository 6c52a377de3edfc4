"""Who is ahead beyond noise, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gflowvlm.evaluation.aggregate import Array, Strata, bounds, point, run_scores

FEWEST_RUNS = 3


@dataclass(frozen=True)
class Figure:
    """Something that methods are compared by."""

    name: str  # as in Measurement.by_start
    label: str
    better: Literal["higher", "lower"] | None  # None: neither
    unit: Literal["share", "number"]

    def as_dict(self) -> dict[str, str | None]:
        """Plain values for JSON."""
        return {"label": self.label, "better": self.better, "unit": self.unit}

    def written(self, value: float) -> str:
        """For people."""
        return f"{value:.1%}" if self.unit == "share" else f"{value:.3f}"

    def difference(self, value: float) -> str:
        """A difference of two, without its unit."""
        return f"{100 * value:.1f}" if self.unit == "share" else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A method's runs on one figure, and its figure redrawn."""

    label: str
    strata: Strata
    draws: Array  # [resamples]

    @property
    def runs(self) -> int:
        """Fewest in a stratum."""
        return min(map(len, self.strata))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one figure on one split."""

    split: str
    figure: str
    best: str | None  # None: nobody is ahead of every other beyond noise
    words: str


def judge(
    split: str, figure: Figure, contenders: Sequence[Contender], *, slack: float = 0.0
) -> Verdict:
    """Name the best of at least two methods if it is apart from every other, else say so.

    Apart are two methods if the 95 % interval of their difference excludes 0, every run of the one
    is better than every run of the other, and both have three runs or more. Where nothing differs
    but luck, simulated with three runs of 25 starts each, one of two methods was named in 1 of 100
    comparisons if only evaluation is noisy, in 10 if runs scatter by 10 points; one of seven in 1.

    Args:
        split: where.
        figure: what they are judged by.
        contenders: two or more.
        slack: by how much runs must lie apart, where their values are known no better than that.
    """
    sign = 1 if figure.better == "higher" else -1
    first, second, *rest = sorted(contenders, key=lambda c: sign * point(c.strata), reverse=True)
    lead = sign * (point(first.strata) - point(second.strata))
    low, high = bounds(sign * (first.draws - second.draws))
    by = (
        f"{figure.difference(lead)}{' points' if figure.unit == 'share' else ''} "
        f"(95 % interval {figure.difference(low)} to {figure.difference(high)})"
    )
    best = None
    if lead == 0:
        said = f"no method is ahead: the best share {figure.written(point(first.strata))}"
    elif min(c.runs for c in contenders) < FEWEST_RUNS:
        said = f"no winner is named below {FEWEST_RUNS} seeds: {first.label} leads by {by}"
    elif all(apart(first, other, sign, slack) for other in (second, *rest)):
        best = first.label
        said = f"{best} is ahead of every other, of {second.label}, the nearest, by {by}"
    else:
        said = f"no method is ahead beyond noise: {first.label} leads {second.label} by {by}"
    words = f"{split}, {figure.label}: {said}"
    return Verdict(split=split, figure=figure.name, best=best, words=words)


def apart(one: Contender, other: Contender, sign: int, slack: float = 0.0) -> bool:
    """Whether `one` is better than `other` beyond noise; `sign` is 1 where higher is better."""
    if bounds(sign * (one.draws - other.draws))[0] <= 0:
        return False
    worst = [min(sign * run_scores(runs)) for runs in one.strata]
    best = [max(sign * run_scores(runs)) for runs in other.strata]
    return all(low - slack > high for low, high in zip(worst, best, strict=True))
