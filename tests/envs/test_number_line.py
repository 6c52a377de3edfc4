import gymnasium
import numpy as np
import pytest

from gflowvlm_envs.number_line import NumberLine, NumberLineState


def played(start: tuple[int, int], actions: str, limit: int = 10) -> tuple[list, list, dict]:
    """Rewards, endings and last info of a game from (current, target)."""
    env = NumberLine(limit=limit)
    env.reset(seed=0, options={"start": NumberLineState(*start, 0, False)})
    rewards, endings, info = [], [], {}
    for word in actions:
        _, reward, ended, truncated, info = env.step("-+".index(word))
        assert not truncated
        rewards.append(reward)
        endings.append(ended)
    return rewards, endings, info


def test_the_straight_way_earns_one_and_wastes_nothing() -> None:
    rewards, endings, info = played((1, 4), "+++")
    assert rewards == [0.0, 0.0, 1.0]
    assert endings == [False, False, True]
    assert info["success"]
    assert info["extra_steps"] == 0


def test_a_step_back_costs_one_and_counts_as_two_extra_steps() -> None:
    rewards, _, info = played((1, 3), "-+++")
    assert rewards == [-1.0, 0.0, 0.0, 1.0]
    assert info["extra_steps"] == 2  # 4 steps where 2 were enough


def test_at_the_end_of_the_line_the_number_stays() -> None:
    rewards, _, info = played((0, 2), "-")
    assert rewards == [-1.0]
    assert info["facts"] == {"current number": "0", "target number": "2"}
    assert info["extra_steps"] == 1


def test_the_limit_ends_the_game_as_a_failure() -> None:
    rewards, endings, info = played((0, 5), "+-+", limit=3)
    assert rewards == [0.0, -1.0, 0.0]
    assert endings == [False, False, True]
    assert not info["success"]


def test_reaching_the_goal_with_the_last_step_is_a_success() -> None:
    _, endings, info = played((0, 2), "++", limit=2)
    assert endings == [False, True]
    assert info["success"]


def test_the_task_says_the_limit() -> None:
    _, info = NumberLine(limit=7).reset(seed=0)
    assert "at most 7 steps" in info["task"]
    _, info = NumberLine(low=10, high=50).reset(seed=0)
    assert "at most 100 steps" in info["task"]


def test_starts_are_all_pairs_and_drawn_alike() -> None:
    env = NumberLine()
    assert len(set(env.starts())) == 30  # 6 targets, 5 other numbers each
    env.reset(seed=0)
    seen = set()
    for _ in range(400):  # the chance to miss one of 30 is about 30 (29/30)^400 = 4e-5
        _, info = env.reset()
        seen.add(tuple(info["facts"].values()))
    assert len(seen) == 30


def test_the_expert_errs_in_thought_and_action_alike() -> None:
    env = NumberLine()
    env.reset(seed=0, options={"start": NumberLineState(1, 4, 0, False)})
    assert env.expert(0.0) == ("current is smaller", 1)
    assert env.expert(1.0) == ("current is larger", 0)
    env.reset(seed=0, options={"start": NumberLineState(5, 4, 0, False)})
    assert env.expert(0.0) == ("current is larger", 0)


@pytest.mark.parametrize("split", ["id", "ood", "6-10", "10-20"])
def test_a_faultless_expert_wins_every_split_strictly(split: str) -> None:
    env = NumberLine(**NumberLine.splits[split])
    for seed in range(5):
        env.reset(seed=seed)
        total, ended, info = 0.0, False, {}
        while not ended:
            _, reward, ended, _, info = env.step(env.expert(0.0).action)
            total += reward
        assert (total, info["success"], info["extra_steps"]) == (1.0, True, 0)


def test_different_numbers_give_different_pictures() -> None:
    env = NumberLine(low=10, high=50)
    pictures = {
        env.reset(options={"start": start})[0].tobytes()
        for start in env.starts()
        if start.target in (10, 38, 50)
    }
    assert len(pictures) == 3 * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 5, "high": 5}, "low < high"),
        ({"limit": 0}, "at least 1"),
        ({"low": -4, "high": -2}, "limit of -4"),
        ({"image_size": 8}, "at least 32"),
        ({"render_mode": "human"}, "rgb_array"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        NumberLine(**arguments)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_played_is_refused() -> None:
    env = NumberLine()
    with pytest.raises(ValueError, match=r"call reset\(\) first"):
        env.step(0)
    with pytest.raises(ValueError, match=r"out of starts\(\)"):
        env.reset(options={"start": NumberLineState(3, 3, 0, False)})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="found action 2"):
        env.step(2)


def test_render_shows_the_observation() -> None:
    env = gymnasium.make("gflowvlm/NumberLine-v0", render_mode="rgb_array")
    image, _ = env.reset(seed=3)
    np.testing.assert_array_equal(np.asarray(env.render()), image)
