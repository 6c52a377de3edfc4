"""alfworld's own AlfredThorEnv plays here, on a stand-in for ai2thor's Controller."""

import importlib
import inspect
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from gflowvlm.errors import UserError
from gflowvlm.launch.parts import build_collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm_envs.alfworld import simulator
from gflowvlm_envs.alfworld.games import MANIFEST
from gflowvlm_envs.alfworld.simulator import understood
from gflowvlm_envs.alfworld.thor import ALFWorldThor
from gflowvlm_envs.checking import check_contract

ID = "gflowvlm/ALFWorldThor-v0"
WAY = ("go to drawer 1", "open drawer 1", "take book 1 from drawer 1", "go to bed 1")


def put_away(env: Any, info: dict[str, Any]) -> tuple[list[float], Any, dict[str, Any]]:
    """Rewards of a game that is won, the last picture and the last info."""
    rewards: list[float] = []
    image, ended = None, False
    for command in (*WAY, "move book 1 to bed 1"):
        assert not ended
        action = info["legal_actions"].index(command)
        image, reward, ended, truncated, info = env.step(action)
        assert info["text"] != "Nothing happens."
        assert not truncated
        rewards.append(reward)
    assert ended
    return rewards, image, info


def test_it_keeps_our_contract(
    stand_in: Any, official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    true = gymnasium.make
    monkeypatch.setattr(gymnasium, "make", lambda *a, **k: made.append(true(*a, **k)) or made[-1])
    split = {"split": "eval_in_distribution", "limit": 8, "image_size": 64}
    monkeypatch.setattr(ALFWorldThor, "splits", {"short": split})
    check_contract(ID, games=1)
    assert len(stand_in.running) == 2  # the one that is asked for its spaces never began
    for env in made:
        env.close()


def test_alfworlds_own_code_plays_a_game_to_its_end(
    stand_in: Any, official: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env: Any = gymnasium.make(ID, image_size=64, render_mode="rgb_array").unwrapped
    image, info = env.reset(seed=0)
    assert info["task_type"] == "pick_and_place_simple"
    assert info["task"].endswith(" You have 50 steps.")
    assert info["task"].startswith("Your task is to: ")
    assert info["text"].startswith("You are in the middle of a room.")
    assert (info["facts"], info["progress"]) == (
        {"place": "the middle of the room", "holding": "nothing"},
        0.0,
    )
    assert (image.dtype, image.shape) == (np.uint8, (64, 64, 3))
    np.testing.assert_array_equal(image[32, 48], stand_in.ORANGE)  # red first
    rewards, image, info = put_away(env, info)
    assert rewards == [0, 0, 0, 0, 51]
    assert (info["success"], info["progress"]) == (True, 1)
    assert info["facts"] == {"place": "bed 1", "holding": "nothing"}
    np.testing.assert_array_equal(env.render(), image)
    with pytest.raises(ValueError, match="has ended"):
        env.step(0)
    _, info = env.reset(seed=0)  # the same Unity process, another game
    assert (info["success"], len(stand_in.running)) == (False, 1)
    assert put_away(env, info)[0][-1] == 51
    env.close()
    assert capfd.readouterr().out == ""


def test_one_game_is_chosen_and_its_task_is_worded_by_the_seed(
    stand_in: Any, official: Path
) -> None:
    env: Any = gymnasium.make(ID, limit=2, image_size=64).unwrapped
    seen = set()
    for seed in range(5):
        _, info = env.reset(seed=seed)
        told = (env.game, info["task"])
        _, info = env.reset(seed=seed)
        assert (env.game, info["task"]) == told
        seen.add(told)
    assert {game for game, _ in seen} == {*env.games.paths}
    assert len({task for _, task in seen}) > 1
    wanted = env.games.paths[1]
    for seed in (0, 1):
        _, info = env.reset(seed=seed, options={"game": str(wanted)})
        assert env.game == wanted
    look = info["legal_actions"].index("look")
    assert [env.step(look)[1:4] for _ in range(2)] == [(0, False, False), (0, True, False)]
    env.close()


def test_alfworld_reads_only_the_old_word_for_what_it_offers(stand_in: Any) -> None:
    from alfworld.agents.controller.base import BaseAgent  # pyright: ignore

    read: Any = SimpleNamespace(Action=BaseAgent.Action)
    offered = "move book 1 to bed 1"
    assert BaseAgent.parse_command(read, offered) == {"action": BaseAgent.Action.PASS}
    parsed = BaseAgent.parse_command(read, understood(offered))
    assert parsed == {
        "action": BaseAgent.Action.PUT,
        "obj": "book 1",
        "rel": "in/on",
        "tar": "bed 1",
    }
    assert understood("take book 1 from bed 1") == "take book 1 from bed 1"


def test_what_fails_in_ai2thor_is_said_in_one_line(stand_in: Any, official: Path) -> None:
    env: Any = gymnasium.make(ID, image_size=64).unwrapped
    stand_in.fails["start"] = AssertionError("Invalid DISPLAY :99\nmore")
    with pytest.raises(ValueError, match=r"cannot start \(AssertionError: Invalid DISPLAY :99\);"):
        env.reset(seed=0)
    config: Any = SimpleNamespace(environment=SimpleNamespace(id=ID, kwargs={}), seed=0)
    with pytest.raises(UserError, match="ALFWorldThor-v0: AI2-THOR cannot start"):
        build_collector(config, "train")
    with pytest.raises(ValueError, match="call reset"):
        env.step(0)
    stand_in.fails.clear()
    env.reset(seed=0)
    stand_in.fails["Initialize"] = KeyError("scene")
    with pytest.raises(ValueError, match=r"cannot begin /.*traj_data.json \(KeyError: 'scene'\)"):
        env.reset(seed=0)
    env.close()


def test_an_ai2thor_that_falls_silent_is_given_up(stand_in: Any, official: Path) -> None:
    env: Any = gymnasium.make(ID, image_size=64, patience=0.3).unwrapped
    stand_in.sleeps["Pass"] = 1.0  # the story's first action
    stand_in.fails["Pass"] = EOFError()
    with pytest.raises(ValueError, match=r"silent for 0\.3 s when asked to begin"):
        env.reset(seed=0)
    env.close()


def test_what_it_lacks_is_said_before_anything_starts(
    stand_in: Any, official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = next(official.rglob("train/*/trial_2/traj_data.json"))
    story.write_text('{"scene": {"scene_num": 1}}')
    env: Any = gymnasium.make(ID, image_size=64).unwrapped
    with pytest.raises(ValueError, match="found a scene without object_poses, dirty_and_empty"):
        env.reset(options={"game": story.with_name("game.tw-pddl")})
    env.close()
    (official / MANIFEST).write_text("{}")
    with pytest.raises(UserError, match=r"found generated games in .*`alfworld-download`"):
        make_environment(ID, "train", {})
    with pytest.raises(UserError, match="found patience = 0 s"):
        make_environment(ID, "train", {"patience": 0})
    monkeypatch.setattr(simulator, "display_problem", lambda: "found no X server at DISPLAY :99")
    with pytest.raises(UserError, match="ALFWorldThor-v0: found no X server at DISPLAY :99"):
        make_environment(ID, "train", {})
    monkeypatch.setattr(simulator, "find_spec", lambda name: name != "cv2")
    with pytest.raises(UserError, match=r"found no package cv2, .*`pip install 'alfworld\[vis\]"):
        make_environment(ID, "train", {})


def test_the_stand_in_has_ai2thors_signatures(controller: Any) -> None:
    if find_spec("ai2thor") is None:
        pytest.skip("ai2thor is not installed: nothing to compare the stand-in with")
    real = importlib.import_module("ai2thor.controller").Controller
    for name in ("__init__", "start", "reset", "step", "stop"):
        ours, theirs = (inspect.signature(getattr(each, name)) for each in (controller, real))
        assert [*ours.parameters] == [*theirs.parameters], name
