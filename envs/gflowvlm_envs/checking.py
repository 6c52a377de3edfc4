"""Does an environment keep the contract? Games are played and every promise is looked at."""

from collections.abc import Mapping
from typing import Any, get_type_hints

import gymnasium
import numpy as np
from gymnasium import spaces

from gflowvlm_envs.contract import Enumerable, Expert, Measured, StepInfo, splits_of

_MOST_STEPS = 10_000  # an environment without a limit is found out after so many
_TYPES: dict[str, type] = {
    "task": str,
    "legal_actions": tuple,
    "facts": dict,
    "text": str,
    "success": bool,
    "extra_steps": int,
    "distance": int,
    "progress": float,
    "task_type": str,
    "success_chance": float,
}

Game = gymnasium.Env[Any, Any]
Info = Mapping[str, Any]


def check_contract(env_id: str, games: int = 3) -> None:
    """Play `games` games of each split, with random moves, and check what is promised.

    Raises:
        ValueError: at the first broken promise, with what was found and what to change.
    """
    plain = gymnasium.make(env_id)
    splits = splits_of(plain)
    _require(bool(splits), f"{env_id}: found no splits, expected at least one: declare `splits`")
    _check_spaces(env_id, plain)
    for split, arguments in splits.items():
        where = f"{env_id} split {split}"
        env, twin = (gymnasium.make(env_id, **arguments) for _ in range(2))
        for seed in range(games):
            _check_game(where, env, twin, seed)
        if isinstance(env.unwrapped, Enumerable):
            starts = env.unwrapped.starts()
            for start in (starts[0], starts[len(starts) // 2], starts[-1]):
                _check_outcomes(where, env, env.unwrapped, start)
        if isinstance(env.unwrapped, Expert):
            _check_expert(where, env, env.unwrapped)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _check_spaces(where: str, env: Game) -> None:
    action, seen = env.action_space, env.observation_space
    _require(
        isinstance(action, spaces.Discrete) and action.start == 0,
        f"{where}: found action space {action}, expected a Discrete from 0: number the actions",
    )
    _require(
        isinstance(seen, spaces.Box) and seen.dtype == np.uint8 and seen.shape[2:] == (3,),
        f"{where}: found observation space {seen}, expected uint8 [height, width, 3]: "
        "return images",
    )


def _check_info(where: str, env: Game, info: Info) -> None:
    for key in get_type_hints(StepInfo):
        if key not in info and key in StepInfo.__optional_keys__:
            continue
        _require(key in info, f"{where}: found info without {key!r}, expected StepInfo: add it")
        found, expected = type(info[key]).__name__, _TYPES[key].__name__
        _require(
            found == expected,
            f"{where}: found info[{key!r}] of type {found}, expected {expected}: convert it",
        )
    _require(
        ("distance" not in info) or (info["distance"] == 0) == info["success"],
        f"{where}: found distance {info.get('distance')} and success {info['success']}, expected "
        "distance 0 exactly at the goal: mend one of them",
    )
    progress = info.get("progress", float(info["success"]))
    _require(
        0 <= progress <= 1 and (progress == 1) == info["success"],
        f"{where}: found progress {progress} and success {info['success']}, expected a share that "
        "is 1 exactly at the goal: mend one of them",
    )
    _require(
        0 <= info.get("success_chance", 0.0) <= 1,
        f"{where}: found success_chance {info.get('success_chance')}, expected a probability: mend "
        "it or leave it out",
    )
    assert isinstance(env.action_space, spaces.Discrete)
    legal, most = info["legal_actions"], env.action_space.n
    _require(
        0 < len(legal) <= most and len(set(legal)) == len(legal),
        f"{where}: found legal actions {legal}, expected 1 to {most} different words: mend "
        "the list or the action space",
    )
    words = [*legal, *info["facts"], *info["facts"].values()]
    _require(
        all(isinstance(word, str) for word in words),
        f"{where}: found actions and facts {words}, expected strings: convert them",
    )


def _check_game(where: str, env: Game, twin: Game, seed: int) -> None:
    """One game with random moves, played in two copies at once."""
    rng = np.random.default_rng(seed)
    image, info = env.reset(seed=seed)
    twin_image, twin_info = twin.reset(seed=seed)
    reward = twin_reward = 0.0
    ended, steps = False, 0
    while True:
        _check_info(where, env, info)
        _require(
            np.array_equal(image, twin_image) and (info, reward) == (twin_info, twin_reward),
            f"{where}: found two games of seed {seed} that differ after {steps} steps, expected "
            "the same pixels, info and rewards: draw from np_random only",
        )
        if ended:
            return
        before, steps = info, steps + 1
        action = int(rng.integers(len(info["legal_actions"])))
        image, reward, ended, truncated, info = env.step(action)
        twin_image, twin_reward, _, _, twin_info = twin.step(action)
        _check_progress(where, before, info)
        _require(
            not truncated and steps < _MOST_STEPS,
            f"{where}: found truncated = {truncated} after {steps} steps, expected a limit that "
            "belongs to the task: count steps and terminate",
        )


def _check_progress(where: str, before: Info, after: Info) -> None:
    _require(
        before["task"] == after["task"],
        f"{where}: found task {after['task']!r} after {before['task']!r}, expected one task per "
        "episode: put what changes into text",
    )
    _require(
        before.get("task_type") == after.get("task_type"),
        f"{where}: found task_type {after.get('task_type')!r} after {before.get('task_type')!r}, "
        "expected one per episode: say it at every step or never",
    )
    _require(
        before["facts"].keys() == after["facts"].keys(),
        f"{where}: found facts {list(after['facts'])} after {list(before['facts'])}, expected the "
        "same keys: state every field at every step",
    )
    _require(
        before["extra_steps"] <= after["extra_steps"],
        f"{where}: found extra_steps {after['extra_steps']} after {before['extra_steps']}, "
        "expected a count that never decreases: count what exceeds the shortest way",
    )


def _check_outcomes(where: str, env: Game, game: Enumerable[Any], start: Any) -> None:
    """Play from a start and keep the states that explain what is seen; some must remain."""
    rng = np.random.default_rng(0)
    image, info = env.reset(seed=0, options={"start": start})
    _require_seen(where, game, start, {start}, image, info)
    possible, total, ended = {start}, 0.0, False
    while not ended:
        legal = info["legal_actions"]
        possible = {state for state in possible if tuple(game.legal(state)) == legal}
        _require(
            bool(possible),
            f"{where}: found legal actions {legal}, expected those of legal(state): use it in info",
        )
        action = int(rng.integers(len(legal)))
        branches = [game.outcomes(state, action) for state in possible]
        for branch in branches:
            mass = sum(outcome.probability for outcome in branch)
            _require(
                abs(mass - 1) < 1e-9,
                f"{where}: found probabilities that sum to {mass}, expected 1: mend outcomes()",
            )
        image, reward, ended, _, info = env.step(action)
        flat = [outcome for branch in branches for outcome in branch]
        possible = {o.state for o in flat if (o.reward, o.ended) == (reward, ended)}
        _require(
            bool(possible),
            f"{where}: found reward {reward}, ended {ended}; expected one of outcomes(): sample "
            "step() from them",
        )
        possible = _require_seen(where, game, start, possible, image, info)
        total += float(reward)
    verdicts = {tuple(game.judge(state)) for state in possible}
    found = (info["success"], total > 0)
    _require(
        found in verdicts,
        f"{where}: found (success, return > 0) = {found}, expected {verdicts}: mend judge()",
    )


def _require_seen(
    where: str, game: Enumerable[Any], start: Any, possible: set[Any], image: Any, info: Info
) -> set[Any]:
    """Those of the possible states that look like what is seen; at least one must."""
    views = {state: game.view(start, state) for state in possible}
    fitting = {s for s, view in views.items() if np.array_equal(view[0], image) and view[1] == info}
    _require(
        bool(fitting),
        f"{where}: found pixels or info that no view(start, state) gives, expected those of the "
        "present state: show every step by view()",
    )
    _check_measured(where, game, fitting, info)
    return fitting


def _check_measured(where: str, game: Any, states: set[Any], info: Info) -> None:
    """What is counted in `info` can be told from the states."""
    if isinstance(game, Measured):
        told = {game.distance(state) for state in states}
        _require(
            info.get("distance") in told,
            f"{where}: found distance {info.get('distance')}, expected that of distance(state), "
            f"{told}: use it in info",
        )
    else:
        _require(
            info["extra_steps"] == 0 and "distance" not in info,
            f"{where}: found extra_steps {info['extra_steps']} in an enumerable game without "
            "distance(state), expected 0: add the method",
        )


def _check_expert(where: str, env: Game, player: Expert) -> None:
    _, info = env.reset(seed=0)
    for mistakes in (0.0, 1.0):
        move = player.expert(mistakes)
        _require(
            move.thought != "" and 0 <= move.action < len(info["legal_actions"]),
            f"{where}: found {move}, expected a thought and a legal action: mend expert()",
        )
