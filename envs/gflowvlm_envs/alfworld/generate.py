"""Households without a download: real games in the official layout.

Each is won once before it is kept. What is made is *generated*: rooms, rules and words are
ALFWorld's, the contents of the rooms and the tasks are drawn here. Results on generated games are
not results on ALFWorld's own splits.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any

from gflowvlm_envs.alfworld import pddl
from gflowvlm_envs.alfworld.expert import Planner
from gflowvlm_envs.alfworld.games import FOLDERS, LAYOUT, MANIFEST, require_packages
from gflowvlm_envs.alfworld.household import Household, furnish, held_out, possible_tasks
from gflowvlm_envs.alfworld.rooms import affordances, package_folder, room
from gflowvlm_envs.alfworld.world import TASKS, goal_of, house_of, situation_of

FORMAT = 1
"""Raised whenever equal seeds give other games."""
LONGEST = 40  # moves; a game whose solution is longer is not kept
_TRIES = 60  # households drawn for one game before giving up


@dataclass(frozen=True, kw_only=True)
class Made:
    """A game that has been kept."""

    split: str
    task: str
    pair: tuple[str, str]
    scene: int
    receptacles: int
    things: int
    moves: int  # of the recorded solution
    rejected: int  # households drawn for it that were not kept


def generate(
    output: Path,
    *,
    train: int,
    seen: int,
    unseen: int,
    seed: int = 0,
    task_types: Sequence[str] = TASKS,
    report: Callable[[str], None] = print,
) -> list[Made]:
    """Write games into a new folder that `data=` or `ALFWORLD_DATA` can name.

    Equal arguments give equal files. Game number i of a split is the same whatever the counts, but
    seen games stand in rooms of training games.

    Args:
        output: the folder; it holds no games yet.
        train: games of `train`, in the rooms that ALFRED trains on.
        seen: games of `eval_in_distribution`, in rooms of the training games.
        unseen: games of `eval_out_of_distribution`, in the rooms that ALFRED tests on and with
            object-receptacle pairs that no other game asks for.
        seed: of all that is drawn.
        task_types: the types that take turns.
        report: told the statistics, line by line.

    Raises:
        ValueError: missing packages, impossible counts or types, or a folder that holds games.
    """
    require_packages()
    counts = dict(zip(FOLDERS, (train, seen, unseen), strict=True))
    _check(output, counts, task_types)
    from gflowvlm_envs.alfworld.engine import Engine

    engine, began = Engine(), process_time()
    made: list[Made] = []
    try:
        for split, count in counts.items():
            scenes = _scenes(split, made)
            for number in range(count):
                task = task_types[number % len(task_types)]
                draw = random.Random(f"{FORMAT} {seed} {split} {number}")
                made.append(_make(engine, output, split, task, scenes, seed, draw))
    finally:
        engine.close()
    check_disjoint(made)
    _write_json(output / MANIFEST, _manifest(seed, counts, task_types))
    for line in _statistics(made, process_time() - began):
        report(line)
    return made


def check_disjoint(made: Sequence[Made]) -> None:
    """No unseen game has a room or an object-receptacle pair of another split."""
    unseen = [game for game in made if game.split == "eval_out_of_distribution"]
    known = [game for game in made if game.split != "eval_out_of_distribution"]
    rooms = {game.scene for game in unseen} & {game.scene for game in known}
    pairs = {game.pair for game in unseen} & {game.pair for game in known}
    assert not rooms, f"rooms of unseen games in other games as well: {rooms}"
    assert not pairs, f"object-receptacle pairs of unseen games in other games as well: {pairs}"


def _check(output: Path, counts: Mapping[str, int], task_types: Sequence[str]) -> None:
    if min(counts.values()) < 0 or not any(counts.values()):
        raise ValueError(f"found counts {dict(counts)}, expected some games: ask for at least one")
    if not task_types or set(task_types) - {*TASKS}:
        raise ValueError(
            f"found task types {list(task_types)}, expected some of {', '.join(TASKS)}"
        )
    if (output / LAYOUT).exists():
        raise ValueError(f"found games in {output / LAYOUT}, expected none: name a new folder")


def _scenes(split: str, made: Sequence[Made]) -> list[int]:
    """Floor plans of a split; the split `eval_in_distribution` has those of the training games."""
    if split == "eval_out_of_distribution":
        return list(affordances().TEST_SCENE_NUMBERS)
    if split == "eval_in_distribution" and made:
        return sorted({game.scene for game in made})
    return list(affordances().TRAIN_SCENE_NUMBERS)


def _make(
    engine: Any,
    output: Path,
    split: str,
    task_type: str,
    scenes: Sequence[int],
    seed: int,
    draw: random.Random,
) -> Made:
    """Draw households until one is won, and write it."""
    wants_held_out = split == "eval_out_of_distribution"
    for rejected in range(_TRIES):
        here = room(draw.choice(scenes))
        tasks = [
            task
            for task in possible_tasks(here, task_type)
            if held_out(task.pair, seed) == wants_held_out
        ]
        if not tasks:
            continue
        household = furnish(here, draw.choice(tasks), draw)
        trial = f"trial_T{draw.randrange(10**8):08d}_{draw.randrange(10**6):06d}"
        game = _game(household, trial, draw)
        commands = solution(engine, game)
        if commands is None:
            continue
        game |= {"solvable": True, "walkthrough": commands}
        folder = output / LAYOUT / FOLDERS[split] / _folder(household) / trial
        _write(folder, household, game)
        return Made(
            split=split,
            task=task_type,
            pair=household.task.pair,
            scene=here.scene,
            receptacles=len(here.receptacles),
            things=len(household.things),
            moves=len(commands),
            rejected=rejected,
        )
    raise ValueError(
        f"found no {split} game of type {task_type} in {_TRIES} households, expected one: ask for "
        "more training games, or leave the type out"
    )


def solution(engine: Any, game: Path | Mapping[str, Any]) -> list[str] | None:
    """The commands with which the oracle wins a game; None where it does not.

    Args:
        engine: a `gflowvlm_envs.alfworld.engine.Engine`, which then holds the game.
        game: file or content of a game.
    """
    engine.load(game)
    engine.reset()
    house, goal = house_of(engine.facts, engine.names), goal_of(engine.problem)
    commands: list[str] = []
    while not engine.won and len(commands) < LONGEST:
        planner = Planner(goal=goal, house=house, now=situation_of(engine.facts))
        intention = planner.next()
        move = None if intention is None else intention.chosen(engine.moves)
        if move is None:
            return None
        commands.append(engine.moves[move].command)
        engine.step(commands[-1])
    return commands if engine.won and commands else None


def _game(household: Household, trial: str, draw: random.Random) -> dict[str, Any]:
    """What alfworld's own game files hold, in their order."""
    data = package_folder() / "data"
    grammar = (data / "alfred.twl2").read_text(encoding="utf-8")
    return {
        "pddl_domain": (data / "alfred.pddl").read_text(encoding="utf-8"),
        "grammar": grammar.replace("UNKNOWN GOAL", pddl.sentence_of(household, draw)),
        "pddl_problem": pddl.problem_of(household, trial),
    }


