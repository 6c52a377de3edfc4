"""Scores as rows of a table, whatever is exact beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.table import lines
from gflowvlm.report.comparison import Comparison, Estimate
from gflowvlm.report.sources import Run, Subject

POLICIES = {"before": "start", "after": "trained"}
_SHARES = ("reach", "strict")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure, and in small letters how sure it is."""

    value: str
    interval: str = ""
    measured: bool = True  # False: known exactly
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on a bar from 0 to 100 %."""

    name: str
    kind: str  # class of its mark
    at: float  # percent


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row."""

    label: str
    cells: tuple[Cell, ...]
    ticks: tuple[Tick, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a caption."""

    caption: str
    note: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    ticked: bool = False  # whether a bar ends each row


def score_tables(subject: Subject) -> list[Table]:
    """One table per split."""
    if subject.comparison is not None:
        return _compared(subject.comparison)
    (run,) = subject.runs
    names = [POLICIES.get(name, name) for name in run.measured]
    return [_measured(names, splits) for splits in zip(*run.measured.values(), strict=False)]


def law_tables(run: Run) -> list[Table]:
    """What `evaluate --exact` computed, one table per split."""
    return [
        _laws(split, plain) if "laws" in plain else _bounds(split, plain)
        for split, plain in run.exact.items()
    ]


def _measured(names: Sequence[str], splits: Sequence[Measurement]) -> Table:
    first = splits[0]
    rows = []
    for label, cells, *exact in lines(splits):
        rows.append(
            Line(
                label=label,
                cells=(
                    *(_split(cell) for cell in cells),
                    *(Cell(value=cell, measured=False) for cell in exact),
                ),
                ticks=_ticks(names, splits, label) if label in _SHARES else (),
            )
        )
    return Table(
        caption=first.split,
        note=f"{first.episodes} games, {first.samples_per_start} from each start; temperature "
        f"{first.temperature:g}, seed {first.seed}; 95 % Wilson intervals",
        head=(*names, "chance", "exact sampler", "optimum"),
        lines=tuple(rows),
        ticked=True,
    )


def _ticks(names: Sequence[str], splits: Sequence[Measurement], label: str) -> tuple[Tick, ...]:
    first = splits[0]
    known = (("chance", first.chance), ("sampler", first.sampler), ("optimum", first.optimum))
    exact = [
        Tick(name=name, kind=name, at=100 * getattr(rates, label))
        for name, rates in known
        if rates is not None
    ]
    found = [
        Tick(name=name, kind=name, at=100 * getattr(each, label).value)
        for name, each in zip(names, splits, strict=True)
    ]
    return (*exact, *found)


def _split(cell: str) -> Cell:
    value, _, interval = cell.partition(" (")
    return Cell(value=value, interval=interval.rstrip(")").replace("%-", "-"))


def _laws(split: str, plain: Mapping[str, Any]) -> Table:
    laws = plain["laws"]
    figures = (
        ("tv", "total variation to the target", _number),
        ("kl_from_target", "KL(target || policy), nats", _number),
        ("kl_to_target", "KL(policy || target), nats", _number),
        ("jsd", "Jensen-Shannon divergence, nats", _number),
        ("correlation", "correlation of log P and target", _number),
        ("entropy", "entropy of a game, nats", _number),
        ("mutual_information", "I(start; actions), nats", _number),
        ("reach", "reach", _percent),
        ("strict", "strict", _percent),
    )
    return Table(
        caption=split,
        note=f"computed over {plain['histories']:,} histories of {plain['starts']} starts; target "
        f"R^{plain['beta']:g} p_ref^{plain['alpha']:g}",
        head=tuple(laws),
        lines=tuple(
            Line(label=label, cells=tuple(Cell(value=show(law[name])) for law in laws.values()))
            for name, label, show in figures
        ),
    )


def _bounds(split: str, plain: Mapping[str, Any]) -> Table:
    first = next(iter(plain.values()))
    return Table(
        caption=split,
        note=f"computed through every history of probability {first['min_mass']:g} or more; what "
        "is less likely makes the difference between the two ends",
        head=tuple(plain),
        lines=tuple(
            Line(
                label=name,
                cells=tuple(
                    Cell(value=f"{rates[name]['low']:.2%} to {rates[name]['high']:.2%}")
                    for rates in plain.values()
                ),
            )
            for name in _SHARES
        ),
    )


def _compared(comparison: Comparison) -> list[Table]:
    seeds = {run.seed for run in comparison.runs}
    tables = []
    for split, methods in comparison.scores.items():
        names = list(dict.fromkeys(name for figures in methods.values() for name in figures))
        rows = [
            Line(label=method, cells=tuple(_estimate(name, figures.get(name)) for name in names))
            for method, figures in methods.items()
        ]
        for reference, figures in comparison.references.get(split, {}).items():
            cells = [
                Cell(value=_shown(name, figures[name]) if name in figures else "", measured=False)
                for name in names
            ]
            rows.append(Line(label=reference, cells=tuple(cells)))
        tables.append(
            Table(
                caption=split,
                note=f"{len(seeds)} seed{'s' * (len(seeds) != 1)}; interquartile mean with its "
                "95 % bootstrap interval",
                head=tuple(name.replace("_", " ") for name in names),
                lines=tuple(rows),
            )
        )
    return tables


def _estimate(name: str, found: Estimate | None) -> Cell:
    if found is None:
        return Cell(value="-")
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f"{_shown(name, found.low)} to {_shown(name, found.high)}"
    return Cell(value=_shown(name, found.value), interval=interval)


_COUNTS = ("diversity", "length", "reply_tokens", "entropy", "tv", "kl", "seconds", "steps")


def _shown(name: str, value: float) -> str:
    counted = any(part in name for part in _COUNTS) or abs(value) > 1
    return f"{value:.4g}" if counted else f"{value:.1%}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
