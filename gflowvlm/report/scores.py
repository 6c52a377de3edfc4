"""Scores as rows of a table, whatever is exact beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.table import Beside, beside, rows, type_rows
from gflowvlm.report.comparison import Comparison, Estimate
from gflowvlm.report.sources import Run, Subject

POLICIES = {"before": "start", "after": "trained"}
REFERENCES = {"sampler": "exact sampler"}
DASH = "\u2013"
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
    stacked: bool = False  # intervals below their values, for many columns

    @property
    def kinds(self) -> set[str]:
        """What its ticks stand for."""
        return {tick.kind for line in self.lines for tick in line.ticks}


def score_tables(subject: Subject) -> list[Table]:
    """One table per split."""
    if subject.comparison is not None:
        return _compared(subject.comparison)
    (run,) = subject.runs
    names = [POLICIES.get(name, name) for name in run.measured]
    found = []
    for splits in zip(*run.measured.values(), strict=False):
        found.append(_measured(names, splits))
        if splits[0].by_type:
            found.append(_by_type(names, splits))
    return found


def law_tables(run: Run) -> list[Table]:
    """What `evaluate --exact` computed, one table per split."""
    return [
        _laws(split, plain) if "laws" in plain else _bounds(split, plain)
        for split, plain in run.exact.items()
    ]


def _measured(names: Sequence[str], splits: Sequence[Measurement]) -> Table:
    first, others = splits[0], beside(splits)
    found = []
    for row in rows(splits, others):
        found.append(
            Line(
                label=row.label,
                cells=(*(_split(cell) for cell in row.cells), *_others(row.beside, others)),
                ticks=_ticks(names, splits, row.label) if row.label in _SHARES else (),
            )
        )
    return Table(
        caption=first.split,
        note=f"{first.episodes} games, {first.samples_per_start} from each start; temperature "
        f"{first.temperature:g}, seed {first.seed}; 95% Wilson intervals",
        head=(*names, *map(_head, others)),
        lines=tuple(found),
        ticked=True,
    )


def _by_type(names: Sequence[str], splits: Sequence[Measurement]) -> Table:
    others = beside(splits)
    return Table(
        caption=f"{splits[0].split}, by task type",
        note="reach: games of each kind, then its mean over kinds and over games",
        head=("games", *names, *map(_head, others)),
        lines=tuple(
            Line(
                label=row.label,
                cells=(*(_split(cell) for cell in row.cells), *_others(row.beside, others)),
            )
            for row in type_rows(splits, others)
        ),
    )


def _others(cells: Sequence[str], others: Sequence[Beside]) -> list[Cell]:
    """What is exact in grey, what was played with its interval."""
    return [
        _split(cell) if other.played else Cell(value=cell, measured=False)
        for cell, other in zip(cells, others, strict=True)
    ]


def _head(other: Beside) -> str:
    name = REFERENCES.get(other.name, other.name)
    return f"{name}, played" if other.played else name


def _ticks(names: Sequence[str], splits: Sequence[Measurement], label: str) -> tuple[Tick, ...]:
    first = splits[0]
    known = (("chance", first.chance), ("sampler", first.sampler), ("optimum", first.optimum))
    exact = [
        Tick(name=name, kind=name, at=100 * getattr(rates, label))
        for name, rates in known
        if rates is not None
    ]
    played = [
        Tick(name=f"{name}, played", kind=name, at=100 * getattr(each, label).value)
        for name, each in first.references.items()
    ]
    found = [
        Tick(name=name, kind=name, at=100 * getattr(each, label).value)
        for name, each in zip(names, splits, strict=True)
    ]
    return (*exact, *played, *found)


def _split(cell: str) -> Cell:
    value, _, interval = cell.partition(" (")
    return Cell(value=value, interval=interval.rstrip(")").replace("%-", DASH))


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
    return [_compared_split(comparison, split) for split in comparison.splits]


def _compared_split(comparison: Comparison, split: str) -> Table:
    scores = {**comparison.scores, "start policy": comparison.start}
    references = comparison.references.get(split, {})
    known = [each.get(split, {}) for each in scores.values()]
    names = [name for name in comparison.figures if any(name in each for each in known)]
    rows = [
        Line(
            label=method,
            cells=tuple(
                _estimate(comparison, split, name, method, found.get(split, {}).get(name))
                for name in names
            ),
        )
        for method, found in scores.items()
        if found.get(split)
    ]
    for reference, values in references.items():
        cells = (
            comparison.figures[name].written(values[name]) if name in values else ""
            for name in names
        )
        label = REFERENCES.get(reference, reference)
        rows.append(
            Line(label=label, cells=tuple(Cell(value=cell, measured=False) for cell in cells))
        )
    return Table(
        caption="all splits" if split == "all" else split,
        note=f"interquartile mean over {comparison.seeds} seed{'s' * (comparison.seeds != 1)} of "
        f"{comparison.episodes} games a split, and below it its 95% bootstrap interval",
        head=tuple(comparison.figures[name].label for name in names),
        lines=tuple(rows),
        stacked=True,
    )


def cost_table(comparison: Comparison) -> Table:
    """What training cost, means over a method's runs."""
    names = list(dict.fromkeys(name for each in comparison.spent.values() for name in each))
    return Table(
        caption="cost",
        note="of training, mean over a method's runs",
        head=tuple(name.replace("_", " ") for name in names),
        lines=tuple(
            Line(
                label=method,
                cells=tuple(Cell(value=f"{spent.get(name, 0):,.0f}") for name in names),
            )
            for method, spent in comparison.spent.items()
        ),
    )


def _estimate(
    comparison: Comparison, split: str, name: str, method: str, found: Estimate | None
) -> Cell:
    if found is None:
        return Cell(value="-")
    written = comparison.figures[name].written
    return Cell(
        value=written(found.value),
        interval=f"{written(found.low).rstrip('%')}{DASH}{written(found.high)}",
        best=comparison.best.get(split, {}).get(name) == method,
    )


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
