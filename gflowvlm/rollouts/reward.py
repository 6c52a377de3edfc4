"""Reward maps: from a played game to its log-reward, with what has accrued on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite, log
from typing import Literal, Protocol, assert_never

from gflowvlm.config.reward import (
    ExpReturnReward,
    LogLinearReward,
    PaperReward,
    RewardConfig,
)
from gflowvlm.episode import Decision, Ending, Episode
from gflowvlm.errors import UserError

FAILED = (Ending.INVALID_REPLY, Ending.OUT_OF_ROOM)
"""Ends of which the environment knows nothing, so that its return says nothing of them."""


@dataclass(frozen=True)
class LogReward:
    """The log-reward of one episode, un-tempered."""

    to_date: tuple[
        float, ...
    ]  # [T+1]  accrued before each decision and at the end, nats; starts at 0
    done: tuple[float, ...] | None = None
    # [T+1]  log R if the policy says DONE at each history, nats; ends with the total. None where
    #        the map judges whole games only

    @property
    def total(self) -> float:
        """Log R of the whole episode, nats; means nothing where the collector cut the episode."""
        return self.to_date[-1]


class RewardMap(Protocol):
    """What a run rewards; one map per run."""

    def __call__(self, episode: Episode) -> LogReward:
        """The episode's log-reward.

        An episode that the collector cut has accrued something and won or lost nothing.

        Raises:
            UserError: when a value is not finite.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LogLinear:
    """`success` or `failure` at the end, `-step_cost` for each extra step as it is taken; nats.

    `decision_cost` is taken for every decision, extra or not. `progress` times the share of the
    goal's conditions that hold accrues meanwhile, and stays with a game that fails. An invalid
    reply or lack of room that ends the game is a failure. With `expected`, an end left to chance
    counts by its mean where the environment knows the probability of success.
    """

    success: float
    failure: float
    step_cost: float
    floor: float
    decision_cost: float = 0.0
    progress: float = 0.0
    expected: bool = False

    def __call__(self, episode: Episode) -> LogReward:
        """See `RewardMap`."""
        decisions = episode.decisions
        to_date = [
            0.0,
            *(self._accrued(d) - self.decision_cost * n for n, d in enumerate(decisions, start=1)),
        ]
        stopped = [
            self.failure,
            *(
                accrued + self._end(d, float(d.success))
                for accrued, d in zip(to_date[1:], decisions, strict=True)
            ),
        ]
        if episode.ending is not Ending.TRUNCATED:
            last = decisions[-1]
            chance = last.success_chance if self.expected else None
            to_date[-1] += self._end(last, float(episode.success) if chance is None else chance)
        return _floored(to_date, self.floor, episode, stopped)

    def _accrued(self, after: Decision) -> float:
        return self.progress * after.progress - self.step_cost * after.extra_steps

    def _end(self, last: Decision, won: float) -> float:
        """What comes on top at the end: to `success`, to which progress adds nothing, or not."""
        success = self.success - self.progress * last.progress
        return won * success + (1 - won) * self.failure


@dataclass(frozen=True, kw_only=True)
class ExpReturn:
    """`scale` nats per unit of return, as it is earned.

    A game that ends by an invalid reply or without room for one leads to the floor: the
    environment's own return would reward giving up wherever steps cost something.
    """

    scale: float
    floor: float

    def __call__(self, episode: Episode) -> LogReward:
        """See `RewardMap`."""
        to_date = [0.0]
        for decision in episode.decisions:
            to_date.append(to_date[-1] + self.scale * decision.reward)
        if episode.ending in FAILED:
            to_date[-1] = self.floor
        return _floored(to_date, self.floor, episode, to_date)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The rewards of GFlowVLM (Kang et al. 2025, section 4): always positive, at every history.

    `distance` is `R = 100 / (steps to go + 1)` (NumberLine), `outcome` is
    `R = max(1e-10, 10 (return + 1))` (Blackjack: won 20, drawn or not over 10, lost 1e-10),
    `return` is the return (ALFWorld: 50 for the goal, 1 for each condition). The paper gives an
    invalid reply a random action; here it ends the game with the floor, as lack of room does.
    """

    form: Literal["distance", "outcome", "return"]
    floor: float

    def __call__(self, episode: Episode) -> LogReward:
        """See `RewardMap`.

        Raises:
            UserError: also where `distance` is asked of an environment that does not say it.
        """
        states = self._distances(episode) if self.form == "distance" else _returns(episode)
        log_reward = [self._log(_PAPER[self.form](state)) for state in states]
        if episode.ending in FAILED:
            log_reward[-1] = self.floor
        return _floored([0.0, *log_reward[1:]], self.floor, episode, log_reward)

    def _log(self, reward: float) -> float:
        if reward > 0 or not isfinite(reward):
            return log(reward) if reward > 0 else reward
        return self.floor

    def _distances(self, episode: Episode) -> list[float]:
        """[T+1] steps to go at each history."""
        said = [episode.start_distance, *(d.distance for d in episode.decisions)]
        distances = [float(value) for value in said if value is not None]
        if len(distances) < len(said):
            raise UserError(
                f"{episode.environment}: found no info['distance'], expected the steps that are "
                "still to go: use another reward than paper with form distance"
            )
        return distances


_PAPER: dict[str, Callable[[float], float]] = {
    "distance": lambda distance: 100 / (distance + 1),
    "outcome": lambda total: 10 * (total + 1),
    "return": lambda total: total,
}


def _returns(episode: Episode) -> list[float]:
    """[T+1] return at each history."""
    return [0.0, *accumulate(decision.reward for decision in episode.decisions)]


def build_reward(config: RewardConfig) -> RewardMap:
    """The reward map a configuration asks for."""
    match config:
        case LogLinearReward():
            return LogLinear(
                success=config.success,
                failure=config.failure,
                step_cost=config.step_cost,
                decision_cost=config.decision_cost,
                floor=config.floor,
                progress=config.progress,
                expected=config.expected,
            )
        case ExpReturnReward():
            return ExpReturn(scale=config.scale, floor=config.floor)
        case PaperReward():
            return Paper(form=config.form, floor=config.floor)
        case _:
            assert_never(config)


def _floored(to_date: list[float], floor: float, episode: Episode, done: list[float]) -> LogReward:
    """The values, none below the floor; `done` ends with what the whole game is worth.

    Finiteness is looked at first: a NaN or an infinite reward is a fault of the environment that
    no floor may cover.
    """
    for step, value in enumerate(to_date):
        if not isfinite(value):
            raise UserError(
                f"{episode.environment} episode {episode.index}: found log R = {value} after "
                f"{step} steps, expected a finite number: mend the environment's reward"
            )
    raised = tuple(max(value, floor) for value in to_date)
    stops = (*(max(value, floor) for value in done[:-1]), raised[-1])
    return LogReward(raised, stops)
