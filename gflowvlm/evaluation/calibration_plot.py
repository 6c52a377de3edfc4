"""Calibration as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gflowvlm.evaluation.analysis import FlowAnalysis
from gflowvlm.evaluation.calibration import Calibration, LogZFigures

_INK, _MODEL, _START = "#333333", "#0072b2", "#e69f00"  # told apart by colour-blind eyes too
_SHOWN = 4000  # points of a cloud; more would hide one another


def plot_calibration(found: Sequence[tuple[Calibration, FlowAnalysis]], path: Path) -> Path:
    """Draw a row per split: log P beside the exact law; with a flow head log Z and residuals; PNG.

    Args:
        found: figures and what they were made from.
        path: file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = found[0][0]  # one policy's splits: all have its flow head or none
    columns = 2 + (first.log_z is not None) + bool(first.residual)
    figure = Figure(figsize=(4.25 * columns, 4.2 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), columns, squeeze=False)
    for row, (calibration, analysis) in zip(axes, found, strict=True):
        exact = analysis.exact.log_law()
        reward = np.array([reward.total for reward in analysis.rewards])
        _laws(row[0], calibration, analysis, exact)
        row[0].axline((float(exact.max()), float(exact.max())), slope=1, color=_INK, lw=1)
        row[0].set_title(f"{calibration.split}: every ended history", loc="left")
        row[0].set_xlabel("exact log P, nats")
        row[0].legend(markerscale=3, frameon=False)
        _laws(row[1], calibration, analysis, reward)
        row[1].set_title("the same by reward", loc="left")
        row[1].set_xlabel("log R, nats")
        if calibration.log_z is not None:
            _log_z(row[2], calibration.log_z)
        if calibration.residual:
            _residual(row[-1], calibration.residual)
        for axis in row:
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(colors=_INK)
    figure.savefig(path, dpi=130)
    return path


def cloud(analysis: FlowAnalysis) -> dict[str, list[float]]:
    """Log P of ended histories under the exact law and two policies, nats; some, if many."""
    exact = analysis.exact.log_law()
    chosen = np.linspace(0, len(exact) - 1, min(len(exact), _SHOWN)).astype(int)
    laws = {
        "exact": exact,
        "start model": analysis.start.log_law(),
        "model": analysis.learned.log_law(),
    }
    return {name: law[chosen].round(4).tolist() for name, law in laws.items()}


def _laws(
    axis: Any, calibration: Calibration, analysis: FlowAnalysis, across: NDArray[np.float64]
) -> None:
    """Log P of ended histories over what `across` says of them."""
    chosen = np.linspace(0, len(across) - 1, min(len(across), _SHOWN)).astype(int)
    for name, flows, colour in (
        ("start model", analysis.start, _START),
        ("model", analysis.learned, _MODEL),
    ):
        axis.scatter(
            across[chosen],
            flows.log_law()[chosen],
            s=6,
            alpha=0.35,
            color=colour,
            label=f"{name}, TV {calibration.laws[name].tv:.3f}",
            linewidths=0,
        )
    axis.set_ylabel("the policy's log P, nats")


def _log_z(axis: Any, found: LogZFigures) -> None:
    axis.set_title("log Z of each start", loc="left")
    axis.set_xlabel("exact, nats")
    axis.set_ylabel("learned, nats")
    label = f"mean error {found.mean_error:.3f} nats"
    axis.scatter(found.exact, found.learned, s=22, color=_MODEL, label=label)
    ends = min(found.exact + found.learned), max(found.exact + found.learned)
    axis.plot(ends, ends, color=_INK, lw=1)
    axis.legend(frameon=False)


def _residual(axis: Any, found: Mapping[int, float]) -> None:
    axis.set_title("balance of sub-trajectories", loc="left")
    axis.set_xlabel("decisions between i and j")
    axis.set_ylabel("RMS of a_i - a_j, nats")
    axis.plot(list(found), list(found.values()), "o-", color=_MODEL)
    axis.set_ylim(bottom=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
