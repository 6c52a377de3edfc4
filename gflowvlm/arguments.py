"""Options of the command line and their values, checked where they are read."""

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 1")
    return int(text)


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 0")
    return int(text)


def probability(text: str) -> float:
    """A number between 0 and 1, neither of them."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a probability such as 1e-6")
    return value


def gif(text: str) -> Path:
    """The name of a GIF file."""
    path = Path(text)
    if path.suffix.lower() != ".gif" or path.is_dir():
        raise argparse.ArgumentTypeError(f"found {text}, expected a file name that ends in .gif")
    return path


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """What `gflowvlm evaluate` takes."""
    parser.add_argument("target", type=Path, metavar="TARGET", help="a run's folder or a recipe")
    parser.add_argument(
        "--split", action="append", metavar="NAME", help="split to measure; may be repeated"
    )
    parser.add_argument("--episodes", type=positive, metavar="N", help="games per split")
    parser.add_argument(
        "--samples-per-start", type=positive, metavar="K", help="games from each start"
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the games (0)")
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="games side by side (32)"
    )
    parser.add_argument(
        "--start",
        action="store_true",
        help="measure also the policy that training started from",
    )
    parser.add_argument(
        "--no-references",
        action="store_true",
        help="let neither chance nor the environment's expert play where no exact number is known",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compute instead of sample: the distance to the exact law, and all that it tells",
    )
    parser.add_argument(
        "--by-length",
        action="store_true",
        help="success by the steps to go at the start, with the lengths that training has seen",
    )
    parser.add_argument(
        "--min-mass",
        type=probability,
        metavar="P",
        help="with --exact, for games too large to unfold: success alone, between two limits, "
        "through all histories at least this likely",
    )
