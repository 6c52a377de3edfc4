"""The verb `report`: one page on a run or a comparison."""

import argparse
import os
from pathlib import Path

from gflowvlm.arguments import natural
from gflowvlm.errors import UserError


def report(options: argparse.Namespace) -> None:
    """Write one page on a run or a comparison: scores, curves, and its games to step through."""
    _require_writable(options.output)
    from gflowvlm import launch

    wanted = launch.ReportOptions(
        output=options.output, episodes=options.episodes, seed=options.seed
    )
    work = launch.watch if options.watch else launch.report
    print(f"report: {work(options.target, wanted)}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `report` takes."""
    parser.add_argument("target", type=Path, metavar="RUN_OR_COMPARISON", help="its folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="page to write (report.html)",
    )
    parser.add_argument(
        "--episodes",
        type=natural,
        metavar="N",
        help="games per split to step through, kept in the run's folder (24; 8 of each method in a "
        "comparison); 0 for none",
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the games (0)")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep the page fresh while the run trains; it reloads itself",
    )


def _require_writable(output: Path) -> None:
    """Refuse a place that cannot be written before any game is played.

    Raises:
        UserError: it is a folder, or its own folder is a file.
    """
    if output.is_dir():
        raise UserError(
            f"found the folder {output} as output, expected a file: {output}/report.html"
        )
    above = next(parent for parent in output.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(
            f"{output}: found the file {above} where a folder must be; name another output"
        )
    if not os.access(output if output.exists() else above, os.W_OK):
        raise UserError(f"{output}: found no permission to write there; name another output")
