"""Which games there are: the official folders, or generated ones in the same layout."""

import importlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gflowvlm_envs.alfworld.world import TASKS

FOLDERS = {
    "train": "train",
    "eval_in_distribution": "valid_seen",
    "eval_out_of_distribution": "valid_unseen",
}
"""Split -> folder of the official layout."""
LAYOUT = "json_2.1.1"
MANIFEST = "generated.json"
"""Stands beside the layout's folder where the games were generated, not downloaded."""

_GAME, STORY = "game.tw-pddl", "traj_data.json"
_KEYS = ("pddl_domain", "grammar", "pddl_problem")
_UNSUPPORTED = ("movable", "Sliced")
_TAIL = 65_536  # bytes from the end of a game file; `solvable` and the walkthrough stand there


@dataclass(frozen=True, kw_only=True)
class Games:
    """The playable games of a split, ordered by path, and what was left out."""

    folder: Path
    paths: tuple[Path, ...]
    skipped: Counter[str]  # reason -> number
    generated: bool


def require_packages() -> None:
    """Refuse to go on without the packages that play.

    Raises:
        ValueError: one of them is not installed, or alfworld cannot have its folder.
    """
    missing = [name for name in ("alfworld", "textworld", "fast_downward") if not find_spec(name)]
    if missing:
        raise ValueError(
            f"found no package {', '.join(missing)}, expected those that play ALFWorld: install "
            "g++ and make, then `pip install 'gflowvlm[alfworld]'`; all other environments work "
            "without"
        )
    try:
        importlib.import_module("alfworld")
    except OSError as error:  # it makes its data folder when it is imported
        raise ValueError(
            f"found no way to write to {error.filename}, expected one, since alfworld keeps a "
            "folder there: set ALFWORLD_DATA to a folder that can be written"
        ) from error


def data_root(data: str | Path | None) -> Path:
    """The folder that holds `json_2.1.1`: as given, as `ALFWORLD_DATA` says, or alfworld's own."""
    given = data or os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld"
    return Path(os.path.expandvars(str(given))).expanduser()


def find_games(data: str | Path | None, split: str, task_types: Sequence[str]) -> Games:
    """The games of a split and of some task types.

    Raises:
        ValueError: unknown split or task type, no data, or no playable game among them.
    """
    if split not in FOLDERS:
        raise ValueError(f"found split {split!r}, expected one of {', '.join(FOLDERS)}: change it")
    if not task_types or set(task_types) - {*TASKS}:
        raise ValueError(
            f"found task_types {list(task_types)}, expected some of {', '.join(TASKS)}: change them"
        )
    root = data_root(data)
    folder = root / LAYOUT / FOLDERS[split]
    if not folder.is_dir():
        raise ValueError(
            f"found no folder {folder}, expected ALFWorld's games: `alfworld-download --data-dir "
            f"{root}` gets the official ones, `gflowvlm alfworld generate --output "
            f"{root}` makes others without a network; all other environments work without"
        )
    paths, skipped = _scan(folder, frozenset(task_types))
    if not paths:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise ValueError(
            f"{folder}: found no game to play ({told or 'the folder is empty'}), expected at "
            "least one: download or generate the games again"
        )
    return Games(
        folder=folder,
        paths=paths,
        skipped=Counter(skipped),
        generated=(root / MANIFEST).is_file(),
    )


def read_game(path: Path) -> dict[str, Any]:
    """The content of a `game.tw-pddl`.

    Raises:
        ValueError: it is missing, is no JSON, or lacks what a game needs.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: found no game ({error.strerror}); name a game.tw-pddl"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: the game is cut off or no JSON; get it again") from error
    missing = [key for key in _KEYS if not isinstance(data, dict) or key not in data]
    if missing:
        raise ValueError(
            f"{path}: found a game without {', '.join(missing)}, expected one of alfworld 0.4 or "
            "newer: get the games of json_2.1.1 again"
        )
    return data


@lru_cache(maxsize=32)
def _scan(folder: Path, task_types: frozenset[str]) -> tuple[tuple[Path, ...], dict[str, int]]:
    """Playable games below a folder; a folder's name begins with its task type.

    Kept, since thousands of files are looked at: a process sees the games of its first look.
    """
    paths: list[Path] = []
    skipped: Counter[str] = Counter()
    for story in sorted(folder.glob(f"*/*/{STORY}")):
        game = story.with_name(_GAME)
        task = story.parent.parent.name
        if any(word in task for word in _UNSUPPORTED):
            skipped["with slices or movable receptacles"] += 1
        elif task.partition("-")[0] not in task_types:
            skipped["of other task types"] += 1
        elif not game.is_file():
            skipped[f"without {_GAME}"] += 1
        elif (reason := _unplayable(game)) is not None:
            skipped[reason] += 1
        else:
            paths.append(game)
    return tuple(paths), dict(skipped)


def _unplayable(game: Path) -> str | None:
    """Why a game file cannot be played; None where it can. Reads the end of the file only."""
    with game.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read().decode("utf-8", errors="replace").rstrip()
    if not tail.endswith("}"):
        return "cut off"
    _, found, after = tail.rpartition('"solvable":')
    if not found and size > _TAIL:
        try:
            solvable = json.loads(game.read_text(encoding="utf-8")).get("solvable")
        except ValueError:
            return "that are no JSON"
    else:
        solvable = after.lstrip().startswith("true") if found else None
    if solvable is None:
        return "not said to be solvable"
    return None if solvable else "that cannot be won"
