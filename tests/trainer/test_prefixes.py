"""Episodes that are cut before their end: who trains on them, who drops them, who is told."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gflowvlm.batch import Row, up_to_last_state
from gflowvlm.errors import UserError
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.tree import Tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import VarianceLoss
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.collect import prefixes
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.trainer.loop import Trainer

FL_SUBTB = ForwardLooking(SubTrajectoryBalanceLoss(0.9))


class Interrupted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Cuts a game after any step with the same probability."""

    chance = 0.4

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        pixels, reward, terminated, _, info = self.env.step(action)
        game: Any = self.env.unwrapped
        cut = not terminated and bool(game.np_random.random() < self.chance)
        return pixels, float(reward), terminated, cut, info


class NeverEnding(Interrupted):
    """Cuts every game before its end, the shortest after two steps."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        pixels, reward, terminated, _, info = super().step(action)
        return pixels, reward, False, terminated, info


@pytest.fixture
def trainer_of(
    tree: Tree,
    number_line: Callable[..., gymnasium.Env[Any, Any]],
    reward: RewardMap,
    tmp_path: Path,
    build_trainer: Callable[..., Trainer],
) -> Callable[..., Trainer]:
    def build(objective: Objective, cut: type[Interrupted], *, updates: int) -> Trainer:
        return build_trainer(
            TabularPolicy(tree, read_starts(number_line())),
            objective,
            tmp_path,
            make=lambda: cut(number_line()),
            reward=reward,
            learning_rate=0.1,
            max_updates=updates,
            groups_per_update=12,
            samples_every=0,
        )

    return build


def test_prefixes_of_games_cut_at_random_lead_to_the_exact_law(
    tree: Tree, trainer_of: Callable[..., Trainer]
) -> None:
    trainer = trainer_of(FL_SUBTB, Interrupted, updates=70)
    metrics, _ = trainer.update(0)
    assert metrics["cut"] > 10
    for update in range(1, 70):
        trainer.update(update)
    exact = solve(tree)
    policy: Any = trainer.policy
    assert tv(terminal_law(tree, policy.log_policy()), exact.law) < 0.05
    log_z = policy.log_flow.detach().numpy()[list(tree.roots)]
    np.testing.assert_allclose(log_z, exact.log_z, atol=0.2)


def test_a_prefix_ends_where_its_last_flow_is_read(trainer_of: Callable[..., Trainer]) -> None:
    trainer = trainer_of(FL_SUBTB, Interrupted, updates=1)
    method: Any = trainer.method
    policy: Any = trainer.policy
    played = method.player.collector.collect(policy, method.player.plans(0))
    cut = [each for each in played if each.cut is not None]
    begun = prefixes(played)
    assert len(begun) == sum(len(each.episode.decisions) > 1 for each in cut) > 0
    for each in begun:
        (row,) = each.rows
        assert row.num_decisions == len(each.episode.decisions) == len(row.input_ids) // 2
        scores = policy.score([row])
        # flows of the histories that were seen, the last of which got a reply that is left out
        assert scores.flow.tolist() == policy.log_flow[list(row.input_ids[::2])].tolist()
        assert len(scores.action_log_prob) == row.num_decisions


def test_a_row_is_shortened_in_every_field() -> None:
    row = Row(
        input_ids=(5, 6, 7, 8, 9, 10),
        decision_of=(-1, 0, -1, -1, 1, 1),
        segment=(0, 2, 0, 0, 1, 2),
        state_at=(0, 3, 5),
        vision=({}, {}),
        allowed={1: (6, 7), 4: (9, 1)},
        token_types=(1, 0, 1, 0, 0, 0),
    )
    (short,) = up_to_last_state([row])
    assert short.input_ids == (5, 6, 7, 8)
    assert (short.decision_of, short.segment) == ((-1, 0, -1, -1), (0, 2, 0, 0))
    assert (short.state_at, short.num_decisions) == ((0, 3), 1)
    assert (short.allowed, short.token_types) == ({1: (6, 7)}, (1, 0, 1, 0))


def test_a_run_in_which_nothing_ends_goes_on_and_says_so(
    trainer_of: Callable[..., Trainer], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(FL_SUBTB, NeverEnding, updates=11)
    with caplog.at_level(logging.WARNING):
        found = [trainer.update(update)[0] for update in range(11)]
    assert [each["updates_without_end"] for each in found] == list(range(1, 12))
    assert all(np.isfinite(each["loss"]) for each in found)
    assert "reach" not in found[0]  # of ended episodes, of which there are none
    said = [record.message for record in caplog.records]
    assert [line.split(":")[0] for line in said] == ["update 1", "update 10"]
    assert "none of 48 episodes ended by itself, 48 were cut by" in said[0]


def test_other_objectives_count_what_was_cut_and_stop_where_nothing_is_left(
    trainer_of: Callable[..., Trainer],
) -> None:
    trainer = trainer_of(VarianceLoss(), Interrupted, updates=1)
    metrics, _ = trainer.update(0)
    assert metrics["cut"] > 10
    assert "updates_without_end" not in metrics
    with pytest.raises(UserError, match=r"none of 48 episodes ended.*terminated=True"):
        trainer_of(VarianceLoss(), NeverEnding, updates=1).update(0)


def test_a_game_that_is_lost_for_room_teaches_like_any_other(
    trainer_of: Callable[..., Trainer],
) -> None:
    class Whole(Interrupted):
        chance = 0.0

    trainer = trainer_of(VarianceLoss(), Whole, updates=1)
    method: Any = trainer.method
    method.player.collector.max_decisions = 2
    method.player.collector.out_of_room = "lost"
    (work,) = method.prepare(0)
    assert len(work.episodes) == 48
    assert (work.metrics["cut"], work.metrics["reach"] + work.metrics["out_of_room"]) == (0, 1)
    assert 0 < work.metrics["out_of_room"] < 1
