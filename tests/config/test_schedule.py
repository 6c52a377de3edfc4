from pathlib import Path

import pytest

from gflowvlm.config.load import load


def test_a_bare_number_is_a_schedule_that_never_moves(recipe: Path) -> None:
    beta = load(recipe, ["beta=2"]).beta
    assert (beta.at(0), beta.at(1000)) == (2.0, 2.0)


def test_a_schedule_moves_in_a_straight_line_and_then_stays(recipe: Path) -> None:
    beta = load(recipe, ["beta={start: 1, end: 3, over: 4}"]).beta
    # 1 + 2 * u / 4
    assert [beta.at(u) for u in (0, 1, 2, 4, 9)] == [1.0, 1.5, 2.0, 3.0, 3.0]


def test_a_cosine_schedule_is_slow_at_both_ends(recipe: Path) -> None:
    temperature = load(
        recipe, ["exploration.temperature={start: 3, end: 1, over: 6, shape: cosine}"]
    ).exploration.temperature
    # 3 - 2 * (1 - cos(pi u / 6)) / 2; cos(pi / 3) = 0.5
    assert [temperature.at(u) for u in (0, 2, 3, 6, 9)] == pytest.approx([3, 2.5, 2, 1, 1])


def test_an_exponential_schedule_grows_by_the_same_factor(recipe: Path) -> None:
    beta = load(recipe, ["beta={start: 0.5, end: 4, over: 3, shape: exponential}"]).beta
    assert [beta.at(u) for u in (0, 1, 2, 3, 9)] == pytest.approx([0.5, 1, 2, 4, 4])
