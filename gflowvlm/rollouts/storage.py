"""Played games on disk, beside a checkpoint; what is shared in memory is written once."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch

from gflowvlm.episode import Ending, ReplyProblem, Segment
from gflowvlm.errors import UserError

_PIXELS = np.empty(0, np.uint8)
_PLAIN: list[Any] = [
    *(Segment, Ending, ReplyProblem),
    *(np.ndarray, np.dtype, type(_PIXELS.dtype), _PIXELS.__reduce__()[0]),
]
"""What any of the values may hold, besides plain values and tensors."""


def write_values(path: Path, values: Sequence[Any], *, kinds: Sequence[type]) -> None:
    """Write frozen values.

    Args:
        path: of the file.
        values: of the first of `kinds`.
        kinds: all dataclasses that they are made of.
    """
    torch.save({"fields": _fields(kinds), "trajectories": list(values)}, path)


def read_values(path: Path, *, kinds: Sequence[type], what: str, otherwise: str) -> list[Any]:
    """Read them back; nothing in the file is executed.

    Args:
        path: of the file.
        kinds: as they were written.
        what: names the file's content to the user.
        otherwise: how a run can go on without it.

    Raises:
        UserError: no such file, or it is damaged or of another version.
    """
    if not path.is_file():
        raise UserError(
            f"found no {path}, expected the {what} of the run so far: resume {otherwise}, or train "
            "anew under another name=..."
        )
    if not is_zipfile(path):  # cut short or overwritten; torch's own complaint is a traceback
        raise UserError(
            f"{path} is damaged, expected a stored {what}: delete this checkpoint's folder to fall "
            "back on an older one"
        )
    with torch.serialization.safe_globals([*kinds, *_PLAIN]):
        stored = torch.load(path, map_location="cpu", weights_only=True)
    if stored["fields"] != _fields(kinds):
        raise UserError(
            f"{path} was written by another version of gflowvlm, expected this one's fields: "
            f"resume with the version that wrote it, or {otherwise}"
        )
    return stored["trajectories"]


def _fields(kinds: Sequence[type]) -> dict[str, list[str]]:
    """Names of the stored values' fields, which tell a file of another version."""
    return {kind.__name__: [field.name for field in fields(kind)] for kind in kinds}
