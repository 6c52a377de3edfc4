"""The very trainer of every run reaches the exact law of a game small enough to enumerate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gflowvlm.config.training import Schedule, TrainerConfig
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)
from gflowvlm.policy.tabular import TabularPolicy, read_starts
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear
from gflowvlm.trainer.balance import BalanceTraining
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.optimizer import build_optimizer

SIZE = {"low": 0, "high": 2, "limit": 3}
REWARD = LogLinear(success=0.0, failure=-1.5, step_cost=0.4, floor=-40.0)


def make() -> Any:
    return make_environment("gflowvlm/NumberLine-v0", "id", SIZE)


def log_reward(history: History) -> float:
    """The reward map of the run, worked out from states instead of from an episode."""
    first: Any = history.states[0]
    last: Any = history.states[-1]
    distance = abs(last.target - last.current)
    extra = len(history.actions) + distance - abs(first.target - first.current)
    return (REWARD.success if distance == 0 else REWARD.failure) - REWARD.step_cost * extra


def mostly_minus(history: History, legal: tuple[str, ...]) -> list[float]:
    return [float(np.log(0.7)), float(np.log(0.3))]


@pytest.fixture(scope="module")
def tree() -> Tree:
    return enumerate_tree(make().unwrapped, log_reward, mostly_minus)


def train(tree: Tree, objective: Objective, run_dir: Path, rows_per_pass: int = 64) -> Any:
    policy = TabularPolicy(tree, read_starts(make()))
    collector = Collector(
        make=make, environment_id="NumberLine", split="id", run_seed=3, room_needed=1
    )
    config = TrainerConfig(
        max_updates=120,
        groups_per_update=12,
        group_size=4,
        rows_per_pass=rows_per_pass,
        learning_rate=0.1,
        schedule="linear",
        max_grad_norm=1e6,
        checkpoint_every=1000,
        log_every=50,
    )
    method = BalanceTraining(
        policy=policy,
        collector=collector,
        reward=REWARD,
        objective=objective,
        alpha=1.0,
        beta=Schedule(start=1.0, end=1.0, over=0),
        thought_weight=1.0,
        groups_per_update=config.groups_per_update,
        group_size=config.group_size,
        rows_per_pass=config.rows_per_pass,
        exploration_temperature=1.0,
        rescore_tolerance=1e-9,
    )
    optimizer = build_optimizer(
        policy.parameter_groups(), learning_rate=0.1, head_learning_rate=0.1, weight_decay=0.0
    )
    trainer = Trainer(
        policy=policy,
        method=method,
        optimizer=optimizer,
        config=config,
        run_dir=run_dir,
        state={},
    )
    assert trainer.run()
    return policy


@pytest.mark.parametrize(
    "objective",
    [
        TrajectoryBalanceLoss(),
        VarianceLoss(),
        DetailedBalanceLoss(),
        SubTrajectoryBalanceLoss(0.9),
        ForwardLooking(SubTrajectoryBalanceLoss(0.9)),
    ],
    ids=["tb", "var_tb", "db", "subtb", "fl_subtb"],
)
def test_every_objective_reaches_the_exact_law_through_the_trainer(
    objective: Objective, tree: Tree, tmp_path: Path
) -> None:
    exact = solve(tree, alpha=1.0, beta=1.0)
    policy = train(tree, objective, tmp_path)
    start = tv(terminal_law(tree, tree.log_ref), exact.law)
    found = tv(terminal_law(tree, policy.log_policy()), exact.law)
    assert start > 0.2  # the reference is far away, so getting close means something
    assert found < 0.05
    if objective.needs_flow:
        log_z = policy.log_flow.detach().numpy()[list(tree.roots)]
        np.testing.assert_allclose(log_z, exact.log_z, atol=0.1)
