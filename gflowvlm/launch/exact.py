"""A run's policy computed instead of sampled: its law beside the exact one."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from gflowvlm.config.preference import PreferenceConfig
from gflowvlm.config.reinforcement import ReinforcementConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.errors import UserError
from gflowvlm.evaluation.analysis import FlowAnalysis, FlowsAt, Target, analyse, unfold
from gflowvlm.evaluation.calibration import Calibration, calibrate
from gflowvlm.evaluation.calibration_plot import cloud, plot_calibration
from gflowvlm.evaluation.calibration_table import print_calibration, print_likely
from gflowvlm.evaluation.unfold import LikelyRates, likely_rates
from gflowvlm.evaluation.views import Views
from gflowvlm.files import write_json
from gflowvlm.launch.runs import open_policy, open_run
from gflowvlm.objectives.build import build_objective
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.trajectory import TrajectoryBalanceLoss
from gflowvlm.policy.walk import Walker
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.trainer.progress import ProgressDisplay

EXACT_FILE = "exact.json"
PLOT_FILE = "exact.png"
CLOUD_FILE = "exact_points.json"  # of its scatter, for other plots


def evaluate_exactly(
    run: Path, *, splits: Sequence[str] | None, batch_size: int, min_mass: float | None
) -> Path:
    """Compute how a run's policy plays, and how far it is from the law it was trained towards.

    Args:
        run: a run's folder.
        splits: whose games are unfolded; None for the one that training draws from.
        batch_size: histories read side by side.
        min_mass: None unfolds whole games; else only success is computed, through histories at
            least this likely, for games too large to unfold.

    Returns:
        The JSON file with all figures; `exact.png` beside it where games are whole.
    """
    views = views_of(run, splits)
    config, walker = open_walker(run, batch_size)
    console = Console()
    plain: dict[str, Any] = {}
    if min_mass is not None:
        for each in views:
            likely = _likely(each, walker, min_mass)
            print_likely(likely, each.split, console)
            plain[each.split] = {name: asdict(rates) for name, rates in likely.items()}
        return write_json(run / EXACT_FILE, plain)
    found: list[tuple[Calibration, FlowAnalysis]] = []
    for each in views:
        analysis = analyse_views(each, walker, config)
        found.append((calibrate(analysis, each), analysis))
        print_calibration(found[-1][0], console)
        plain[each.split] = found[-1][0].as_dict()
    write_json(run / CLOUD_FILE, {a.split: cloud(b) for a, b in found})
    console.print(
        f"plot: {plot_calibration(found, run / PLOT_FILE)}", highlight=False, soft_wrap=True
    )
    return write_json(run / EXACT_FILE, plain)


def analyse_run(run: Path, *, split: str | None = None, batch_size: int = 64) -> FlowAnalysis:
    """A run's policy and its flows at every history of a split, beside the exact ones.

    Args:
        run: a run's folder.
        split: whose games are unfolded; None for the one that training draws from.
        batch_size: histories read side by side.

    Raises:
        UserError: there is nothing exact to say of this run; the message names the setting.
    """
    (views,) = views_of(run, None if split is None else [split])
    config, walker = open_walker(run, batch_size)
    return analyse_views(views, walker, config)


def views_of(run: Path, splits: Sequence[str] | None) -> list[Views]:
    """What is to be looked at; a wrong name fails before the model is loaded."""
    config, _ = open_run(run)
    environment = config.environment
    return [
        Views(make_environment(environment.id, split, environment.kwargs), environment.id, split)
        for split in splits or [environment.train_split]
    ]


def open_walker(run: Path, batch_size: int) -> tuple[RunConfig, Walker]:
    """A run's configuration, and what reads its newest policy."""
    config, policy = open_policy(run, seed=0)  # nothing is drawn
    return config, Walker(policy, batch_size=batch_size)


def analyse_views(views: Views, walker: Walker, config: RunConfig) -> FlowAnalysis:
    """Read and solve one split's game, showing how far the work is."""
    try:
        tree = unfold(views)
    except UserError as error:
        raise UserError(
            f"{views.environment_id} {views.split}: {error}; or pass --min-mass 1e-6, which gives "
            "success alone"
        ) from error
    flows_at, forward_looking = flows_of(config)
    with _Progress(f"% of {views.split}") as progress:
        return analyse(
            views,
            walker,
            target_of(config),
            tree=tree,
            flows_at=flows_at,
            forward_looking=forward_looking,
            advance=progress,
        )


def target_of(config: RunConfig) -> Target:
    """What a run has been trained towards once its schedules are over."""
    return Target(
        reward=build_reward(config.reward),
        alpha=config.alpha,
        beta=config.last_beta,
        chance="expected_flow" if config.objective.type == "expected_db" else "max_entropy",
    )


def flows_of(config: RunConfig) -> tuple[FlowsAt, bool]:
    """Where the objective learns log F, and whether less what has accrued."""
    if isinstance(config.objective, SupervisedFineTuning | PreferenceConfig | ReinforcementConfig):
        return "nowhere", False
    objective = build_objective(config.objective)
    if not objective.needs_flow:
        return "nowhere", False
    if isinstance(objective, TrajectoryBalanceLoss):
        return "starts", False
    return "everywhere", isinstance(objective, ForwardLooking)


def _likely(views: Views, walker: Walker, min_mass: float) -> dict[str, LikelyRates]:
    found = {}
    for name, reference in (("model", False), ("start model", True)):
        with _Progress(f"% of {views.split}, {name}") as progress:
            found[name] = likely_rates(
                views, walker, min_mass=min_mass, reference=reference, advance=progress
            )
    return found


class _Progress:
    """How much of the work is done, in percent: a bar on a terminal, ten lines elsewhere."""

    def __init__(self, label: str) -> None:
        self._display = ProgressDisplay(100, label=label)
        self._done = 0.0

    def __call__(self, share: float) -> None:
        before, self._done = int(self._done), self._done + 100 * share
        now = min(int(self._done + 1e-6), 100)
        if now > before:
            self._display.advance(now, {} if now // 10 > before // 10 else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()
