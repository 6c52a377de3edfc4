"""Chance and the expert, played on the starts that a policy is measured on.

For games that cannot be enumerated; where they can, chance and optimum are exact numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import gymnasium
import numpy as np

from gflowvlm.baselines.expert import require_expert
from gflowvlm.config.training import ReferenceName
from gflowvlm.episode import Episode, Reply
from gflowvlm.evaluation import metrics
from gflowvlm.evaluation.share import Share, share_of
from gflowvlm.evaluation.task_types import ByType, by_task_type, macro_reach, types_from_dict
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import refusals_of
from gflowvlm.rollouts.game import Game
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.seats import LocalSeat

Choose = Callable[[Game, gymnasium.Env[Any, Any]], int]
"""From a game in progress, and its environment, to the index of a legal action."""

References = Mapping[ReferenceName, Sequence[Episode]]
"""Who played -> the games."""

NOBODY: References = {}

_CHANCE_STREAM = 29  # keeps chance's draws apart from the games' own


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How somebody else did on the measured starts; played, so that it has intervals."""

    games: int
    reach: Share
    strict: Share
    cut: int  # games that were too long or given up; they count as failures
    length: float  # decisions a game
    by_type: ByType
    macro_reach: Share | None  # mean over kinds of task

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Self:
        """From played games."""
        types = by_task_type(episodes)
        return cls(
            games=len(episodes),
            reach=share_of(episodes, metrics.reach(episodes)),
            strict=share_of(episodes, metrics.strict(episodes)),
            cut=metrics.cut(episodes),
            length=metrics.mean_length(episodes),
            by_type=types,
            macro_reach=macro_reach(types),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        parts: dict[str, Any] = {name: Share(**values[name]) for name in ("reach", "strict")}
        parts["by_type"] = types_from_dict(values["by_type"])
        parts["macro_reach"] = macro_reach(parts["by_type"])  # files of before hold no interval
        return cls(**{**values, **parts})


def play_references(
    names: Sequence[ReferenceName],
    collector: Collector,
    plans: Sequence[Plan],
    processes: Processes = ALONE,
) -> dict[ReferenceName, list[Episode]]:
    """Their games, played by all processes together and without images.

    An environment without an expert has no such reference. Its expert plays each start once.

    Args:
        names: who plays.
        collector: names the environment; games longer than its `max_decisions` are cut.
        plans: the games of the policy that is measured, those of a group side by side.
        processes: each plays its share, and all get all.
    """
    environment = collector.make()
    has_expert = hasattr(environment.unwrapped, "expert")
    environment.close()
    starts: dict[int, Plan] = {}
    for plan in plans:
        starts.setdefault(plan.group, plan)
    players: dict[ReferenceName, tuple[Sequence[Plan], Choose]] = {"chance": (plans, at_random)}
    if has_expert:
        players["expert"] = (list(starts.values()), by_expert)
    found: dict[ReferenceName, list[Episode]] = {}
    for name in names:
        if name in players:
            asked, choose = players[name]
            own = _play(collector, processes.deal(asked), choose)
            found[name] = [episode for part in processes.gather(own) for episode in part]
    return found


def at_random(game: Game, _: gymnasium.Env[Any, Any]) -> int:
    """A legal action, uniformly; a function of the plan and the number of decisions so far."""
    plan = game.plan
    rng = np.random.default_rng([plan.seed, plan.index, len(game.decisions), _CHANCE_STREAM])
    return int(rng.integers(len(game.observation.legal_actions)))


def by_expert(game: Game, environment: gymnasium.Env[Any, Any]) -> int:
    """What the environment's own expert does."""
    return require_expert(environment).expert(0.0).action


def _play(collector: Collector, plans: Sequence[Plan], choose: Choose) -> list[Episode]:
    """One game after the other in one environment, which may keep what equal starts share."""
    environment = collector.make()
    seat, played = LocalSeat(environment), []
    for plan in plans:
        with refusals_of(collector.environment_id):
            seat.reset(plan.seed, plan.chance_seed)
        game = Game(plan, seat)
        while game.ending is None:
            _play_on(game, partial(choose, game, environment), collector.max_decisions)
        played.append(game.finished(collector.split, collector.environment_id).without_images())
    environment.close()
    return played


def _play_on(game: Game, choose: Callable[[], int], max_decisions: int) -> None:
    """One decision, or the end without a verdict."""
    if len(game.decisions) >= max_decisions:
        game.stop(f"environment.max_decisions = {max_decisions}")
        return
    try:
        action = choose()
    except ValueError as error:  # an expert that knows no way has lost; the measurement goes on
        game.stop(str(error))
        return
    word = game.observation.legal_actions[action]
    game.play(Reply(text=word, token_ids=(), segment=(), log_probs=(), action=action))
