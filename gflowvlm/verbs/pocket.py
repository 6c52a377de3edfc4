"""The verb `pocket`: the models inside the package."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from gflowvlm.arguments import positive
from gflowvlm.errors import UserError
from gflowvlm.pocket.folder import MODELS


def add_options(verbs: Any) -> None:
    """The parsers of `pocket` and of what stands below it; `verbs` is argparse's."""
    pocket = verbs.add_parser("pocket", help="the models inside the package")
    below = pocket.add_subparsers(metavar="VERB", required=True, dest="pocket_verb")
    for name, verb in (("build", build), ("card", card)):
        help_text = (verb.__doc__ or "").rstrip(".")
        parser = below.add_parser(name, help=help_text, description=help_text)
        parser.set_defaults(verb=verb)
        parser.add_argument(
            "--model",
            choices=tuple(MODELS),
            default="pocket",
            help="which one (pocket)",
        )
        if verb is build:
            _add_build(parser)


def build(options: argparse.Namespace) -> None:
    """Train an embedded model anew."""
    from gflowvlm.pocket.build import Recipe
    from gflowvlm.pocket.build import build as train
    from gflowvlm.pocket.card import describe

    recipe = Recipe.of(options.model)
    if options.steps is not None:
        recipe = replace(recipe, steps=options.steps)
    print(f"model: {train(output=options.output, resume=options.resume, recipe=recipe)}")
    print(f"card: {describe(options.output)}")


def card(options: argparse.Namespace) -> None:
    """Print the card of an embedded model: what it can do, how it was made."""
    file = MODELS[options.model] / "README.md"
    if not file.is_file():
        raise UserError(
            f"found no {file}; the package was installed without its model, install it again"
        )
    print(file.read_text(encoding="utf-8"))


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--steps", type=positive, metavar="N", help="fewer or more updates")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted build")
