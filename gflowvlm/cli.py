"""The command line; each verb imports what it needs only when it runs."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from gflowvlm import __version__
from gflowvlm.arguments import add_evaluate, gif, natural, positive
from gflowvlm.config.load import dump_json, load, load_comparison
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.stored import load_stored
from gflowvlm.errors import UserError
from gflowvlm.verbs import alfworld, doctor, pocket, report

_INTERRUPTED = 130  # what shells give for a process ended by SIGINT
_USER_ERROR = 2


class _Parser(argparse.ArgumentParser):
    """Argparse, with usage errors on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USER_ERROR, f"{self.prog}: {message} (try {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and give the exit code.

    0; 1 where some runs of a comparison failed, or the doctor misses what all else needs; 2 for a
    user's error; 130 when interrupted.
    """
    options = _parse(arguments)
    debug = os.environ.get("GFLOWVLM_DEBUG") == "1"
    try:
        return options.verb(options) or 0
    except KeyboardInterrupt:
        print("gflowvlm: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except UserError as error:
        if debug:
            raise
        if _speaks():
            print(error, file=sys.stderr)
        return _USER_ERROR
    except OSError as error:
        # With a file name it is the user's disk, without one it is our bug.
        if debug or error.filename is None:
            raise
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return _USER_ERROR


def train(options: argparse.Namespace) -> None:
    """Train what a recipe says, or go on with a run's folder."""
    config = _config_of(options.config, options.overrides, resume=options.resume)
    from gflowvlm import launch

    run = launch.train(config, resume=options.resume)
    if _speaks():
        print(f"run: {run}")


def evaluate(options: argparse.Namespace) -> None:
    """Measure a run's policy, or the policy that a recipe starts from."""
    target: Path = options.target
    if not target.is_dir():
        load(target)  # a wrong recipe should fail before the heavy imports
    _require_one_kind(options)
    from gflowvlm import launch

    common = {"splits": options.split, "batch_size": options.batch_size}
    games = {
        "episodes": options.episodes,
        "samples_per_start": options.samples_per_start,
        "seed": options.seed,
        "start": options.start,
    }
    if options.exact and options.by_length:
        result = launch.compute_by_length(target, **common)
    elif options.exact:
        result = launch.evaluate_exactly(target, min_mass=options.min_mass, **common)
    elif options.by_length:
        result = launch.evaluate_by_length(target, **games, **common)
    else:
        result = launch.evaluate(target, **games, **common, references=not options.no_references)
    if _speaks():
        print(f"results: {result}")


def _require_one_kind(options: argparse.Namespace) -> None:
    """Options that only one way of measuring takes are refused for the others."""
    sampled = {
        "--episodes": options.episodes,
        "--samples-per-start": options.samples_per_start,
        "--start": options.start,
        "--seed": options.seed,
    }
    given = [name for name, value in sampled.items() if value]
    if options.exact and given:
        raise UserError(
            f"found {given[0]} with --exact, which plays no games and always shows the start model "
            "as well: leave one out"
        )
    special = "--exact" if options.exact else "--by-length" if options.by_length else None
    if special and options.no_references:
        raise UserError(f"found --no-references with {special}, which has none: leave it out")
    if special and not options.target.is_dir():
        raise UserError(f"found {options.target} with {special}, expected a run's folder: train it")
    if options.min_mass is not None and (options.by_length or not options.exact):
        raise UserError("found --min-mass, expected it with --exact alone: change the options")


def compare(options: argparse.Namespace) -> int:
    """Train methods x seeds from one start on one budget, and say what is beyond noise."""
    comparison, recipes = load_comparison(options.config, options.overrides)
    from gflowvlm import launch

    summary, failed = launch.compare(comparison, recipes, resume=options.resume)
    print(f"summary: {summary}")
    return 1 if failed else 0


def play(options: argparse.Namespace) -> None:
    """Watch a run's policy play, with its probabilities; on the terminal or as a GIF."""
    target: Path = options.target
    if not target.is_dir():
        load(target)
    from gflowvlm import launch

    launch.play(
        target,
        episodes=options.episodes,
        split=options.split,
        seed=options.seed,
        gif=options.gif,
    )


def export(options: argparse.Namespace) -> None:
    """Write a run's policy as a plain Hugging Face folder with a model card."""
    from gflowvlm import launch

    print(f"model: {launch.export(options.run, options.merged)}")


def show_config(options: argparse.Namespace) -> None:
    """Print all settings of a recipe, checked and with defaults filled in."""
    print(dump_json(load(options.config, options.overrides)))


def _speaks() -> bool:
    """True on the first of the processes that a launcher started on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _config_of(path: Path, overrides: Sequence[str], *, resume: bool) -> RunConfig:
    """Of a recipe, or of the run in a folder."""
    if not path.is_dir():
        return load(path, overrides)
    if not resume:
        raise UserError(
            f"{path}: found a folder, expected a recipe; "
            f"pass a YAML file, or --resume to continue the run in it"
        )
    return load_stored(path, overrides)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    # Not parse_args: argparse takes an empty list of overrides as soon as an option follows the
    # recipe, and then stumbles over `train recipe.yaml --resume trainer.max_updates=9`.
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for argument in rest:
        if argument.startswith("-") or not hasattr(options, "overrides"):
            parser.error(f"found {argument}, which {options.verb_name} does not take")
        options.overrides.append(argument)
    return options


def _parser() -> _Parser:
    parser = _Parser(
        prog="gflowvlm", description="Fine-tune vision-language agents with GFlowNets."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb_name")
    _add_train(_verb(verbs, "train", train))
    add_evaluate(_verb(verbs, "evaluate", evaluate))
    _add_compare(_verb(verbs, "compare", compare))
    _add_play(_verb(verbs, "play", play))
    _add_export(_verb(verbs, "export", export))
    report.add_options(_verb(verbs, "report", report.report))
    _add_recipe(_verb(verbs, "config", show_config))
    pocket.add_options(verbs)
    alfworld.add_options(verbs)
    _verb(verbs, "doctor", doctor.doctor)
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[_Parser]",
    name: str,
    action: Callable[[argparse.Namespace], int | None],
) -> argparse.ArgumentParser:
    help_text = (action.__doc__ or "").rstrip(".")
    parser = verbs.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(verb=action)
    return parser


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a recipe in YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="a.b=value", help="settings that differ from the recipe"
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the newest checkpoint; CONFIG may then be the run's folder",
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a comparison in YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="a.b=value", help="settings that differ from the file"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the runs that are done, go on with the others",
    )


def _add_play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help="a run's folder or a recipe")
    parser.add_argument("--episodes", type=positive, default=3, metavar="N", help="games (3)")
    parser.add_argument("--split", metavar="NAME", help="split of the starts (training's own)")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the games (0)")
    parser.add_argument(
        "--gif", type=gif, metavar="FILE", help="draw the games into an animated GIF as well"
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--merged",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder for the base with the run's adapter merged into it",
    )
