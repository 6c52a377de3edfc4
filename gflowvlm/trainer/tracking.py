"""Metrics of a run: one JSON line per logged update, and TensorBoard event files."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard.writer import SummaryWriter

METRICS_FILE = "metrics.jsonl"


class Tracker:
    """Writes metrics under a run's folder; every line is on disk before `log` returns.

    Example line: `{"step": 20, "loss": 0.81, "success": 0.64}`. Numbers that are not finite are
    written as the strings "nan", "inf", "-inf", which `float` reads back.
    """

    def __init__(self, run_dir: Path, *, resumed_step: int = 0) -> None:
        """Continue after `resumed_step`: what an earlier process logged beyond it is dropped."""
        path = run_dir / METRICS_FILE
        _drop_after(path, resumed_step)
        self._lines = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(
            log_dir=str(run_dir / "tensorboard"), purge_step=resumed_step + 1
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one update."""
        values = {name: float(value) for name, value in metrics.items()}
        line = {"step": step} | {
            name: value if math.isfinite(value) else str(value) for name, value in values.items()
        }
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both files."""
        self._lines.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """All metrics logged so far, oldest first; a line torn by a crash is left out."""
    path = run_dir / METRICS_FILE
    if not path.exists():
        return []
    lines = (_parse(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line is not None]


def _parse(line: str) -> dict[str, float] | None:
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    return {name: int(value) if name == "step" else float(value) for name, value in values.items()}


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        values = _parse(line)
        if values is not None and line.endswith("\n") and values["step"] <= step:
            kept.append(line)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, path)
