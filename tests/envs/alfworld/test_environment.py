import json
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from gflowvlm.errors import UserError
from gflowvlm.rollouts.environments import make_environment
from gflowvlm_envs.alfworld.games import find_games
from gflowvlm_envs.alfworld.world import TASKS
from gflowvlm_envs.checking import check_contract

Make = Callable[..., Any]


def test_it_keeps_gymnasiums_contract_and_ours(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(gymnasium.make("gflowvlm/ALFWorld-v0").unwrapped)
    check_contract("gflowvlm/ALFWorld-v0", games=1)


def test_a_seed_chooses_the_game_and_a_path_overrules_it(make: Make) -> None:
    env, twin = make(), make()
    played = set()
    for seed in range(12):
        image, info = env.reset(seed=seed)
        twin_image, twin_info = twin.reset(seed=seed)
        assert env.game == twin.game
        assert info == twin_info
        np.testing.assert_array_equal(image, twin_image)
        played.add(env.game)
    assert len(played) > 2
    wanted = env.games.paths[3]
    for seed in (0, 1):
        env.reset(seed=seed, options={"game": str(wanted)})
        assert env.game == wanted


def test_a_reminder_ends_each_steps_text_and_changes_nothing_else(make: Make) -> None:
    env, plain = make(reminder=True), make()
    _, info = env.reset(seed=3)
    assert info == plain.reset(seed=3)[1]  # the task has just been told
    task = info["task"].partition(" You have ")[0]
    for action in (0, 5):
        told, plainly = env.step(action)[-1], plain.step(action)[-1]
        assert told["text"] == f"{plainly['text']} {task}"
        assert told | {"text": ""} == plainly | {"text": ""}


def test_the_expert_wins_every_type_and_its_conditions_add_up(make: Make) -> None:
    for split in ("train", "eval_in_distribution", "eval_out_of_distribution"):
        env = make(split=split)
        for game in env.games.paths:
            _, info = env.reset(options={"game": game})
            assert "at most" not in info["text"]
            assert "Your task is to: " in info["task"]
            total, progress = 0.0, [info["progress"]]
            while not info["success"]:
                assert info["task_type"] == type_of(game)
                move = env.expert(0.0)
                assert env.goal.object in move.thought
                _, reward, ended, _, info = env.step(move.action)
                assert ended == info["success"]
                total += reward
                progress.append(info["progress"])
            conditions = {0: 1, 1: 2, 2: 3, 3: 3, 4: 3, 5: 2}[TASKS.index(env.goal.task)]
            assert (progress[0], progress[-1]) == (0, 1)
            assert total == 50 + conditions
            with pytest.raises(ValueError, match="has ended"):
                env.step(0)
        assert {type_of(game) for game in env.games.paths} == {*TASKS[: len(env.games.paths)]}


def type_of(game: Path) -> str:
    return json.loads(game.with_name("traj_data.json").read_text())["task_type"]


def test_a_mistaken_expert_finds_back_and_says_what_it_errs_in(make: Make) -> None:
    env = make(limit=60)
    won, wrong = 0, 0
    for seed, game in enumerate(env.games.paths):
        _, info = env.reset(seed=seed, options={"game": game})
        ended = False
        while not ended:
            move = env.expert(0.3)
            wrong += move.thought == "look around"
            _, _, ended, _, info = env.step(move.action)
        won += info["success"]
    assert won == len(env.games.paths)
    assert wrong > 5


def test_a_searcher_needs_no_more_than_it_has_been_told(make: Make) -> None:
    env, oracle = make(expert="searcher", limit=100), make()
    steps, shortest = Counter[str](), Counter[str]()
    for game in env.games.paths:
        for player, count in ((env, steps), (oracle, shortest)):
            _, info = player.reset(options={"game": game})
            while not info["success"]:
                _, _, ended, _, info = player.step(player.expert(0.0).action)
                count["steps"] += 1
                assert info["success"] or not ended
    assert steps["steps"] > 1.5 * shortest["steps"]


def test_a_searcher_takes_any_of_the_three_places_that_are_likeliest(make: Make) -> None:
    env, taken = make(expert="searcher", limit=100, notes=True), Counter[int]()
    for game in env.games.paths:
        _, info = env.reset(seed=0, options={"game": game})
        while (move := env.expert(0.0)).thought.startswith("find"):
            places = info["text"].rpartition("; to look into: ")[2].rstrip(".").split(", ")
            verb, _, place = info["legal_actions"][move.action].rpartition(" to ")
            if verb == "go":
                taken[places.index(place)] += 1
            else:  # what is at hand comes first
                assert info["legal_actions"][move.action].split(" ", 1)[1] in places
            assert len(places) <= 3
            info = env.step(move.action)[-1]
    assert {*taken} == {0, 1, 2}


def test_likelier_places_are_those_that_may_hold_it_then_open_ones_as_they_were_named(
    make: Make,
) -> None:
    env = make(notes=True)
    for game in env.games.paths:
        _, info = env.reset(options={"game": game})
        told = re.findall(r"\ba (\w+ \d+)", info["text"].partition(" You are at ")[0])
        house, kind = env._house, env.goal.object
        ids = {house.names[each]: each for each in house.receptacles}
        fitting = [n for n in told if (house.kinds[ids[n]], kind) in house.holds_kind]
        likely = sorted(fitting, key=lambda name: ids[name] in house.openable)
        places = info["text"].rpartition("; to look into: ")[2].rstrip(".").split(", ")
        assert places[: len(likely)] == likely[:3]


def test_notes_tell_what_the_words_have_told_and_change_nothing_else(make: Make) -> None:
    env = make(task_types=[TASKS[5]], expert="searcher", notes=True)
    plain = make(task_types=[TASKS[5]], expert="searcher")
    _, info = env.reset(seed=1)
    _, plainly = plain.reset(seed=1)
    known, said, placed = "", "", 0
    while not info["success"]:
        told = plainly["text"]
        assert info["text"].startswith(told + " You are at ")
        known += told
        said = info["text"].removeprefix(told)
        facts = plainly["facts"]
        assert said.startswith(f" You are at {facts['place']}, carrying {facts['holding']}")
        for name in re.findall(r"\w+ \d+", said):
            assert name in known
        seen = info["facts"]["looking for"]
        assert seen == "nothing" or f"; {seen}" in said
        if not facts["looking for"].endswith("nothing"):
            assert seen == f"{facts['looking for']} at {facts['place']}"
        placed += "; placed: " in said
        action = env.expert(0.2).action
        assert info["legal_actions"] == plainly["legal_actions"]
        info, plainly = env.step(action)[-1], plain.step(action)[-1]
    assert placed


def test_notes_tell_the_state_of_what_was_treated(make: Make) -> None:
    for task, mark in zip(TASKS[2:5], ("clean", "hot", "cold"), strict=True):
        env = make(task_types=[task], notes=True)
        _, info = env.reset(seed=0)
        said = ""
        while not info["success"]:
            info = env.step(env.expert(0.0).action)[-1]
            said += info["text"]
        assert re.search(rf", carrying {env.goal.object} \d+, not {mark}\.", said)
        assert re.search(rf", carrying {mark} {env.goal.object} \d+\.", said)


def test_the_limit_ends_a_game_as_a_failure(make: Make) -> None:
    env = make(limit=3)
    _, info = env.reset(seed=0)
    assert "3 steps" in info["task"]
    look = info["legal_actions"].index("look")
    outcomes = [env.step(look)[1:4] for _ in range(3)]
    assert outcomes == [(0, False, False), (0, False, False), (0, True, False)]


def test_a_condition_lost_costs_what_it_brought(make: Make) -> None:
    env = make(task_types=[TASKS[5]])
    _, info = env.reset(seed=0)
    moves, reward = list[str](), 0.0
    while not moves or not moves[-1].startswith("move"):
        action = env.expert(0.0).action
        moves.append(info["legal_actions"][action])
        _, reward, _, _, info = env.step(action)
    assert (reward, info["progress"]) == (1, 0.5)
    thing, place = moves[-1].removeprefix("move ").split(" to ")
    back = info["legal_actions"].index(f"take {thing} from {place}")
    _, reward, _, _, info = env.step(back)
    assert (reward, info["progress"]) == (-1, 0)
    assert info["facts"] == {"place": place, "holding": thing, "looking for": "nothing"}


@pytest.mark.parametrize("task", TASKS)
def test_the_searcher_takes_what_is_looked_for_and_nothing_untold(make: Make, task: str) -> None:
    env = make(task_types=[task], expert="searcher")
    taken = 0
    for seed in range(3):
        _, info = env.reset(seed=seed)
        told, ended = info["text"], False
        while not ended:
            commands = info["legal_actions"]
            kind, _, useful = info["facts"]["looking for"].rpartition(": ")
            assert useful == "nothing" or (useful in told and kind == f"a {useful.split()[0]}")
            chosen = env.expert(0.3).action
            best = commands[env.expert(0.0).action]
            if best.startswith("take "):
                assert best.startswith(f"take {useful} from ")
                taken += 1
            elif best.startswith("use "):
                assert best == f"use {useful}"
            elif best.startswith("go to "):
                assert useful == "nothing"
            _, _, ended, _, info = env.step(chosen)
            told += info["text"]
    assert taken


def test_task_types_choose_games(make: Make) -> None:
    env = make(task_types=[TASKS[1]])
    assert {type_of(game) for game in env.games.paths} == {TASKS[1]}
    with pytest.raises(ValueError, match="expected some of pick_and_place_simple"):
        make(task_types=["juggle"])


def test_what_is_missing_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ALFWorld-v0: found no folder .*alfworld-download"):
        make_environment("gflowvlm/ALFWorld-v0", "train", {"data": str(tmp_path)})
    with pytest.raises(UserError, match="found split 'ood', expected one of"):
        make_environment("gflowvlm/ALFWorld-v0", "ood", {"data": str(data)})
    shutil.copytree(data, tmp_path / "half")
    games = sorted((tmp_path / "half" / "json_2.1.1" / "train").glob("*/*/game.tw-pddl"))
    games[0].unlink()
    games[1].write_text(games[1].read_text()[:-50])
    games[2].write_text(games[2].read_text().replace('"solvable": true', '"solvable": false'))
    games[3].write_text(games[3].read_text().replace('"solvable": true, ', ""))
    found = find_games(tmp_path / "half", "train", TASKS)
    assert found.paths == tuple(games[4:])
    assert found.generated
    assert found.skipped == {
        "without game.tw-pddl": 1,
        "cut off": 1,
        "that cannot be won": 1,
        "not said to be solvable": 1,
    }


def test_no_game_at_all_is_an_error(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "empty")
    for game in (tmp_path / "empty" / "json_2.1.1" / "train").glob("*/*/game.tw-pddl"):
        game.unlink()
    with pytest.raises(UserError, match=r"found no game to play \(6 without game.tw-pddl\)"):
        make_environment("gflowvlm/ALFWorld-v0", "train", {"data": str(tmp_path / "empty")})
