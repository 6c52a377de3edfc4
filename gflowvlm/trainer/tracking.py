"""Metrics of a run: one JSON line per logged update, and whatever trackers the user watches."""

import math
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from accelerate import PartialState
from accelerate.tracking import (
    GeneralTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)

from gflowvlm.config.training import TrackerName
from gflowvlm.errors import UserError
from gflowvlm.trainer.lines import StepLines, read_lines

METRICS_FILE = "metrics.jsonl"
TRACKER_ID_FILE = "tracker_id"
PROJECT = "gflowvlm"


class Tracker:
    """Writes metrics under a run's folder and to trackers; lines are on disk before `log` returns.

    Example line: `{"step": 20, "loss": 0.81, "success": 0.64}`. Numbers that are not finite are
    written as the strings "nan", "inf", "-inf", which `float` reads back.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        resumed_step: int = 0,
        trackers: Sequence[TrackerName] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Continue after `resumed_step`: what an earlier process logged beyond it is dropped.

        Args:
            run_dir: the run's folder; its name is the run's name for the trackers.
            resumed_step: updates done.
            trackers: watched besides the lines.
            settings: the run's, shown by trackers of experiments.
        """
        self._lines = StepLines(run_dir / METRICS_FILE, resumed_step=resumed_step)
        PartialState()  # accelerate's trackers ask it which process they are in
        self._trackers = [_build(name, run_dir, resumed_step) for name in trackers]
        for tracker in self._trackers:
            tracker.start()
            if settings is not None and not isinstance(tracker, TensorBoardTracker):
                tracker.store_init_configuration(dict(settings))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one update."""
        values = {name: float(value) for name, value in metrics.items()}
        line = {n: value if math.isfinite(value) else str(value) for n, value in values.items()}
        self._lines.write(step, line)
        for tracker in self._trackers:
            tracker.log(values, step=step)

    def close(self) -> None:
        """Flush and close everything."""
        self._lines.close()
        for tracker in self._trackers:
            tracker.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def require_trackers(trackers: Sequence[TrackerName]) -> None:
    """Check that every tracker can be used, before anything is made or trained.

    Raises:
        UserError: one is not installed (names the extra that brings it), or has no account.
    """
    for name in trackers:
        if find_spec(name) is None:
            raise UserError(
                f"trainer.trackers: found {name}, which is not installed; "
                f"pip install 'gflowvlm[{name}]', or take it out of the list"
            )
    if "wandb" in trackers:
        _log_in_to_wandb()


def _log_in_to_wandb() -> None:
    wandb: Any = import_module("wandb")  # an extra: there is nothing to check types against
    try:
        wandb.login()  # asks on a terminal; does nothing with WANDB_MODE=offline
    except wandb.Error as error:
        raise UserError(
            f"trainer.trackers: found wandb without an account ({' '.join(str(error).split())}); "
            "run `wandb login`, or set WANDB_MODE=offline to keep its files in the run's folder"
        ) from error


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """All metrics logged so far, oldest first; a line torn by a crash is left out."""
    return [
        {name: value if name == "step" else float(value) for name, value in line.items()}
        for line in read_lines(run_dir / METRICS_FILE)
    ]


def _build(name: TrackerName, run_dir: Path, resumed_step: int) -> GeneralTracker:
    """A tracker that takes up the same run again when training is resumed."""
    match name:
        case "tensorboard":
            return TensorBoardTracker(name, run_dir, purge_step=resumed_step + 1)
        case "wandb":
            identity = _tracker_id(run_dir)
            return WandBTracker(
                PROJECT, name=run_dir.name, id=identity, dir=str(run_dir), resume="allow"
            )
        case "trackio":
            identity = f"{run_dir.name}-{_tracker_id(run_dir)}"  # it knows a run by its name
            return TrackioTracker(PROJECT, name=identity, resume="allow")


def _tracker_id(run_dir: Path) -> str:
    """What tells this run from others of its name; made once and kept in its folder."""
    file = run_dir / TRACKER_ID_FILE
    if not file.exists():
        file.write_text(secrets.token_hex(4), encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()
