"""What `gflowvlm compare` leaves, as the page wants it; only this file knows its layout."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gflowvlm.errors import UserError

COMPARISON_FILE = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over seeds with its interval; both ends None for a single number."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One method with one seed."""

    method: str
    seed: int
    folder: Path
    figures: Mapping[str, Mapping[str, float]]  # split -> name -> value


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several methods on one task."""

    name: str
    runs: tuple[ComparedRun, ...]
    scores: Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # split -> method -> name
    references: Mapping[str, Mapping[str, Mapping[str, float]]]  # split -> "chance"... -> name


def read_comparison(folder: Path) -> Comparison:
    """A comparison's figures.

    Raises:
        UserError: the file is none of this version.
    """
    path = folder / COMPARISON_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(
            ComparedRun(
                method=run["method"],
                seed=run["seed"],
                folder=folder / run["folder"],
                figures=run["figures"],
            )
            for run in plain["runs"]
        )
        scores = {
            split: {
                method: {name: Estimate(**each) for name, each in figures.items()}
                for method, figures in methods.items()
            }
            for split, methods in plain["scores"].items()
        }
        return Comparison(
            name=plain["name"],
            runs=runs,
            scores=scores,
            references=plain.get("references", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: found no comparison that this version can read ({error!r}), expected what "
            "`gflowvlm compare` writes; run it again, it goes on where it was"
        ) from error
