"""Measurements as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gflowvlm.evaluation.measure import Measurement, Share
from gflowvlm.evaluation.starts import pass_name
from gflowvlm.exact.play import Rates

Measured = Mapping[str, Sequence[Measurement]]
"""Name of a policy ("before", "after") -> one measurement per split, splits in the same order."""


def print_table(measured: Measured) -> None:
    """Print every split's figures, policies side by side, what is exact beside them."""
    console = Console()
    for splits in zip(*measured.values(), strict=True):
        first = splits[0]
        table = Table(
            title=f"{first.split}: {first.episodes} games, temperature {first.temperature:g}, "
            f"seed {first.seed}, 95 % intervals",
            title_justify="left",
        )
        table.add_column("", no_wrap=True)
        for name in measured:
            table.add_column(name, justify="right")
        table.add_column("chance", justify="right")
        table.add_column("sampler", justify="right")
        table.add_column("exact optimum", justify="right")
        for label, cells, *exact in lines(splits):
            table.add_row(label, *cells, *exact)
        console.print(table)


def write_json(measured: Measured, path: Path) -> Path:
    """Write all figures; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: [m.as_dict() for m in splits] for name, splits in measured.items()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def read_json(path: Path) -> dict[str, list[Measurement]]:
    """What `write_json` wrote; nothing where there is no such file."""
    if not path.exists():
        return {}
    plain = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Measurement.from_dict(m) for m in splits] for name, splits in plain.items()}


def lines(splits: Sequence[Measurement]) -> list[tuple[str, list[str], str, str, str]]:
    """(label, one cell per policy, chance, exact sampler, optimum)."""
    first = splits[0]
    samples = first.samples_per_start
    empty = ("", "", "")
    return [
        (
            "reach",
            [_interval(m.reach) for m in splits],
            _rate(first.chance, "reach"),
            _rate(first.sampler, "reach"),
            _rate(first.optimum, "reach"),
        ),
        (
            "strict",
            [_interval(m.strict) for m in splits],
            _rate(first.chance, "strict"),
            _rate(first.sampler, "strict"),
            _rate(first.optimum, "strict"),
        ),
        ("right moves", [_percent(m.right_moves) for m in splits], "", "", ""),
        ("numbers read right", [_percent(m.reading) for m in splits], "", "", ""),
        (f"Div@{samples}", [_number(m.diversity) for m in splits], "", "", ""),
        (pass_name(samples), [_percent(m.pass_at.get(pass_name(samples))) for m in splits], *empty),
        *_coverage_lines(splits),
        ("reply entropy, nats", [_number(m.reply_entropy) for m in splits], *empty),
        ("invalid replies", [_percent(m.invalid_replies) for m in splits], "", "", ""),
        ("games cut", [str(m.cut) for m in splits], "", "", ""),
        ("decisions a game", [_number(m.length) for m in splits], "", "", ""),
        ("tokens a reply", [_number(m.reply_tokens) for m in splits], "", "", ""),
    ]


def _coverage_lines(splits: Sequence[Measurement]) -> list[tuple[str, list[str], str, str, str]]:
    """What was found of each start's solutions; nothing where they are not known."""
    found = [m.coverage for m in splits]
    known = next((each for each in found if each is not None), None)
    if known is None:
        return []

    def cells(name: str) -> list[str]:
        return [_percent(getattr(each, name, None)) for each in found]

    diversities = [_number(None if each is None else each.diversity) for each in found]
    return [
        (f"Div@{splits[0].samples_per_start}, classes", diversities, "", "", ""),
        ("solutions found", cells("solutions"), "", "", _percent(known.best_solutions)),
        ("classes found", cells("classes"), "", "", _percent(known.best_classes)),
        ("starts, every solution", cells("all_solutions"), "", "", ""),
        ("starts, every class", cells("all_classes"), "", "", ""),
    ]


def _interval(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%}-{share.high:.1%})"


def _rate(rates: Rates | None, name: str) -> str:
    return "-" if rates is None else f"{getattr(rates, name):.1%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
