"""A run's success by how far the goal is at the start."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from gflowvlm.config.schema import RunConfig
from gflowvlm.evaluation.lengths import (
    LengthFigures,
    exact_by_length,
    figures_by_length,
    plot_lengths,
    print_lengths,
    training_lengths,
)
from gflowvlm.evaluation.measure import play_games
from gflowvlm.files import write_json
from gflowvlm.launch.exact import analyse_views, open_walker, views_of
from gflowvlm.launch.parts import build_collector, build_policy
from gflowvlm.launch.processes import joined
from gflowvlm.launch.runs import open_run
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.trainer.loop import POLICY_FOLDER

LENGTHS_FILE = "lengths.json"
PLOT_FILE = "lengths.png"

Figures = dict[str, dict[str, list[LengthFigures]]]
"""Split -> name of a policy -> one entry per length, shortest first."""


def evaluate_by_length(
    run: Path,
    *,
    splits: Sequence[str] | None,
    episodes: int | None,
    samples_per_start: int | None,
    seed: int,
    batch_size: int,
    start: bool,
) -> Path:
    """Play a run's games (with `start` also those of the policy it began with) and sort them.

    Several processes share the games.

    Returns:
        The JSON file with all figures; `lengths.png` lies beside it.
    """
    config, newest = open_run(run)
    trained = lengths_trained(config)
    config = config.model_copy(update={"seed": seed})
    found: Figures = {split: {} for split in splits or config.evaluation.splits}
    with joined(config.policy.device) as (processes, device):
        policy = build_policy(config, device)
        for name in ("start model", "model") if start else ("model",):
            if name == "model":
                policy.load(newest / POLICY_FOLDER)
            for split in found:
                with closing(build_collector(config, split, batch_size=batch_size)) as collector:
                    games = play_games(
                        policy,
                        collector,
                        episodes or config.evaluation.episodes,
                        samples_per_start or config.evaluation.samples_per_start,
                        processes,
                    )
                found[split][name] = figures_by_length(games, trained)
        if processes.main:
            note = f"temperature {config.policy.temperature:g}, seed {seed}, 95 % intervals"
            _report(found, run, note)
    return run / LENGTHS_FILE


def compute_by_length(run: Path, *, splits: Sequence[str] | None, batch_size: int) -> Path:
    """The same computed instead of played, with the distance to the exact law of each length.

    Returns:
        The JSON file with all figures; `lengths.png` lies beside it.
    """
    trained = lengths_trained(open_run(run)[0])
    views = views_of(run, splits)
    config, walker = open_walker(run, batch_size)
    found: Figures = {}
    for each in views:
        analysis = analyse_views(each, walker, config)
        policies = {"start model": analysis.start, "model": analysis.learned}
        found[each.split] = {
            name: exact_by_length(analysis, flows, each, trained)
            for name, flows in policies.items()
        }
    _report(found, run, "exact")
    return run / LENGTHS_FILE


def lengths_trained(config: RunConfig) -> frozenset[int] | None:
    """Lengths of the starts that a run trained on, None where its environment does not say."""
    environment = config.environment
    if config.plays:
        purpose = "train"
        groups = config.trainer.max_updates * config.trainer.groups_per_update
    else:
        purpose, groups = "expert", config.expert_games
    plans = plan_groups(config.seed, purpose, first_group=0, groups=groups, group_size=1)
    return training_lengths(
        make_environment(environment.id, environment.train_split, environment.kwargs),
        [plan.seed for plan in plans],
    )


def _report(found: Figures, run: Path, note: str) -> None:
    for split, policies in found.items():
        for name, rows in policies.items():
            print_lengths(f"{split}, {name}, by steps to go at the start: {note}", rows)
    plot = plot_lengths(found, run / PLOT_FILE)
    Console().print(f"plot: {plot}", highlight=False, soft_wrap=True)
    write_json(run / LENGTHS_FILE, _plain(found))


def _plain(found: Mapping[str, Mapping[str, Sequence[LengthFigures]]]) -> dict[str, object]:
    return {
        split: {name: [asdict(row) for row in rows] for name, rows in policies.items()}
        for split, policies in found.items()
    }
