"""Checkpoints that are either whole or not there.

A checkpoint is written to `checkpoints/.step_000020.partial`, forced to disk, `state.json` last,
and renamed to `checkpoints/step_000020`. Whatever kills the process, a folder with a
`state.json` under its final name is complete.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from gflowvlm.errors import UserError

_NAME = re.compile(r"step_(\d{6,})")
_STATE = "state.json"
_ASKED = ("lr", "weight_decay")  # of an optimiser: what a resumed run may change


def prepare_run(run_dir: Path, *, resume: bool) -> Path | None:
    """Make or find a run's folder; gives the checkpoint to resume from, None for a fresh run.

    A folder that already holds something is never trained into unless resuming is asked for.
    """
    if resume:
        return require_complete(run_dir)
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UserError(
            f"{run_dir} already exists and is never overwritten; "
            "pass --resume to continue it, or another name=..."
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    return None


def require_complete(run_dir: Path) -> Path:
    """The newest complete checkpoint, or a UserError that says what is missing."""
    if not run_dir.is_dir():
        raise UserError(f"{run_dir}: no such run folder; train it first, without --resume")
    newest = latest_complete(run_dir)
    if newest is None:
        raise UserError(
            f"{run_dir} holds no complete checkpoint; "
            "delete the folder or pass another name=..., then train anew"
        )
    return newest


def save(run_dir: Path, step: int, write: Callable[[Path], None], state: dict[str, Any]) -> Path:
    """Store a checkpoint; `write` puts its content into the folder it is given.

    A complete checkpoint of the same step is left as it is: the same step of the same run has
    the same content.
    """
    folder = run_dir / "checkpoints"
    final = folder / f"step_{step:06d}"
    if (final / _STATE).is_file():
        return final
    partial = folder / f".step_{step:06d}.partial"
    for leftover in (partial, final):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    write(partial)
    _sync_tree(partial)
    (partial / _STATE).write_text(json.dumps({"step": step, **state}, indent=2), encoding="utf-8")
    _sync(partial / _STATE)
    _sync(partial)
    partial.rename(final)
    _sync(folder)
    return final


def complete(run_dir: Path) -> list[Path]:
    """All complete checkpoints, oldest first."""
    folder = run_dir / "checkpoints"
    if not folder.is_dir():
        return []
    found = [
        path
        for path in folder.iterdir()
        if _NAME.fullmatch(path.name) and (path / _STATE).is_file()
    ]
    return sorted(found, key=step_of)


def latest_complete(run_dir: Path) -> Path | None:
    """The complete checkpoint with the highest step."""
    return next(reversed(complete(run_dir)), None)


def step_of(checkpoint: Path) -> int:
    """Updates done when a checkpoint was written."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match.group(1))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The plain values that `save` was given, and `step`."""
    path = checkpoint / _STATE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is damaged ({error.msg} in line {error.lineno}); "
            "delete this checkpoint's folder to fall back on an older one"
        ) from error


def prune(run_dir: Path, *, keep: int) -> None:
    """Delete partial leftovers and all but the newest `keep` complete checkpoints."""
    assert keep >= 1, keep
    kept = complete(run_dir)[-keep:]
    for old in (run_dir / "checkpoints").glob("*step_*"):
        if old not in kept:
            # Without state.json first, a deletion cut short would still look like a checkpoint.
            (old / _STATE).unlink(missing_ok=True)
            shutil.rmtree(old)


def save_optimizer(optimizer: Optimizer, path: Path) -> None:
    """Write an optimiser's moments."""
    torch.save(optimizer.state_dict(), path)


def load_optimizer(optimizer: Optimizer, path: Path) -> None:
    """Read the moments back in place; rates and decay stay what they are.

    Only tensors are read, nothing in the file is executed.

    Raises:
        UserError: they are of other parameters.
    """
    asked = [{name: group[name] for name in _ASKED} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except ValueError as error:
        raise UserError(
            f"{path}: found other parameters than this run trains ({error}); resume with the "
            "objective and the adapter that it was begun with"
        ) from error
    for group, own in zip(optimizer.param_groups, asked, strict=True):
        group.update(own)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
