"""The verb `alfworld`: games for ALFWorld, made here."""

import argparse
from pathlib import Path
from typing import Any

from gflowvlm.arguments import natural
from gflowvlm.errors import UserError


def add_options(verbs: Any) -> None:
    """The parsers of `alfworld` and of what stands below it; `verbs` is argparse's."""
    alfworld = verbs.add_parser("alfworld", help="games for ALFWorld")
    below = alfworld.add_subparsers(metavar="VERB", required=True, dest="alfworld_verb")
    help_text = (generate.__doc__ or "").rstrip(".")
    parser = below.add_parser("generate", help=help_text, description=help_text)
    parser.set_defaults(verb=generate)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder")
    for name, split in (
        ("train", "train"),
        ("seen", "eval_in_distribution"),
        ("unseen", "eval_out_of_distribution"),
    ):
        parser.add_argument(
            f"--{name}", type=natural, default=0, metavar="N", help=f"games of {split} (0)"
        )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the games (0)")


def generate(options: argparse.Namespace) -> None:
    """Make household games in ALFWorld's layout, each won once before it is kept."""
    from gflowvlm_envs.alfworld.generate import generate as make

    try:
        make(
            options.output,
            train=options.train,
            seen=options.seen,
            unseen=options.unseen,
            seed=options.seed,
        )
    except ValueError as error:  # in one line of its own
        raise UserError(str(error)) from error
    print(f"games: {options.output} (set ALFWORLD_DATA to it, or the environment's data)")
