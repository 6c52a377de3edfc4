"""Clipped policy gradients through the very trainer of every run reach the exact law."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.config.reinforcement import (
    GroupRelativePolicyOptimisation,
    ProximalPolicyOptimisation,
    ReinforceLeaveOneOut,
    ReinforcementConfig,
)
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear
from gflowvlm.trainer.loop import Trainer

REWARD = LogLinear(success=0.0, failure=-1.5, step_cost=0.4, floor=-40.0)
BETA = 1.5


def number_line() -> Any:
    size = {"low": 0, "high": 2, "limit": 3}
    environment = make_environment("gflowvlm/NumberLine-v0", "id", size)
    game: Any = environment.unwrapped
    drawn = lru_cache(maxsize=None)(game._draw)  # drawing would take most of the time
    game._draw = lambda state: drawn(state).copy()
    return environment


def log_reward(history: History) -> float:
    """The reward map of the run, worked out from states instead of from an episode."""
    first: Any = history.states[0]
    last: Any = history.states[-1]
    distance = abs(last.target - last.current)
    extra = len(history.actions) + distance - abs(first.target - first.current)
    return (REWARD.success if distance == 0 else REWARD.failure) - REWARD.step_cost * extra


def mostly_minus(history: History, legal: tuple[str, ...]) -> list[float]:
    return [math.log(0.7), math.log(0.3)]


@pytest.fixture(scope="module")
def tree() -> Tree:
    return enumerate_tree(number_line().unwrapped, log_reward, mostly_minus)


METHODS: dict[str, ReinforcementConfig] = {
    "ppo": ProximalPolicyOptimisation(epochs=2, minibatches=2, normalise_advantages=False),
    "ppo, normalised": ProximalPolicyOptimisation(epochs=2, minibatches=2),
    "grpo": GroupRelativePolicyOptimisation(minibatches=2),
    "grpo, sequences": GroupRelativePolicyOptimisation(ratio="sequence", average="episodes"),
    "grpo, steps": GroupRelativePolicyOptimisation(step_weight=1.0),
    "rloo": ReinforceLeaveOneOut(minibatches=2),
}


SETTINGS: dict[str, Any] = {
    "max_updates": 70,
    "groups_per_update": 12,
    "group_size": 4,
    "rows_per_pass": 64,
    "learning_rate": 0.1,
    "head_learning_rate": 0.05,
    "checkpoint_every": 1000,
    "log_every": 70,
}


def distances(
    config: ReinforcementConfig, tree: Tree, run_dir: Path, reinforce: Callable[..., Trainer]
) -> tuple[float, float]:
    """From the start's law and from the trained one to the target of a balance loss at BETA."""
    exact = solve(tree, alpha=1.0, beta=BETA)
    policy = TabularPolicy(tree, read_starts(number_line()))
    made = {"make": number_line, "reward": REWARD, "beta": BETA}
    assert reinforce(policy, config, run_dir, **made, **SETTINGS).run()
    laws = (terminal_law(tree, table) for table in (tree.log_ref, policy.log_policy()))
    start, found = (tv(law, exact.law) for law in laws)
    return start, found


@pytest.mark.parametrize("name", METHODS)
def test_at_one_over_beta_the_optimum_is_the_target_of_the_balance_losses(
    name: str, tree: Tree, tmp_path: Path, reinforce: Callable[..., Trainer]
) -> None:
    start, found = distances(METHODS[name], tree, tmp_path, reinforce)
    assert start > 0.4
    assert found < 0.03  # 0.005 to 0.015


def test_the_published_divergence_in_grpos_loss_has_another_optimum(
    tree: Tree, tmp_path: Path, reinforce: Callable[..., Trainer]
) -> None:
    config = GroupRelativePolicyOptimisation(kl_in="loss")
    assert distances(config, tree, tmp_path, reinforce)[1] > 0.1  # 0.149
