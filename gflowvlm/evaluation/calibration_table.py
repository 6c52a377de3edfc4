"""Calibration as tables for people."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from gflowvlm.evaluation.calibration import Calibration
from gflowvlm.evaluation.unfold import Bounds, LikelyRates


def print_calibration(found: Calibration, console: Console) -> None:
    """Print one split's figures, policies side by side."""
    table = _table(
        f"{found.split}: exact over {found.histories:,} histories of {found.starts} starts, "
        f"target R^{found.beta:g} p_ref^{found.alpha:g}",
        (*found.laws, "optimum"),
    )
    best = {"reach": _percent(found.optimum.reach), "strict": _percent(found.optimum.strict)}
    for name, label, shown in (
        ("tv", "TV to the target", _number),
        ("kl_from_target", "KL(target || policy)", _number),
        ("kl_to_target", "KL(policy || target)", _number),
        ("jsd", "JSD", _number),
        ("correlation", "correlation of log P", _number),
        ("entropy", "entropy of a game", _number),
        ("mutual_information", "I(start; actions)", _number),
        ("reach", "reach", _percent),
        ("strict", "strict", _percent),
    ):
        cells = [shown(getattr(law, name)) for law in found.laws.values()]
        table.add_row(label, *cells, best.get(name, ""))
    console.print(table)
    if found.log_z is not None:
        console.print(
            f"log Z, learned beside true: mean error {found.log_z.mean_error:.4f} nats, largest "
            f"{found.log_z.largest_error:.4f}"
        )
    if found.residual:
        pieces = ", ".join(f"{length}: {value:.3f}" for length, value in found.residual.items())
        console.print(f"RMS of a_i - a_j by decisions between, nats: {pieces}", highlight=False)


def print_likely(found: Mapping[str, LikelyRates], split: str, console: Console) -> None:
    """Print one split's rates between their limits, policies side by side."""
    first = next(iter(found.values()))
    table = _table(
        f"{split}: exact, histories less likely than {first.min_mass:g} left open", tuple(found)
    )
    for name in ("reach", "strict"):
        table.add_row(name, *(_between(getattr(rates, name)) for rates in found.values()))
    table.add_row("histories followed", *(f"{rates.histories:,}" for rates in found.values()))
    console.print(table)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _between(bounds: Bounds) -> str:
    return f"{bounds.low:.2%}-{bounds.high:.2%}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
