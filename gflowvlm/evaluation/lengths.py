"""Success by how far the goal is at the start, and whether training ever saw a start so far off.

A policy that has learned a rule keeps it beyond the lengths of its training; one that has learned
its games does not (seed paper: arXiv 2407.03105).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from rich.console import Console
from rich.table import Table

from gflowvlm.episode import Episode
from gflowvlm.errors import UserError
from gflowvlm.evaluation import metrics
from gflowvlm.evaluation.analysis import FlowAnalysis, Flows
from gflowvlm.evaluation.share import Share, share_of
from gflowvlm.evaluation.views import Views
from gflowvlm.rollouts.environments import distance_of


@dataclass(frozen=True, kw_only=True)
class LengthFigures:
    """One policy on the starts of one length."""

    length: int  # steps to go at the start; decisions of the game where nobody says
    trained: bool | None  # whether training had starts of this length; None where unknown
    games: int  # played; starts where the figures are exact
    reach: Share  # goal within the limit; without an interval where exact
    strict: Share  # goal with a positive return
    tv: float | None = None  # total variation to the exact law, mean over starts; exact only


def figures_by_length(
    episodes: Sequence[Episode], trained: frozenset[int] | None
) -> list[LengthFigures]:
    """Figures of played games, shortest first.

    Args:
        episodes: games.
        trained: lengths that training has seen, None where unknown.
    """
    groups: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        start = episode.start_distance
        groups[len(episode.decisions) if start is None else start].append(episode)
    return [
        LengthFigures(
            length=length,
            trained=None if trained is None else length in trained,
            games=len(games),
            reach=share_of(games, metrics.reach(games)),
            strict=share_of(games, metrics.strict(games)),
        )
        for length, games in sorted(groups.items())
    ]


def exact_by_length(
    analysis: FlowAnalysis, flows: Flows, views: Views, trained: frozenset[int] | None
) -> list[LengthFigures]:
    """The same computed: every start of a length, every game from it.

    Raises:
        UserError: the environment does not say how far the goal is.
    """
    tree, law = analysis.tree, np.exp(flows.log_law())
    apart = np.abs(law - np.exp(analysis.exact.log_law()))
    length = np.array([_length(views, tree.nodes[n].history.states[0]) for n in tree.leaves])
    verdicts = np.array(
        [views.game.judge(tree.nodes[n].history.states[-1]) for n in tree.leaves], float
    )
    roots = [_length(views, tree.nodes[root].history.states[0]) for root in tree.roots]
    found = []
    for each in sorted(set(roots)):
        here, share = length == each, roots.count(each) / len(roots)
        reach, strict = (float(v) for v in law[here] @ verdicts[here] / share)
        found.append(
            LengthFigures(
                length=each,
                trained=None if trained is None else each in trained,
                games=roots.count(each),
                reach=Share(value=reach, low=reach, high=reach),
                strict=Share(value=strict, low=strict, high=strict),
                tv=float(apart[here].sum() / 2 / share),
            )
        )
    return found


def training_lengths(
    environment: gymnasium.Env[Any, Any], seeds: Sequence[int]
) -> frozenset[int] | None:
    """Lengths that training draws its starts from; None where the environment does not say.

    All starts of an environment that can be enumerated, else those of the run's own seeds. Closes
    the environment.

    Args:
        environment: of the training split.
        seeds: of the starts that training drew, in their order.

    Raises:
        UserError: a start was drawn whose length `starts()` does not know: marks would be wrong.
    """
    game: Any = environment.unwrapped
    listed = None
    if hasattr(game, "starts") and hasattr(game, "view"):
        listed = {distance_of(game.view(start, start)[1]) for start in set(game.starts())}
        seeds = seeds[:_CHECKED]
    drawn = {distance_of(environment.reset(seed=seed)[1]) for seed in seeds}
    environment.close()
    if listed is not None and not drawn <= listed:
        raise UserError(
            f"found a training start of length {sorted(map(str, drawn - listed))[0]}, expected one "
            "of starts(), so unseen lengths cannot be told: mend the environment's starts()"
        )
    lengths = drawn if listed is None else listed
    return None if None in lengths else frozenset(n for n in lengths if n is not None)


_CHECKED = 200  # training starts that are compared with those an environment lists


def print_lengths(title: str, rows: Sequence[LengthFigures]) -> None:
    """Print one policy's figures; lengths that training has seen are marked."""
    table = Table(title=title, title_justify="left")
    exact = any(row.tv is not None for row in rows)
    for name in ("steps", "in training", "starts" if exact else "games", "reach", "strict"):
        table.add_column(name, justify="right")
    if exact:
        table.add_column("TV to the target", justify="right")
    names = {True: "yes", False: "no", None: "-"}
    for row in rows:
        cells = [_share(row.reach, exact), _share(row.strict, exact)]
        cells += [] if row.tv is None else [f"{row.tv:.4f}"]
        table.add_row(str(row.length), names[row.trained], str(row.games), *cells)
    Console().print(table)


def plot_lengths(found: Mapping[str, Mapping[str, Sequence[LengthFigures]]], path: Path) -> Path:
    """Draw success over length, a panel per split; training lengths are shaded. PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(found), 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (split, policies) in zip(axes, found.items(), strict=True):
        for name, rows in policies.items():
            at = [row.length for row in rows]
            for figure_name, style in (("reach", "o-"), ("strict", "s--")):
                shares = [getattr(row, figure_name) for row in rows]
                value = np.array([s.value for s in shares])
                spread = np.array([[s.value - s.low, s.high - s.value] for s in shares]).T
                label = f"{name}, {figure_name}"
                axis.errorbar(at, value, spread.clip(min=0), fmt=style, label=label, capsize=2)
        seen = sorted({row.length for rows in policies.values() for row in rows if row.trained})
        for number, length in enumerate(seen):
            label = None if number else "length in training"
            axis.axvspan(length - 0.5, length + 0.5, color="0.9", lw=0, label=label, zorder=0)
        axis.set(title=split, xlabel="steps to go at the start", ylabel="success", ylim=(0, 1.02))
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=130)
    return path


def _length(views: Views, start: Any) -> int:
    length = distance_of(views.info(start, start))
    if length is None:
        raise UserError(
            f"{views.environment_id}: found no info['distance'], expected the steps to go at a "
            "start: leave --by-length or --exact out"
        )
    return length


def _share(share: Share, exact: bool) -> str:
    return f"{share.value:.1%}" + ("" if exact else f" ({share.low:.1%}-{share.high:.1%})")