def _folder(household: Household) -> str:
    task = household.task
    return f"{task.type}-{task.object}-None-{task.receptacle}-{household.room.scene}"


def _write(folder: Path, household: Household, game: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    scene = household.room.scene
    story = {
        "task_id": folder.name,
        "task_type": household.task.type,
        "pddl_params": pddl.parameters_of(household),
        "scene": {"floor_plan": f"FloorPlan{scene}", "scene_num": scene},
        "turk_annotations": {"anns": []},
        "plan": {"high_pddl": [], "low_actions": []},
        "generated": True,
    }
    _write_json(folder / "traj_data.json", story)
    (folder / "initial_state.pddl").write_text(game["pddl_problem"], encoding="utf-8")
    (folder / "game.tw-pddl").write_text(json.dumps(game), encoding="utf-8")


def _manifest(seed: int, counts: Mapping[str, int], types: Sequence[str]) -> dict[str, Any]:
    return {
        "generated": True,
        "format": FORMAT,
        "seed": seed,
        "games": dict(counts),
        "task_types": list(types),
        "versions": {name: version(name) for name in ("alfworld", "textworld")},
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _statistics(made: Sequence[Made], seconds: float) -> Iterator[str]:
    yield f"{'generated games':55} games rooms pairs receptacles objects moves rejected"
    for split in FOLDERS:
        for task in (*TASKS, "all"):
            games = [g for g in made if g.split == split and task in (g.task, "all")]
            if games:
                yield (
                    f"{split:24} {task:30} {len(games):5} {len({g.scene for g in games}):5} "
                    f"{len({g.pair for g in games}):5} {mean(g.receptacles for g in games):11.1f} "
                    f"{mean(g.things for g in games):7.1f} {mean(g.moves for g in games):5.1f} "
                    f"{sum(g.rejected for g in games):8}"
                )
    yield f"{len(made)} games, {len(made) / seconds:.1f} a second of processor time"
