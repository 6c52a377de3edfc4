"""The law of thoughts and DONE, against hand-worked roots and against balance itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gflowvlm.exact.law import solve
from gflowvlm.exact.replies import Replies, ReplyForm, solve_replies
from gflowvlm.exact.tree import History, Tree, enumerate_tree


class OneMove:
    """A game of one move."""

    def starts(self) -> list[str]:
        return [""]

    def legal(self, state: str) -> tuple[str, ...]:
        return ("a", "b")

    def outcomes(self, state: str, action: int) -> Sequence[tuple[float, Any, float, bool]]:
        return [(1.0, "ab"[action], 0.0, True)]


def unfold(form: ReplyForm, rewards: Sequence[float]) -> Tree:
    """One history whose replies lead to these rewards."""
    return enumerate_tree(
        Replies(OneMove(), form), lambda history: math.log(rewards[history.actions[0]])
    )


def test_replies_are_numbered_thought_by_thought_with_done_at_the_end() -> None:
    form = ReplyForm(thoughts=2, done=True)
    assert form.words(("a", "b")) == ("a", "b", "a", "b", "DONE")
    assert form.thoughts_of(5) == [0, 0, 1, 1, -1]
    [stays] = Replies(OneMove(), form).outcomes("", 4)
    assert stays == (1.0, "", 0.0, True)
    assert Replies(OneMove(), form).outcomes("", 3) == OneMove().outcomes("", 1)


def test_a_thought_weight_of_a_half_squares_what_a_thought_leads_to() -> None:
    form = ReplyForm(thoughts=2)
    tree = unfold(form, [1.0, 2.0, 3.0, 1.0])
    exact = solve_replies(tree, form, thought_weight=0.5, alpha=0.0)
    # A = 3, 4; F = (9 + 16)^0.5 = 5; p(c) = 9/25, 16/25; p(a|c) = 1/3, 2/3 and 3/4, 1/4
    assert math.exp(exact.log_z[0]) == pytest.approx(5.0)
    assert np.exp(exact.log_policy[0]) == pytest.approx([0.12, 0.24, 0.48, 0.16])


def test_done_takes_its_share_beside_weighted_thoughts() -> None:
    form = ReplyForm(thoughts=2, done=True)
    tree = unfold(form, [1.0, 1.0, 1.5, 0.5, 3.0])
    exact = solve_replies(tree, form, thought_weight=0.5, alpha=0.0)
    # A = 2, 2, D = 3: 2 (2/F)^2 + 3/F = 1 is F^2 - 3 F - 8 = 0, F = (3 + sqrt(41)) / 2
    flow = (3 + math.sqrt(41)) / 2
    assert math.exp(exact.log_z[0]) == pytest.approx(flow)
    assert math.exp(exact.log_policy[0, 4]) == pytest.approx(3 / flow)
    assert math.exp(exact.log_policy[0, 2]) == pytest.approx((2 / flow) ** 2 * 0.75)


def test_at_weight_one_it_is_the_ordinary_law() -> None:
    form = ReplyForm(thoughts=2, done=True)

    def uneven(history: History, legal: tuple[str, ...]) -> list[float]:
        return [math.log((1 + place) / 15) for place in range(len(legal))]

    tree = enumerate_tree(
        Replies(OneMove(), form), lambda history: 0.3 * history.actions[0], uneven
    )
    ours = solve_replies(tree, form, thought_weight=1.0, alpha=0.7, beta=1.3)
    theirs = solve(tree, alpha=0.7, beta=1.3)
    np.testing.assert_allclose(ours.log_policy, theirs.log_policy, atol=1e-12)
    np.testing.assert_allclose(ours.log_flow, theirs.log_flow, atol=1e-12)
