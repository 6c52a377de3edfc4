"""What `gflowvlm compare` leaves, as the page wants it; only this file knows its layout."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gflowvlm.errors import UserError
from gflowvlm.evaluation.verdict import FEWEST_RUNS

COMPARISON_FILE = "comparison.json"


@dataclass(frozen=True)
class Estimate:
    """A figure over seeds with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """Something that methods are compared by."""

    label: str
    share: bool  # 0 to 1, shown in percent

    def written(self, value: float) -> str:
        """For people."""
        return f"{value:.1%}" if self.share else f"{value:.3f}"


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One method with one seed."""

    method: str
    seed: int
    folder: Path
    values: Mapping[str, Mapping[str, float | None]]  # split -> figure -> value


Scores = Mapping[str, Mapping[str, Estimate]]
"""Split -> figure -> estimate; what a method does not have is left out."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several methods on one task."""

    name: str
    environment_steps: int
    seeds: int
    episodes: int  # games a split
    figures: Mapping[str, FigureKind]
    runs: tuple[ComparedRun, ...]
    scores: Mapping[str, Scores]  # by method
    start: Scores  # of the policy that all start from
    spent: Mapping[str, Mapping[str, float]]  # by method, means over its runs
    references: Mapping[str, Mapping[str, Mapping[str, float]]]  # split -> "chance"... -> figure
    best: Mapping[str, Mapping[str, str | None]]  # split -> figure -> method; None within noise
    winners: tuple[str, ...]  # verdicts that name a method
    undecided: tuple[str, ...]  # those that name none
    missing: Mapping[str, str]  # run -> why it is not here

    @property
    def splits(self) -> list[str]:
        """In the order of the tables."""
        found = [self.start, *self.scores.values()]
        return list(dict.fromkeys(split for scores in found for split in scores))

    @property
    def outcome(self) -> str:
        """What the verdicts come to."""
        if self.winners:
            return "Ahead of every other method beyond noise, bold in the tables:"
        if self.seeds < FEWEST_RUNS:
            return f"No winner is named below {FEWEST_RUNS} seeds."
        return "No method is ahead of every other beyond noise."


def read_comparison(folder: Path) -> Comparison:
    """A comparison's figures.

    Raises:
        UserError: the file is none of this version.
    """
    path = folder / COMPARISON_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        methods = plain["methods"]
        named = [best for figures in plain["best"].values() for best in figures.values()]
        verdicts = list(zip(plain["verdicts"], named, strict=True))  # both by split and figure
        return Comparison(
            name=plain["name"],
            environment_steps=plain["environment_steps"],
            seeds=len(plain["seeds"]),
            episodes=plain["episodes"],
            figures={
                name: FigureKind(label=each["label"], share=each["unit"] == "share")
                for name, each in plain["figures"].items()
            },
            runs=tuple(
                _run(folder, method, run) for method in methods for run in methods[method]["runs"]
            ),
            scores={method: _scores(each["aggregate"]) for method, each in methods.items()},
            start=_scores(plain["start"]["aggregate"]),
            spent={method: each["spent"] for method, each in methods.items()},
            references=plain["references"],
            best=plain["best"],
            winners=tuple(words for words, best in verdicts if best is not None),
            undecided=tuple(words for words, best in verdicts if best is None),
            missing=plain["missing"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: found no comparison that this version can read ({error!r}), expected what "
            "`gflowvlm compare` writes; run it again with --resume, finished runs are kept"
        ) from error


def _run(folder: Path, method: str, run: Mapping[str, Any]) -> ComparedRun:
    values = {split: each["values"] for split, each in run["splits"].items()}
    return ComparedRun(
        method=method, seed=run["seed"], folder=folder / run["folder"], values=values
    )


def _scores(aggregate: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Scores:
    return {
        split: {
            name: Estimate(each["value"], each["low"], each["high"])
            for name, each in figures.items()
        }
        for split, figures in aggregate.items()
    }
