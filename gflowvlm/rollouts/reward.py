"""Reward maps: from a played game to its log-reward, with what has accrued on the way."""

from dataclasses import dataclass
from math import isfinite
from typing import Protocol, assert_never

from gflowvlm.config.reward import ExpReturnReward, LogLinearReward, RewardConfig
from gflowvlm.episode import Ending, Episode
from gflowvlm.errors import UserError


@dataclass(frozen=True)
class LogReward:
    """The log-reward of one episode, un-tempered."""

    to_date: tuple[
        float, ...
    ]  # [T+1]  accrued before each decision and at the end, nats; starts at 0

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

    An invalid reply that ends the game is a failure.
    """

    success: float
    failure: float
    step_cost: float
    floor: float

    def __call__(self, episode: Episode) -> LogReward:
        """See `RewardMap`."""
        to_date = [0.0, *(-self.step_cost * d.extra_steps for d in episode.decisions)]
        if episode.ending is not Ending.TRUNCATED:
            to_date[-1] += self.success if episode.success else self.failure
        return _floored(to_date, self.floor, episode)


@dataclass(frozen=True, kw_only=True)
class ExpReturn:
    """`scale` nats per unit of return, as it is earned.

    An invalid reply that ends the game leads to the floor: the environment's own return would
    reward giving up wherever steps cost something.
    """

    scale: float
    floor: float

    def __call__(self, episode: Episode) -> LogReward:
        """See `RewardMap`."""
        to_date = [0.0]
        for decision in episode.decisions:
            to_date.append(to_date[-1] + self.scale * decision.reward)
        if episode.ending is Ending.INVALID_REPLY:
            to_date[-1] = self.floor
        return _floored(to_date, self.floor, episode)


def build_reward(config: RewardConfig) -> RewardMap:
    """The reward map a configuration asks for."""
    match config:
        case LogLinearReward():
            return LogLinear(
                success=config.success,
                failure=config.failure,
                step_cost=config.step_cost,
                floor=config.floor,
            )
        case ExpReturnReward():
            return ExpReturn(scale=config.scale, floor=config.floor)
        case _:
            assert_never(config)


def _floored(to_date: list[float], floor: float, episode: Episode) -> LogReward:
    """The values, none below the floor.

    Finiteness is looked at first: a NaN or an infinite reward is a fault of the environment that
    no floor may cover.
    """
    for step, value in enumerate(to_date):
        if not isfinite(value):
            raise UserError(
                f"{episode.environment} episode {episode.index}: found log R = {value} after "
                f"{step} steps, expected a finite number: mend the environment's reward"
            )
    return LogReward(tuple(max(value, floor) for value in to_date))
