"""A comparison for people: one table per split, one of costs, and who is ahead in words."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from gflowvlm.evaluation.verdict import Figure

_WIDTH = 120  # where nobody looks: a log or a file


def print_comparison(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `evaluation.comparison.summarise` gave."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    for split in summary["best"]:
        console.print(_split_table(summary, split))
    console.print(_cost_table(summary))
    for words in summary["verdicts"]:
        console.print(words, markup=False, highlight=False)
    for run, reason in summary["missing"].items():
        console.print(f"missing: {run}: {reason}", markup=False, highlight=False)


def _split_table(summary: Mapping[str, Any], split: str) -> Table:
    everyone = {**summary["methods"], "start model": summary["start"]}
    aggregates = {label: each["aggregate"].get(split, {}) for label, each in everyone.items()}
    references = summary["references"].get(split, {})
    columns = [
        Figure(name, **known)
        for name, known in summary["figures"].items()
        if any(name in found for found in aggregates.values())
    ]
    count = len(summary["seeds"])
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    table = Table(
        title=f"{split}: interquartile mean and 95 % interval over {seeds}, "
        f"{summary['episodes']} games each; * ahead beyond noise",
        title_justify="left",
    )
    table.add_column("")
    for figure in columns:
        table.add_column(figure.label, justify="right")
    for label, found in aggregates.items():
        best = summary["best"].get(split, {})
        cells = [_cell(f, found.get(f.name), best.get(f.name) == label) for f in columns]
        runs = len(everyone[label]["runs"])
        table.add_row(label if runs == count else f"{label} ({runs} of {seeds})", *cells)
    for name, known in references.items():
        if any(figure.name in known for figure in columns):
            cells = [f.written(known[f.name]) if f.name in known else "" for f in columns]
            table.add_row(f"exact {name}" if name in ("sampler", "optimum") else name, *cells)
    return table


def _cell(figure: Figure, found: Mapping[str, float] | None, best: bool) -> str:
    """Value, and its interval below."""
    if found is None:
        return "-"
    low, high = figure.written(found["low"]).rstrip("%"), figure.written(found["high"])
    return f"{figure.written(found['value'])}{' *' if best else ''}\n{low}-{high}"


def _cost_table(summary: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"cost of training a seed; budget {summary['environment_steps']:,} environment steps",
        title_justify="left",
    )
    columns = {
        "objective": lambda method, spent: method["objective"],
        "games": lambda method, spent: f"{spent['episodes']:,.0f}",
        "environment steps": lambda method, spent: f"{spent['environment_steps']:,.0f}",
        "expert's games": lambda method, spent: f"{spent['expert_games']:,.0f}",
        "gradient steps": lambda method, spent: f"{spent['gradient_steps']:,.0f}",
        "CPU minutes": lambda method, spent: f"{spent['cpu_seconds'] / 60:.1f}",
        "wall minutes": lambda method, spent: f"{spent['wall_seconds'] / 60:.1f}",
    }
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="left" if name == "objective" else "right")
    for label, method in summary["methods"].items():
        table.add_row(label, *(cell(method, method["spent"]) for cell in columns.values()))
    return table
