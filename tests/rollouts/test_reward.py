import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from gflowvlm.config.reward import ExpReturnReward, LogLinearReward, PaperReward, RewardConfig
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.rollouts.reward import build_reward


def played(
    rewards: list[float],
    extra_steps: list[int],
    success: bool,
    ending: Ending = Ending.TERMINATED,
) -> Episode:
    seen = Observation(
        image=np.zeros((2, 2, 3), np.uint8), task="", text="", legal_actions=("-", "+")
    )
    reply = Reply(text="", token_ids=(), segment=(), log_probs=(), action=0)
    decisions = tuple(
        Decision(observation=seen, reply=reply, reward=reward, extra_steps=extra)
        for reward, extra in zip(rewards, extra_steps, strict=True)
    )
    return Episode(
        environment="game",
        split="id",
        seed=0,
        group=0,
        index=7,
        decisions=decisions,
        ending=ending,
        success=success,
    )


LINEAR = build_reward(LogLinearReward(success=1.0, failure=-4.0, step_cost=0.5, floor=-5.0))
RETURN = build_reward(ExpReturnReward(scale=2.0, floor=-5.0))


def test_a_success_pays_for_its_extra_steps_as_they_are_taken() -> None:
    log_reward = LINEAR(played([-1, 0, 1], [2, 2, 2], success=True))
    # -0.5 * 2 from the first step on, and at the end 1 - 1 = 0
    assert log_reward.to_date == (0.0, -1.0, -1.0, 0.0)
    assert log_reward.total == 0.0


def test_every_decision_costs_where_that_is_asked_also_one_that_is_not_extra() -> None:
    settings = LogLinearReward(success=1.0, failure=-4.0, step_cost=0.5, decision_cost=0.25)
    log_reward = build_reward(settings)(played([0, -1, 1], [0, 2, 2], success=True))
    # 0.25 a decision, 0.5 * 2 from the second one on, 1 at the end
    assert log_reward.to_date == (0.0, -0.25, -1.5, -0.75)
    assert log_reward.done == (-4.0, -4.25, -5.5, -0.75)


def test_a_failure_ends_at_its_value_or_at_the_floor() -> None:
    assert LINEAR(played([-1], [1], success=False)).to_date == (0.0, -4.5)
    assert LINEAR(played([-1, -1], [2, 4], success=False)).to_date == (0.0, -1.0, -5.0)


def test_an_end_left_to_chance_counts_by_its_mean_where_that_is_asked() -> None:
    game = played([0, -1], [0, 1], success=False)
    known = replace(
        game, decisions=(game.decisions[0], replace(game.decisions[1], success_chance=0.25))
    )
    settings = LogLinearReward(success=1.0, failure=-4.0, step_cost=0.5, expected=True)
    assert LINEAR(known).total == -4.5
    # 0.25 * 1 - 0.75 * 4 - 0.5
    assert build_reward(settings)(known).total == -3.25
    assert build_reward(settings)(game).total == -4.5


def test_progress_accrues_and_a_goal_that_is_reached_counts_no_more() -> None:
    settings = LogLinearReward(success=1.0, failure=-4.0, step_cost=0.5, progress=2.0, floor=-9.0)
    reward = build_reward(settings)

    def with_progress(game: Episode, shares: list[float]) -> Episode:
        steps = zip(game.decisions, shares, strict=True)
        return replace(game, decisions=tuple(replace(d, progress=p) for d, p in steps))

    won = with_progress(played([0, 1, 1], [0, 2, 2], success=True), [0.5, 0.5, 1.0])
    # 2 * 0.5, less 0.5 * 2 from the second step on, at the end 1 - 1
    assert reward(won).to_date == (0.0, 1.0, 0.0, 0.0)
    lost = with_progress(played([0, 1], [0, 0], success=False), [0.0, 0.5])
    assert reward(lost).to_date == (0.0, 0.0, -3.0)
    assert reward(lost).done == (-4.0, -4.0, -3.0)
    with pytest.raises(ValidationError, match="a goal half reached must not count for more"):
        LogLinearReward(success=0.0, failure=-4.0, progress=4.5)


