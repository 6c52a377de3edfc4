"""What a report is made of: the files of a run, or those of every run of a comparison."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gflowvlm.config.schema import RunConfig
from gflowvlm.config.stored import CONFIG_FILE, load_stored
from gflowvlm.errors import UserError
from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.table import read_measured
from gflowvlm.report.comparison import COMPARISON_FILE, Comparison, read_comparison
from gflowvlm.report.recording import Recording
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.tracking import METRICS_FILE, read_metrics

EVALUATION_FILE = "evaluation.json"
ADAPTER_FOLDER = "adapter"
EXACT_FILE, CLOUD_FILE = "exact.json", "exact_points.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's folder as it is now; any of its figures may be missing."""

    method: str  # objective of a lone run, the method's name in a comparison
    folder: Path
    config: RunConfig
    metrics: tuple[Mapping[str, float], ...]  # oldest first
    measured: Mapping[str, list[Measurement]]  # "before", "after"
    exact: Mapping[str, Any]  # split -> what `evaluate --exact` found
    cloud: Mapping[str, Any]  # split -> points of its scatter

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def updates(self) -> int:
        """Updates logged."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def finished(self) -> bool:
        """Whether training is over and, where asked for, measured."""
        done = (self.folder / ADAPTER_FOLDER).is_dir()  # kept when the last update is done
        return done and ("after" in self.measured or not self.config.evaluation.at_end)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a page is on."""

    folder: Path
    runs: tuple[Run, ...]
    comparison: Comparison | None = None  # None for a lone run
    recordings: Mapping[str, Recording] = field(default_factory=dict)  # by method

    @property
    def methods(self) -> list[str]:
        """In the order of their first run."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def finished(self) -> bool:
        """Whether nothing will be added any more."""
        if self.comparison is not None:
            return not self.comparison.missing
        return all(run.finished for run in self.runs)

    def stamp(self) -> tuple[object, ...]:
        """Changes whenever a figure is added."""
        return (
            repr(self.comparison),
            *((r.folder, r.updates, len(r.measured), _size(r.folder / EXACT_FILE))
              for r in self.runs),
            *(checkpoint.latest_complete(run.folder) for run in self.runs),
        )  # fmt: skip

    def require_figures(self) -> None:
        """Refuse a subject that has nothing to show.

        Raises:
            UserError: no run has logged or measured anything.
        """
        if self.comparison is None and not any(
            run.metrics or run.measured or run.exact for run in self.runs
        ):
            raise UserError(
                f"{self.folder}: found no figures yet, expected lines in {METRICS_FILE} or an "
                f"{EVALUATION_FILE}; let it train for an update, or pass --watch to wait for it"
            )


def read_subject(folder: Path) -> Subject:
    """A run, or a comparison with its runs.

    Raises:
        UserError: the folder is neither, or a file in it is broken.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: found no such folder, expected that of a run or a comparison")
    if (folder / COMPARISON_FILE).is_file():
        comparison = read_comparison(folder)
        runs = tuple(
            read_run(each.folder, method=each.method)
            for each in comparison.runs
            if (each.folder / CONFIG_FILE).is_file()
        )
        return Subject(folder=folder, runs=runs, comparison=comparison)
    return Subject(folder=folder, runs=(read_run(folder),))


def read_run(folder: Path, *, method: str | None = None) -> Run:
    """A run as it is now.

    Raises:
        UserError: the folder is no run's, or a file in it is broken.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"{folder}: found neither {CONFIG_FILE} nor {COMPARISON_FILE}, expected the folder of "
            "a run or of a comparison; pass the one that `gflowvlm train` named at its end"
        )
    config = load_stored(folder)
    try:
        measured = read_measured(folder / EVALUATION_FILE)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(folder / EVALUATION_FILE) from error
    return Run(
        method=method or config.objective.type,
        folder=folder,
        config=config,
        metrics=_logged(folder),
        measured=measured,
        exact=_plain(folder / EXACT_FILE),
        cloud=_plain(folder / CLOUD_FILE),
    )


def _logged(folder: Path) -> tuple[Mapping[str, float], ...]:
    """The lines of every update."""
    try:
        lines = tuple(read_metrics(folder))
    except (ValueError, TypeError, AttributeError) as error:
        raise _no_metrics(folder) from error
    if not all("step" in line for line in lines):
        raise _no_metrics(folder)
    return lines


def _plain(path: Path) -> Mapping[str, Any]:
    """A JSON file's values by split; none where there is no such file."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _broken(path) from error
    if not isinstance(values, dict) or not all(
        isinstance(each, dict) and each for each in values.values()
    ):
        raise _broken(path)
    return values


def _no_metrics(folder: Path) -> UserError:
    return UserError(
        f"{folder / METRICS_FILE}: found a line that is no update's, expected one such as "
        '{"step": 1, "loss": 0.5}; take it out'
    )


def _broken(path: Path) -> UserError:
    return UserError(
        f"{path}: found something else than `gflowvlm evaluate` writes; delete the file and "
        "measure again"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
