"""Measurements as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.references import Reference
from gflowvlm.evaluation.share import Share
from gflowvlm.evaluation.starts import pass_name
from gflowvlm.exact.play import Rates
from gflowvlm.files import write_json

Measured = Mapping[str, Sequence[Measurement]]
"""Name of a policy ("before", "after") -> one measurement per split."""

_WIDTH = 120  # where nobody looks: a log or a file


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Who stands beside the policies, and what is known of it."""

    name: str  # "chance", "sampler", "optimum" or "expert"
    played: bool  # not computed: with intervals
    figures: Mapping[str, str]  # label of a row -> its cell
    types: Mapping[str, str]  # the same of the table by kind of task


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure."""

    label: str
    cells: Sequence[str]  # one per policy
    beside: Sequence[str]  # one for each that stands beside them


def print_table(measured: Measured) -> None:
    """Print every split's figures, policies side by side, others beside them."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    for split in dict.fromkeys(m.split for each in measured.values() for m in each):
        found = {name: m for name, each in measured.items() for m in each if m.split == split}
        splits = [*found.values()]
        first, others = splits[0], beside(splits)
        heads = [*found, *map(head_of, others)]
        title = (
            f"{first.split}: {first.episodes} games, temperature {first.temperature:g}, "
            f"seed {first.seed}, 95 % intervals"
        )
        if first.references:
            title += f"; {' and '.join(first.references)} played the same starts"
        _print(console, title, heads, rows(splits, others))
        if first.by_type:
            title = f"{first.split}: reach by task type"
            _print(console, title, ["games", *heads], type_rows(splits, others))


def _print(console: Console, title: str, heads: Sequence[str], found: Sequence[Row]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", overflow="fold")
    for row in found:
        table.add_row(row.label, *row.cells, *row.beside)
    console.print(table)


def head_of(other: Beside) -> str:
    """What its column is called."""
    name = "exact optimum" if other.name == "optimum" else other.name
    return f"{name}, played" if other.played else name


def write_measured(path: Path, measured: Measured) -> Path:
    """Write all figures."""
    plain = {name: [m.as_dict() for m in splits] for name, splits in measured.items()}
    return write_json(path, plain)


def renew(path: Path, measured: Measured) -> Path:
    """Write figures over those of the same policy and split; all others in the file stay."""
    kept = read_measured(path)
    for name, splits in measured.items():
        anew = {m.split for m in splits}
        kept[name] = [*(m for m in kept.get(name, ()) if m.split not in anew), *splits]
    return write_measured(path, kept)


def read_measured(path: Path) -> dict[str, list[Measurement]]:
    """What `write_measured` wrote; nothing where there is no such file."""
    if not path.exists():
        return {}
    plain = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Measurement.from_dict(m) for m in splits] for name, splits in plain.items()}


def beside(splits: Sequence[Measurement]) -> list[Beside]:
    """What is known exactly; where somebody played instead, how that went."""
    first = splits[0]
    exact = [
        Beside(name=name, played=False, figures=_exact_figures(name, splits), types={})
        for name in ("chance", "sampler", "optimum")
        if getattr(first, name) is not None or not first.references
    ]
    played = [
        Beside(name=name, played=True, figures=_played_figures(each), types=_types(each))
        for name, each in first.references.items()
    ]
    return [*exact, *played]


def _exact_figures(name: str, splits: Sequence[Measurement]) -> dict[str, str]:
    rates = getattr(splits[0], name)
    found = {each: _rate(rates, each) for each in ("reach", "strict")}
    known = next((m.coverage for m in splits if m.coverage is not None), None)
    if name == "optimum" and known is not None:
        found["solutions found"] = _percent(known.best_solutions)
        found["classes found"] = _percent(known.best_classes)
    return found


def _played_figures(reference: Reference) -> dict[str, str]:
    return {
        "reach": _interval(reference.reach),
        "strict": _interval(reference.strict),
        "games cut": str(reference.cut),
        "decisions a game": _number(reference.length),
    }


def rows(splits: Sequence[Measurement], others: Sequence[Beside]) -> list[Row]:
    """Every figure of a split, for all policies; `others` are those of `beside`."""
    samples = splits[0].samples_per_start
    figures = {
        "reach": [_interval(m.reach) for m in splits],
        "strict": [_interval(m.strict) for m in splits],
        "right moves": [_percent(m.right_moves) for m in splits],
        "numbers read right": [_percent(m.reading) for m in splits],
        f"Div@{samples}": [_number(m.diversity) for m in splits],
        pass_name(samples): [_percent(m.pass_at.get(pass_name(samples))) for m in splits],
        **_coverage_figures(splits),
        "reply entropy, nats": [_number(m.reply_entropy) for m in splits],
        "invalid replies": [_percent(m.invalid_replies) for m in splits],
        "games cut": [str(m.cut) for m in splits],
        "decisions a game": [_number(m.length) for m in splits],
        **_shortened_figures(splits),
        **_path_figures(splits),
        "tokens a reply": [_number(m.reply_tokens) for m in splits],
    }
    return [
        Row(label=label, cells=cells, beside=[other.figures.get(label, "") for other in others])
        for label, cells in figures.items()
    ]


def type_rows(splits: Sequence[Measurement], others: Sequence[Beside]) -> list[Row]:
    """Games and reach of each kind of task, and the means of reach over kinds and over games."""
    games = {name: str(each.games) for name, each in splits[0].by_type.items()}
    games["mean over games"] = str(splits[0].episodes)
    policies = [_types(m) for m in splits]
    return [
        Row(
            label=label,
            cells=[games.get(label, ""), *(policy.get(label, "-") for policy in policies)],
            beside=[other.types.get(label, "") for other in others],
        )
        for label in policies[0]
    ]


def _types(scores: Measurement | Reference) -> dict[str, str]:
    if scores.macro_reach is None:
        return {}
    return {
        **{name: _interval(each.reach) for name, each in scores.by_type.items()},
        "mean over types": _interval(scores.macro_reach),
        "mean over games": _interval(scores.reach),
    }


def _path_figures(splits: Sequence[Measurement]) -> dict[str, list[str]]:
    """Nothing where no expert has played."""
    if "expert" not in splits[0].references:
        return {}
    return {"won: actions / expert's": [_number(m.path_ratio) for m in splits]}


def _shortened_figures(splits: Sequence[Measurement]) -> dict[str, list[str]]:
    """Nothing where every prompt held the whole history."""
    shares = [m.shortened_prompts for m in splits]
    return {"prompts shortened": [_percent(share) for share in shares]} if any(shares) else {}


def _coverage_figures(splits: Sequence[Measurement]) -> dict[str, list[str]]:
    """What was found of each start's solutions; nothing where they are not known."""
    found = [m.coverage for m in splits]
    if all(each is None for each in found):
        return {}

    def cells(name: str) -> list[str]:
        return [_percent(getattr(each, name, None)) for each in found]

    diversities = [_number(None if each is None else each.diversity) for each in found]
    return {
        f"Div@{splits[0].samples_per_start}, classes": diversities,
        "solutions found": cells("solutions"),
        "classes found": cells("classes"),
        "starts, every solution": cells("all_solutions"),
        "starts, every class": cells("all_classes"),
    }


def _interval(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%}-{share.high:.1%})"


def _rate(rates: Rates | None, name: str) -> str:
    return "-" if rates is None else f"{getattr(rates, name):.1%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
