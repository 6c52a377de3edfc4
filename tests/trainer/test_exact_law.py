"""The very trainer of every run reaches the exact law of a game small enough to enumerate."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gflowvlm.baselines.expert import ExpertPlayer
from gflowvlm.config.schedule import Schedule
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.tree import Tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.chance import ExpectedDetailedBalanceLoss
from gflowvlm.objectives.divergence import ForwardKLLoss, ReverseKLLoss
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.matching import FlowMatchingLoss
from gflowvlm.objectives.residual import Residual
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.replay import REPLAY_FILE, Replay
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.tracking import read_metrics


@pytest.fixture
def off_policy(number_line: Callable[..., gymnasium.Env[Any, Any]]) -> Callable[..., OffPolicy]:
    """12 groups of 4 are played: 24 of 84 episodes replayed, 12 an expert's that errs."""

    def build(*, takes_over: bool = False) -> OffPolicy:
        expert = ExpertPlayer(
            environment=number_line(),
            environment_id="NumberLine",
            split="id",
            mistakes=0.4,
            max_reply_tokens=1,
        )
        replay = Replay(capacity=60, per_start=8, priority=1.0)
        return OffPolicy(
            run_seed=3,
            replay=replay,
            replayed=24,
            expert=expert,
            taught=12,
            takes_over=takes_over,
        )

    return build


@pytest.fixture
def trainer_of(
    tree: Tree,
    number_line: Callable[..., gymnasium.Env[Any, Any]],
    reward: RewardMap,
    build_trainer: Callable[..., Trainer],
) -> Callable[..., Trainer]:
    def build(objective: Objective, run_dir: Path, **settings: Any) -> Trainer:
        policy = TabularPolicy(tree, read_starts(number_line()))
        usual = {"max_updates": 120, "groups_per_update": 12, "learning_rate": 0.1}
        made = {"make": number_line, "reward": reward}
        return build_trainer(policy, objective, run_dir, **made, **{**usual, **settings})

    return build


OBJECTIVES: dict[str, Objective] = {
    "tb": TrajectoryBalanceLoss(),
    "var_tb": VarianceLoss(),
    "db": DetailedBalanceLoss(),
    "subtb": SubTrajectoryBalanceLoss(0.9),
    "fl_db": ForwardLooking(DetailedBalanceLoss()),
    "fl_subtb": ForwardLooking(SubTrajectoryBalanceLoss(0.9)),
    "fm": FlowMatchingLoss(),
    "reverse_kl": ReverseKLLoss(),
    "forward_kl": ForwardKLLoss(),
    "expected_db": ExpectedDetailedBalanceLoss(),
    "tb with huber": TrajectoryBalanceLoss(Residual("huber", at=0.5)),
    "fl_subtb with clip": ForwardLooking(SubTrajectoryBalanceLoss(0.9, Residual("clip", at=0.5))),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_reaches_the_exact_law_through_the_trainer(
    objective: Objective, tree: Tree, tmp_path: Path, trainer_of: Callable[..., Trainer]
) -> None:
    exact = solve(tree, alpha=1.0, beta=1.0)
    trainer = trainer_of(objective, tmp_path)
    assert trainer.run()
    policy: Any = trainer.policy
    start = tv(terminal_law(tree, tree.log_ref), exact.law)
    found = tv(terminal_law(tree, policy.log_policy()), exact.law)
    assert start > 0.2  # the reference is far away, so getting close means something
    assert found < 0.05
    if objective.needs_flow:
        log_z = policy.log_flow.detach().numpy()[list(tree.roots)]
        np.testing.assert_allclose(log_z, exact.log_z, atol=0.1)


@pytest.mark.parametrize(
    ("objective", "takes_over"),
    [(VarianceLoss(), False), (SubTrajectoryBalanceLoss(0.9), False), (VarianceLoss(), True)],
    ids=["var_tb", "subtb", "var_tb-taken-over"],
)
def test_episodes_of_other_laws_do_not_move_the_law_that_is_reached(
    objective: Objective,
    takes_over: bool,
    tree: Tree,
    tmp_path: Path,
    trainer_of: Callable[..., Trainer],
    off_policy: Callable[..., OffPolicy],
) -> None:
    exact = solve(tree, alpha=1.0, beta=1.0)
    hot = Schedule(start=3.0, end=1.5, over=70)
    others = off_policy(takes_over=takes_over)
    trainer = trainer_of(objective, tmp_path, off_policy=others, exploration=hot, max_updates=70)
    assert trainer.run()
    policy: Any = trainer.policy
    assert tv(terminal_law(tree, policy.log_policy()), exact.law) < 0.05
    last = read_metrics(tmp_path)[-1]
    # 24 replayed and 12 taught beside the 48 played, where so many were lost
    taught = round(last["expert/share"] * 72 / (1 - last["expert/share"]))
    assert 0 < taught <= 12 if takes_over else taught == 12
    assert last["replay/share"] == pytest.approx(24 / (72 + taught))
    assert last["behaviour_kl"] > 0.01
    assert "rescore_gap" not in last  # what was sampled from another law cannot be compared


def test_a_resumed_run_with_a_replay_equals_an_uninterrupted_one(
    tmp_path: Path, trainer_of: Callable[..., Trainer], off_policy: Callable[[], OffPolicy]
) -> None:
    def begin(run_dir: Path) -> Trainer:
        return trainer_of(
            VarianceLoss(), run_dir, off_policy=off_policy(), max_updates=6, checkpoint_every=3
        )

    for name in ("whole", "parts", "forgetful"):
        (tmp_path / name).mkdir()
    whole = begin(run_dir=tmp_path / "whole")
    assert whole.run()
    third = tmp_path / "whole" / "checkpoints" / "step_000003"
    shutil.copytree(third, tmp_path / "parts" / "checkpoints" / "step_000003")
    parts = begin(run_dir=tmp_path / "parts")
    assert parts.run(done=parts.resume(tmp_path / "parts" / "checkpoints" / "step_000003"))
    assert torch.equal(*(t.policy.parameter_groups()["adapter"][0] for t in (whole, parts)))
    held = [
        [(t.start, t.way, t.episode.index) for t in trainer.method.off_policy.replay]  # type: ignore[attr-defined]
        for trainer in (whole, parts)
    ]
    assert held[0] == held[1]
    assert len(held[0]) > 10
    # and it is the replay that decides: without it the run goes elsewhere
    forgetful = begin(run_dir=tmp_path / "forgetful")
    forgetful.resume(third)
    off_policy().save(third)
    forgetful.method.load(third)
    assert (third / REPLAY_FILE).is_file()
    shutil.copytree(third, tmp_path / "forgetful" / "checkpoints" / "step_000003")
    forgetful.run(done=3)
    assert not torch.equal(*(t.policy.parameter_groups()["adapter"][0] for t in (whole, forgetful)))
