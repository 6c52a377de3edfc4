import warnings
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gflowvlm_envs  # noqa: F401 (registers the ids)
from gflowvlm_envs.checking import check_contract
from gflowvlm_envs.contract import Outcome, sample_outcome, with_mistakes
from gflowvlm_envs.number_line import NumberLine

IDS = sorted(
    name
    for name, spec in gymnasium.registry.items()
    # ALFWorld needs packages and games: tests/envs/alfworld asks the same of it
    if spec.namespace == "gflowvlm" and not spec.name.startswith("ALFWorld")
)


def test_there_are_environments_to_check() -> None:
    assert "gflowvlm/NumberLine-v0" in IDS


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_finds_nothing_to_warn_about(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_every_environment_keeps_the_contract(env_id: str) -> None:
    check_contract(env_id)


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_seed_gives_the_same_pixels(env_id: str) -> None:
    one, other = gymnasium.make(env_id), gymnasium.make(env_id)
    for seed in (0, 1, 2):
        first, info = one.reset(seed=seed)
        again, other_info = other.reset(seed=seed)
        np.testing.assert_array_equal(first, again)
        assert info == other_info


class Breaker(NumberLine):
    """Breaks one promise, named by `how`."""

    splits: ClassVar = {"id": {"low": 0, "high": 5}}

    def __init__(self, how: str, low: int = 0, high: int = 5) -> None:
        super().__init__(low=low, high=high)
        self.how = how

    def _info(self, start: Any, state: Any) -> dict[str, Any]:
        info = super()._info(start, state)
        if self.how == "task":
            info["task"] += f" Step {state.steps}."
        elif self.how == "task type":
            info["task_type"] = str(state.steps)
        elif self.how == "missing":
            del info["facts"]
        elif self.how == "type":
            info["facts"] = {"current number": state.current}
        elif self.how == "extra":
            info["extra_steps"] = -state.steps
        elif self.how == "legal":
            info["legal_actions"] = ("+", "-")
        elif self.how == "view":
            info["text"] = "" if self._state is state else "elsewhere"
        elif self.how == "judge":
            info["success"] = False
        elif self.how == "chance":
            info["text"] = str(np.random.default_rng().random())
        return info

    def step(self, action: Any) -> Any:
        image, reward, ended, truncated, info = super().step(action)
        if self.how == "reward":
            reward += 1
        return image, reward, ended, ended if self.how == "truncated" else truncated, info


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("task", "one task per episode"),
        ("task type", "found task_type '1' after '0'"),
        ("missing", "without 'facts'"),
        ("type", "expected strings"),
        ("extra", "never decreases"),
        ("legal", r"those of legal\(state\)"),
        ("view", r"show every step by view\(\)"),
        ("judge", r"mend judge\(\)"),
        ("chance", "draw from np_random only"),
        ("reward", r"one of outcomes\(\)"),
        ("truncated", "truncated = True"),
    ],
)
def test_a_broken_promise_is_named(how: str, message: str) -> None:
    gymnasium.register("broken/Breaker-v0", entry_point=lambda **each: Breaker(how, **each))
    try:
        with pytest.raises(ValueError, match=message):
            check_contract("broken/Breaker-v0")
    finally:
        del gymnasium.registry["broken/Breaker-v0"]


def test_outcomes_are_sampled_by_their_probability() -> None:
    outcomes = [Outcome(0.25, "a", 0.0, False), Outcome(0.75, "b", 0.0, False)]
    rng = np.random.default_rng(0)
    drawn = [sample_outcome(outcomes, rng).state for _ in range(4000)]
    # standard deviation sqrt(4000 * 0.25 * 0.75) = 27, so 1000 +- 110 is four of them
    assert abs(drawn.count("a") - 1000) < 110


def test_mistakes_are_other_legal_actions() -> None:
    rng = np.random.default_rng(0)
    words = ("a", "b", "c")
    assert {with_mistakes(1, words, 1.0, rng) for _ in range(50)} == {0, 2}
    assert {with_mistakes(1, words, 0.0, rng) for _ in range(50)} == {1}
    assert with_mistakes(0, ("only",), 1.0, rng) == 0
    with pytest.raises(ValueError, match=r"mistakes = 1\.5"):
        with_mistakes(0, words, 1.5, rng)
