import gymnasium
import numpy as np
import pytest

import gflowvlm_envs  # noqa: F401 (registers the ids)
from gflowvlm_envs.history import HistoryWrapper
from gflowvlm_envs.number_line import NumberLineState


def test_the_record_holds_everything_since_reset() -> None:
    env = HistoryWrapper(gymnasium.make("gflowvlm/NumberLine-v0"))
    assert env.history == ()
    first, _ = env.reset(seed=0, options={"start": NumberLineState(1, 3, 0, False)})
    env.step(0)
    env.step(1)
    second, *_ = env.step(1)
    assert [entry.action for entry in env.history] == [None, 0, 1, 1]
    assert [entry.reward for entry in env.history] == [0.0, -1.0, 0.0, 0.0]
    assert [entry.info["facts"]["current number"] for entry in env.history] == list("1012")
    np.testing.assert_array_equal(env.history[0].observation, first)
    np.testing.assert_array_equal(env.history[-1].observation, second)
    env.step(1)
    assert [entry.ended for entry in env.history] == [False, False, False, False, True]


def test_reset_clears_the_record() -> None:
    env = HistoryWrapper(gymnasium.make("gflowvlm/NumberLine-v0"))
    env.reset(seed=0)
    env.step(0)
    env.reset(seed=1)
    assert [entry.action for entry in env.history] == [None]


def test_the_record_cannot_be_changed() -> None:
    env = HistoryWrapper(gymnasium.make("gflowvlm/NumberLine-v0"))
    observation, info = env.reset(seed=0)
    observation[:] = 0
    info["task"] = "other"
    entry = env.history[0]
    assert entry.observation.max() == 255
    assert entry.info["task"] != "other"
    with pytest.raises(ValueError, match="read-only"):
        entry.observation[0] = 1
