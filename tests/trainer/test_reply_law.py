"""Thoughts and DONE: the trainer reaches the law that enumeration gives, and no other."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gflowvlm.config.schedule import Schedule
from gflowvlm.config.training import TrainerConfig
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.replies import Replies, ReplyForm, solve_replies
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.done import DoneFlow
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import DetailedBalanceLoss
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear, Paper, RewardMap
from gflowvlm.trainer.balance import BalanceTraining
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.optimizer import build_optimizer

LINEAR = LogLinear(success=0.0, failure=-1.5, step_cost=0.4, floor=-40.0)
PAPER = Paper(form="distance", floor=-23.0)


def make() -> Any:
    environment = make_environment(
        "gflowvlm/NumberLine-v0", "id", {"low": 0, "high": 1, "limit": 3}
    )
    game: Any = environment.unwrapped
    drawn = lru_cache(maxsize=None)(game._draw)  # drawing would take most of the time
    game._draw = lambda state: drawn(state).copy()
    return environment


def steady(value: float) -> Schedule:
    return Schedule(start=value, end=value, over=0)


def log_reward(reward: RewardMap, history: History) -> float:
    """What the reward map gives a history, DONE or not, worked out from its states."""
    first: Any = history.states[0]
    last: Any = history.states[-1]
    distance = abs(last.target - last.current)
    if reward is PAPER:
        return float(np.log(100 / (distance + 1)))
    extra = last.steps + distance - abs(first.target - first.current)
    return (LINEAR.success if distance == 0 else LINEAR.failure) - LINEAR.step_cost * extra


def unfold(form: ReplyForm, weights: list[float], reward: RewardMap) -> Tree:
    """NumberLine reply by reply; `weights` are the reference's probabilities at every history."""
    return enumerate_tree(
        Replies(make().unwrapped, form),
        lambda history: log_reward(reward, history),
        lambda history, legal: [float(np.log(weight)) for weight in weights],
    )


def train(
    policy: TabularPolicy,
    objective: Objective,
    run_dir: Path,
    *,
    reward: RewardMap = LINEAR,
    thought_weight: float = 1.0,
    exploration_temperature: float = 1.0,
) -> None:
    config = TrainerConfig(
        max_updates=80,
        groups_per_update=8,
        group_size=4,
        rows_per_pass=32,
        learning_rate=0.2,
        schedule="linear",
        max_grad_norm=1e6,
        checkpoint_every=1000,
        log_every=80,
    )
    method = BalanceTraining(
        policy=policy,
        collector=Collector(
            make=make, environment_id="NumberLine", split="id", run_seed=3, room_needed=1
        ),
        reward=reward,
        objective=objective,
        alpha=1.0,
        thought_weight=thought_weight,
        beta=steady(1.0),
        groups_per_update=config.groups_per_update,
        group_size=config.group_size,
        rows_per_pass=config.rows_per_pass,
        exploration_temperature=steady(exploration_temperature),
        off_policy=OffPolicy(run_seed=3),
        rescore_tolerance=1e-9,
    )
    optimizer = build_optimizer(
        policy.parameter_groups(), learning_rate=0.2, head_learning_rate=0.2, weight_decay=0.0
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


@pytest.mark.parametrize("reward", [LINEAR, PAPER], ids=["log_linear", "paper"])
@pytest.mark.parametrize(
    "objective",
    [DoneFlow(DetailedBalanceLoss()), DoneFlow(SubTrajectoryBalanceLoss(1.0))],
    ids=["db_done", "subtb_done"],
)
def test_prefixes_that_done_ends_reach_their_exact_law(
    objective: Objective, reward: RewardMap, tmp_path: Path
) -> None:
    form = ReplyForm(done=True)
    tree = unfold(form, [0.6, 0.25, 0.15], reward)
    # the law over prefixes, R(h) p_ref(h DONE): DONE is one more action of the unfolded game
    exact = solve(tree, alpha=1.0, beta=1.0)
    policy = TabularPolicy(tree, read_starts(make()), form)
    assert tv(terminal_law(tree, tree.log_ref), exact.law) > 0.12
    train(policy, objective, tmp_path, reward=reward)
    assert tv(terminal_law(tree, policy.log_policy()), exact.law) < 0.02


THINKING = [0.5, 0.14, 0.06, 0.1, 0.2]
"""The reference's probabilities of (thought, move) and of DONE."""
# Sharpened thoughts are rare; what is never sampled is never balanced, so they are explored.
PAPERS: Any = {"thought_weight": 0.4, "exploration_temperature": 2.0}


def test_the_papers_thought_weight_reaches_its_own_law_and_not_that_of_weight_one(
    tmp_path: Path,
) -> None:
    form = ReplyForm(thoughts=2)
    weights = [w / 0.8 for w in THINKING[:4]]
    tree = unfold(form, weights, LINEAR)
    exact = solve_replies(tree, form, thought_weight=0.4)
    policy = TabularPolicy(tree, read_starts(make()), form)
    train(policy, SubTrajectoryBalanceLoss(0.9), tmp_path, **PAPERS)
    found = terminal_law(tree, policy.log_policy())
    assert tv(found, exact.law) < 0.03
    assert tv(found, solve(tree).law) > 0.08
    log_z = policy.log_flow.detach().numpy()[list(tree.roots)]
    np.testing.assert_allclose(log_z, exact.log_z, atol=0.1)


def test_the_papers_weight_and_done_together_have_an_exact_law(tmp_path: Path) -> None:
    form = ReplyForm(thoughts=2, done=True)
    tree = unfold(form, THINKING, LINEAR)
    exact = solve_replies(tree, form, thought_weight=0.4)
    policy = TabularPolicy(tree, read_starts(make()), form)
    objective = DoneFlow(SubTrajectoryBalanceLoss(1.0))
    train(policy, objective, tmp_path, **PAPERS)
    found = terminal_law(tree, policy.log_policy())
    assert tv(found, exact.law) < 0.03
    assert tv(found, solve(tree).law) > 0.08