@pytest.mark.parametrize("ending", [Ending.INVALID_REPLY, Ending.OUT_OF_ROOM])
def test_an_invalid_reply_and_lack_of_room_are_failures(ending: Ending) -> None:
    failed = played([0.0], [0], success=False, ending=ending)
    assert LINEAR(failed).total == -4.0
    assert RETURN(failed).total == -5.0
    assert build_reward(PaperReward(form="return", floor=-5.0))(failed).total == -5.0


def test_a_cut_episode_has_only_what_it_accrued() -> None:
    cut = played([-1, 0], [2, 2], success=False, ending=Ending.TRUNCATED)
    assert LINEAR(cut).to_date == (0.0, -1.0, -1.0)
    assert RETURN(cut).to_date == (0.0, -2.0, -2.0)


def test_exp_return_scales_what_was_earned_so_far() -> None:
    assert RETURN(played([-1, 0, 1], [2, 2, 2], success=True)).to_date == (0.0, -2.0, -2.0, 0.0)
    # -2 per step, but not below -5
    assert RETURN(played([-1, -1, -1], [2, 4, 6], success=False)).to_date == (0, -2, -4, -5)


def test_each_prefix_has_the_reward_that_done_would_give_it() -> None:
    # not there yet, so -4 - 0.5 * extra steps at every history but the last
    assert LINEAR(played([-1, 0, 1], [2, 2, 2], success=True)).done == (-4.0, -5.0, -5.0, 0.0)
    assert RETURN(played([-1, 0, 1], [2, 2, 2], success=True)).done == (0.0, -2.0, -2.0, 0.0)


def test_the_papers_reward_falls_with_the_distance() -> None:
    paper = build_reward(PaperReward(form="distance"))
    game = played([0, 0], [0, 0], success=True)
    steps = tuple(replace(d, distance=n) for d, n in zip(game.decisions, (1, 0), strict=True))
    found = paper(replace(game, decisions=steps, start_distance=2))
    # 100 / 3, 100 / 2, 100 / 1
    assert found.done == pytest.approx((math.log(100 / 3), math.log(50), math.log(100)))
    assert found.total == pytest.approx(math.log(100))
    with pytest.raises(UserError, match=r"game: found no info\['distance'\]"):
        paper(game)


def test_the_papers_outcome_is_twenty_ten_or_next_to_nothing() -> None:
    paper = build_reward(PaperReward(form="outcome"))
    totals = [paper(played([0, r], [0, 0], success=r > 0)).total for r in (1, 0, -1)]
    assert totals == pytest.approx([math.log(20), math.log(10), math.log(1e-10)], abs=1e-5)
    assert paper(played([1], [0], False, ending=Ending.INVALID_REPLY)).total < -23
    with pytest.raises(UserError, match="found log R = nan"):
        paper(played([float("nan")], [0], success=False))


def test_the_papers_return_is_the_reward_itself_and_at_least_the_floor() -> None:
    paper = build_reward(PaperReward(form="return"))
    assert paper(played([1, 51], [0, 0], success=True)).total == pytest.approx(math.log(52))
    assert paper(played([1, -1], [0, 0], success=False)).total == pytest.approx(math.log(1e-10))
    assert paper(played([1, -1], [0, 0], success=False)).done[1] == 0.0  # type: ignore[index]


@pytest.mark.parametrize("reward", [float("nan"), float("-inf")])
def test_a_reward_that_is_not_finite_is_refused(reward: float) -> None:
    with pytest.raises(UserError, match=r"game episode 7: found log R = .* after 2 steps"):
        RETURN(played([0.0, reward], [0, 0], success=False))


def test_a_section_is_chosen_by_its_type() -> None:
    adapter: TypeAdapter[RewardConfig] = TypeAdapter(RewardConfig)
    assert adapter.validate_python({"type": "exp_return"}) == ExpReturnReward(
        scale=1.0, floor=-40.0
    )
    with pytest.raises(ValidationError, match="expected floor <= failure < success"):
        adapter.validate_python({"type": "log_linear", "success": -9.0})
