"""Interquartile means, bootstrap intervals and verdicts against cases worked out by hand."""

import numpy as np
import pytest

from gflowvlm.evaluation.aggregate import (
    bounds,
    interquartile_mean,
    interval,
    point,
    resampled,
)
from gflowvlm.evaluation.verdict import Contender, Figure, Verdict, judge

STRICT = Figure("strict", "strict", "higher", "share")
TV = Figure("tv", "TV", "lower", "number")


def runs(*starts: list[float]) -> list[np.ndarray]:
    return [np.array(values) for values in starts]


def draws(strata: list[list[np.ndarray]], seed: int = 0) -> np.ndarray:
    return resampled(strata, np.random.default_rng(seed))


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    # int(5 / 4) = 1 at either end: (2 + 3 + 4) / 3; of three nothing is left out
    assert interquartile_mean(np.array([100.0, 2.0, 3.0, 4.0, -50.0])) == 3.0
    assert interquartile_mean(np.array([0.0, 1.0, 5.0])) == 2.0
    # int(8 / 4) = 2: (3 + 4 + 5 + 6) / 4, strata pooled
    assert point([runs([1.0], [2.0], [3.0], [4.0]), runs([5.0], [6.0], [7.0], [99.0])]) == 4.5


def test_runs_are_drawn_again_within_their_stratum() -> None:
    found = draws([runs([0.0], [1.0])])
    # 2 of 2 with replacement: 0 and 1 have probability 1/4, 1/2 has 1/2
    assert np.mean(found == 0.5) == pytest.approx(0.5, abs=0.04)
    assert set(found) == {0.0, 0.5, 1.0}
    assert bounds(found) == (0.0, 1.0)
    # never across strata: one run in each leaves nothing to chance
    assert set(draws([runs([0.0]), runs([1.0])])) == {0.5}


def test_starts_are_drawn_again_within_a_run() -> None:
    found = draws([runs([0.0, 1.0])])
    assert np.mean(found == 0.5) == pytest.approx(0.5, abs=0.04)
    # 100 starts, half of them won: the mean's spread is sqrt(0.25 / 100) = 0.05
    assert draws([runs([0.0, 1.0] * 50)]).std() == pytest.approx(0.05, abs=0.004)


def test_starts_without_a_value_do_not_count() -> None:
    strata = [runs([np.nan, 3.0], [1.0, 1.0])]
    assert point(strata) == 2.0
    found = interval(strata, draws(strata))
    assert found is not None
    assert (found.low, found.high, found.runs) == (1.0, 3.0, 2)
    assert interval([runs([np.nan], [1.0])], draws([runs([np.nan], [1.0])])) is None


def verdict(figure: Figure, slack: float = 0.0, **methods: list[float]) -> Verdict:
    """Methods by the value of each run, which is the same at 50 starts."""
    contenders = []
    for seed, (label, values) in enumerate(methods.items()):
        strata = [runs(*([value] * 50 for value in values))]
        contenders.append(Contender(label=label, strata=strata, draws=draws(strata, seed)))
    return judge("id", figure, contenders, slack=slack)


def test_a_method_apart_from_every_other_is_named_with_the_nearest() -> None:
    found = verdict(STRICT, a=[0.90, 0.92, 0.94], b=[0.50, 0.55, 0.60], c=[0.70, 0.72, 0.74])
    assert found.best == "a"
    assert "a is ahead of every other, of c, the nearest, by 20.0 points" in found.words


def test_lower_is_better_where_the_figure_says_so() -> None:
    assert verdict(TV, a=[0.4, 0.41, 0.42], b=[0.1, 0.11, 0.12]).best == "b"


def test_what_is_known_to_within_a_gap_differs_only_beyond_it() -> None:
    methods = {"a": [0.90, 0.91, 0.92], "b": [0.80, 0.81, 0.82]}
    assert verdict(STRICT, slack=0.05, **methods).best == "a"
    assert verdict(STRICT, slack=0.085, **methods).best is None  # the worst a and the best b
    assert verdict(STRICT, slack=0.11, **methods).best is None


def test_no_winner_inside_noise() -> None:
    found = verdict(STRICT, a=[0.90, 0.92, 0.94], b=[0.60, 0.75, 0.91])
    assert found.best is None
    assert "no method is ahead beyond noise: a leads b by 16.7 points" in found.words
    # ahead of one but not of the other
    assert verdict(STRICT, a=[0.9, 0.92, 0.94], b=[0.1, 0.1, 0.1], c=[0.88, 0.9, 0.93]).best is None


def test_no_winner_below_three_runs_nor_among_equals() -> None:
    two = verdict(STRICT, a=[0.9, 0.92], b=[0.1, 0.1])
    assert (two.best, "below 3 seeds" in two.words) == (None, True)
    equal = verdict(STRICT, a=[1.0, 1.0, 1.0], b=[1.0, 1.0, 1.0])
    assert (equal.best, "share 100.0%" in equal.words) == (None, True)
