from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gflowvlm.errors import UserError
from gflowvlm.rollouts.environments import (
    extra_steps_of,
    facts_of,
    make_environment,
    observe,
    success_of,
)
from gflowvlm_envs.number_line import NumberLine


def number_line(env: gymnasium.Env) -> NumberLine:
    inner = env.unwrapped
    assert isinstance(inner, NumberLine)
    return inner


def test_a_split_chooses_the_arguments_and_kwargs_come_over_them() -> None:
    plain = number_line(make_environment("gflowvlm/NumberLine-v0", "ood"))
    assert (plain.low, plain.high, plain.limit) == (10, 50, 100)
    changed = number_line(
        make_environment("gflowvlm/NumberLine-v0", "ood", {"high": 20, "limit": 10})
    )
    assert (changed.low, changed.high, changed.limit) == (10, 20, 10)


def test_what_is_shown_becomes_an_observation() -> None:
    env = make_environment("gflowvlm/NumberLine-v0", "id")
    seen = observe(*env.reset(seed=0))
    assert seen.image.shape == (64, 64, 3)
    assert "at most 10 steps" in seen.task
    assert seen.legal_actions == ("-", "+")
    assert seen.reply_fields == ("current number", "target number")


@pytest.mark.parametrize(
    ("env_id", "split", "kwargs", "message"),
    [
        ("gflowvlm/NumberLin-v0", "id", {}, r"found environment .* gflowvlm/NumberLine-v0"),
        ("no_such_module:Game-v0", "id", {}, "found no module 'no_such_module'"),
        ("gflowvlm/NumberLine-v0", "odd", {}, "found split 'odd', expected one of id, ood"),
        ("gflowvlm/NumberLine-v0", "id", {"hihg": 7}, "found argument 'hihg', .* high"),
        ("gflowvlm/NumberLine-v0", "id", {"high": 0}, "NumberLine-v0: found low = 0, high = 0"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(
    env_id: str, split: str, kwargs: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_environment(env_id, split, kwargs)
    assert "\n" not in str(caught.value)


class Foreign(gymnasium.Env):
    """A game that says no more than its legal actions."""

    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros((8, 8, 3), np.uint8), {"legal_actions": ["left", "right"]}

    def step(self, action: int) -> Any:
        image = np.zeros((8, 8, 3), np.uint8)
        return image, float(action), True, False, {"legal_actions": ["left", "right"]}


def test_an_environment_that_gives_only_legal_actions_is_playable() -> None:
    gymnasium.register("foreign/Game-v0", entry_point=lambda **_: Foreign())
    try:
        env = make_environment("foreign/Game-v0", "id")
        with pytest.raises(UserError, match="expected one of id: change"):
            make_environment("foreign/Game-v0", "ood")
    finally:
        del gymnasium.registry["foreign/Game-v0"]
    seen = observe(*env.reset(seed=0))
    assert (seen.task, seen.text, seen.reply_fields) == ("", "", ())
    assert seen.legal_actions == ("left", "right")
    _, reward, terminated, _, info = env.step(1)
    assert success_of(info, reward, terminated)
    assert (facts_of(info), extra_steps_of(info)) == ({}, 0)
    assert not success_of(info, 0.0, True)
    assert not success_of({"success": False}, 1.0, True)


def test_what_a_foreign_environment_lacks_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = "gymnasium.error.DependencyNotInstalled('Box2D is missing, install it')"
    (tmp_path / "racing.py").write_text(f"import gymnasium\n\nraise {lacking}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(gymnasium.registry, "Racing-v0", raising=False)
    gymnasium.register("Racing-v0", entry_point="racing:Racing")
    with pytest.raises(UserError, match=r"^Racing-v0: Box2D is missing, install it$"):
        make_environment("Racing-v0")


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(UserError, match="expected a non-empty 'legal_actions'"):
        observe(np.zeros((8, 8, 3), np.uint8), {})
    with pytest.raises(UserError, match=r"found an observation float64 \[4\]"):
        observe(np.zeros(4), {"legal_actions": ("a",)})
