"""Thoughts and DONE: the trainer reaches the law that enumeration gives, and no other."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gflowvlm.config.schedule import Schedule
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.replies import Replies, ReplyForm, solve_replies
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.done import DoneFlow
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import DetailedBalanceLoss
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.reward import LogLinear, Paper, RewardMap
from gflowvlm.trainer.loop import Trainer

LINEAR = LogLinear(success=0.0, failure=-1.5, step_cost=0.4, floor=-40.0)
PAPER = Paper(form="distance", floor=-23.0)


def log_reward(reward: RewardMap, history: History) -> float:
    """What the reward map gives a history, DONE or not, worked out from its states."""
    first: Any = history.states[0]
    last: Any = history.states[-1]
    distance = abs(last.target - last.current)
    if reward is PAPER:
        return float(np.log(100 / (distance + 1)))
    extra = last.steps + distance - abs(first.target - first.current)
    return (LINEAR.success if distance == 0 else LINEAR.failure) - LINEAR.step_cost * extra


@pytest.fixture
def make(number_line: Callable[..., Any]) -> Callable[[], Any]:
    return partial(number_line, high=1)


def unfold(game: Any, form: ReplyForm, weights: list[float], reward: RewardMap) -> Tree:
    """NumberLine reply by reply; `weights` are the reference's probabilities at every history."""
    return enumerate_tree(
        Replies(game.unwrapped, form),
        lambda history: log_reward(reward, history),
        lambda history, legal: [float(np.log(weight)) for weight in weights],
    )


@pytest.fixture
def train(
    make: Callable[[], Any], build_trainer: Callable[..., Trainer], tmp_path: Path
) -> Callable[..., None]:
    """Trains a policy for 80 updates."""

    def run(
        policy: TabularPolicy, objective: Objective, *, reward: RewardMap = LINEAR, **more: float
    ) -> None:
        trainer = build_trainer(
            policy,
            objective,
            tmp_path,
            make=make,
            reward=reward,
            learning_rate=0.2,
            max_updates=80,
            **more,
        )
        assert trainer.run()

    return run


@pytest.mark.parametrize("reward", [LINEAR, PAPER], ids=["log_linear", "paper"])
@pytest.mark.parametrize(
    "objective",
    [DoneFlow(DetailedBalanceLoss()), DoneFlow(SubTrajectoryBalanceLoss(1.0))],
    ids=["db_done", "subtb_done"],
)
def test_prefixes_that_done_ends_reach_their_exact_law(
    objective: Objective,
    reward: RewardMap,
    make: Callable[[], Any],
    train: Callable[..., None],
) -> None:
    form = ReplyForm(done=True)
    tree = unfold(make(), form, [0.6, 0.25, 0.15], reward)
    # the law over prefixes, R(h) p_ref(h DONE): DONE is one more action of the unfolded game
    exact = solve(tree, alpha=1.0, beta=1.0)
    policy = TabularPolicy(tree, read_starts(make()), form)
    assert tv(terminal_law(tree, tree.log_ref), exact.law) > 0.12
    train(policy, objective, reward=reward)
    assert tv(terminal_law(tree, policy.log_policy()), exact.law) < 0.02


THINKING = [0.5, 0.14, 0.06, 0.1, 0.2]
"""The reference's probabilities of (thought, move) and of DONE."""
# Sharpened thoughts are rare; what is never sampled is never balanced, so they are explored.
PAPERS: Any = {"thought_weight": 0.4, "exploration": Schedule(start=2.0, end=2.0, over=0)}


def test_the_papers_thought_weight_reaches_its_own_law_and_not_that_of_weight_one(
    make: Callable[[], Any], train: Callable[..., None]
) -> None:
    form = ReplyForm(thoughts=2)
    weights = [w / 0.8 for w in THINKING[:4]]
    tree = unfold(make(), form, weights, LINEAR)
    exact = solve_replies(tree, form, thought_weight=0.4)
    policy = TabularPolicy(tree, read_starts(make()), form)
    train(policy, SubTrajectoryBalanceLoss(0.9), **PAPERS)
    found = terminal_law(tree, policy.log_policy())
    assert tv(found, exact.law) < 0.03
    assert tv(found, solve(tree).law) > 0.08
    log_z = policy.log_flow.detach().numpy()[list(tree.roots)]
    np.testing.assert_allclose(log_z, exact.log_z, atol=0.1)


def test_the_papers_weight_and_done_together_have_an_exact_law(
    make: Callable[[], Any], train: Callable[..., None]
) -> None:
    form = ReplyForm(thoughts=2, done=True)
    tree = unfold(make(), form, THINKING, LINEAR)
    exact = solve_replies(tree, form, thought_weight=0.4)
    policy = TabularPolicy(tree, read_starts(make()), form)
    objective = DoneFlow(SubTrajectoryBalanceLoss(1.0))
    train(policy, objective, **PAPERS)
    found = terminal_law(tree, policy.log_policy())
    assert tv(found, exact.law) < 0.03
    assert tv(found, solve(tree).law) > 0.08
