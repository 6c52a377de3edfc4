"""JSON lines with a step each, for files that go on where a resumed run does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from gflowvlm.files import write_text


class StepLines:
    """Appends lines to a file; every line has left the process before `write` returns."""

    def __init__(self, path: Path, *, resumed_step: int = 0) -> None:
        """Continue after `resumed_step`: what an earlier process wrote beyond it is dropped."""
        _drop_after(path, resumed_step)
        self._path = path
        self._file: TextIO | None = None  # a file without lines is never made

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line, the step first."""
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines, oldest first; one torn by a crash is left out."""
    if not path.exists():
        return []
    lines = (_parse(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line is not None]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        values = _parse(line)
        if values is not None and line.endswith("\n") and values["step"] <= step:
            kept.append(line)
    write_text(path, "".join(kept))
