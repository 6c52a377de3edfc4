"""Measure policies: a run's, the one it started from, the one a recipe starts from."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from gflowvlm.config.load import load
from gflowvlm.config.preference import PreferenceConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.config.training import ReferenceName
from gflowvlm.errors import UserError
from gflowvlm.evaluation.measure import Measurement, enumerable, evaluation_plans, measure
from gflowvlm.evaluation.references import NOBODY, References, play_references
from gflowvlm.evaluation.table import print_table, renew
from gflowvlm.exact.play import Rated, Rates
from gflowvlm.exact.rewards import exact_sampler
from gflowvlm.launch.parts import build_collector, build_policy
from gflowvlm.launch.processes import joined
from gflowvlm.launch.runs import open_run
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Collector
from gflowvlm.trainer.loop import POLICY_FOLDER

EVALUATION_FILE = "evaluation.json"

_SAMPLERS: dict[Hashable, Rates | None] = {}  # computed once a process; a few seconds each
_REFERENCES: dict[Hashable, References] = {}  # played once a process, for all its policies


def evaluate(
    target: Path,
    *,
    splits: Sequence[str] | None,
    episodes: int | None,
    samples_per_start: int | None,
    seed: int,
    batch_size: int,
    start: bool,
    references: bool = True,
) -> Path:
    """Measure a run (with `start` also what it started from) or what a recipe starts from.

    Several processes share the games. Without `references` neither chance nor the expert plays.

    Returns:
        The JSON file with all figures.
    """
    is_run = target.is_dir()
    config, newest = open_run(target) if is_run else (load(target), None)
    config = config.model_copy(update={"seed": seed})
    folder = target if is_run else config.output
    name = EVALUATION_FILE if is_run else f"{config.name}-before.json"
    with joined(config.policy.device) as (processes, device):
        policy = build_policy(config, device)
        look = partial(
            measure_splits,
            policy,
            config,
            processes,
            splits=splits,
            episodes=episodes,
            samples_per_start=samples_per_start,
            batch_size=batch_size,
            references=None if references else (),
        )
        measured = {}
        if start or newest is None:
            measured["before"] = look()
        if newest is not None:
            policy.load(newest / POLICY_FOLDER)
            measured["after"] = look()
        if processes.main:
            print_table(measured)
            renew(folder / name, measured)
    return folder / name


def measure_splits(
    policy: VLMPolicy,
    config: RunConfig,
    processes: Processes = ALONE,
    *,
    splits: Sequence[str] | None = None,
    episodes: int | None = None,
    samples_per_start: int | None = None,
    batch_size: int = 64,
    references: Sequence[ReferenceName] | None = None,
) -> list[Measurement]:
    """One measurement per split; what is None is the configuration's."""
    settings = config.evaluation
    names = settings.references if references is None else references
    games = episodes or settings.episodes, samples_per_start or settings.samples_per_start
    results = []
    for split in splits or settings.splits:
        with closing(build_collector(config, split, batch_size=batch_size)) as collector:
            results.append(
                measure(
                    policy,
                    collector,
                    episodes=games[0],
                    samples_per_start=games[1],
                    temperature=config.policy.temperature,
                    sampler=_exact_sampler(config, collector),
                    references=_references(names, config, collector, games, processes),
                    processes=processes,
                )
            )
    return results


def _references(
    names: Sequence[ReferenceName],
    config: RunConfig,
    collector: Collector,
    games: tuple[int, int],
    processes: Processes,
) -> References:
    """Who else plays the starts; nobody where the environment's exact numbers are known."""
    if not names or enumerable(collector) is not None:
        return NOBODY
    environment = config.environment.model_dump_json()
    key = environment, collector.split, collector.run_seed, games, tuple(names)
    if key not in _REFERENCES:
        plans = evaluation_plans(collector, *games)
        _REFERENCES[key] = play_references(names, collector, plans, processes)
    return _REFERENCES[key]


def _exact_sampler(config: RunConfig, collector: Collector) -> Rates | None:
    """What sampling the target of the last update exactly wins; None where that is not known."""
    game = enumerable(collector)
    if (
        game is None
        or isinstance(game, Rated)
        or isinstance(config.objective, SupervisedFineTuning | PreferenceConfig)
    ):
        return None
    beta = config.last_beta
    key = config.environment.model_dump_json(), collector.split, config.reward, config.alpha, beta
    if key not in _SAMPLERS:
        try:
            rates = exact_sampler(game, config.reward, alpha=config.alpha, beta=beta)
        except UserError:  # too many states, or a reward that is no sum: the table shows "-"
            rates = None
        _SAMPLERS[key] = rates
    return _SAMPLERS[key]


def look_at(
    config: RunConfig, policy: VLMPolicy, processes: Processes
) -> Callable[[int], dict[str, float]]:
    """Evaluation during training, as numbers for the metrics file."""

    def look(step: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for result in measure_splits(policy, config, processes, references=()):
            found[f"{result.split}/reach"] = result.reach.value
            found[f"{result.split}/strict"] = result.strict.value
            for name in ("right_moves", "reading"):
                value: Any = getattr(result, name)
                if value is not None:
                    found[f"{result.split}/{name}"] = value
            for name, score in result.by_type.items():
                found[f"{result.split}/reach/{name}"] = score.reach.value
            if result.coverage is not None:
                found[f"{result.split}/classes_found"] = result.coverage.classes
        return found

    return look
