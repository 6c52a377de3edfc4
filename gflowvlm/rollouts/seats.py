"""A seat is where one game is played: an environment, here in this process.

`workers` has seats whose environments live in processes of their own.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np

Make = Callable[[], gymnasium.Env[Any, Any]]


class Moment(NamedTuple):
    """What an environment's `reset` or `step` gave; a start earns and ends nothing."""

    pixels: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class SeatLost(Exception):
    """The game at a seat cannot go on; says whose doing that is, and the remedy."""


class Seat(Protocol):
    """Takes an order at a time; what it comes to may be asked for later."""

    def reset(self, seed: int, chance_seed: int | None) -> None:
        """Begin a game; `chance_seed` decides what happens after its start, unless None."""
        ...

    def step(self, action: int) -> None:
        """Take a legal action."""
        ...

    def moment(self) -> Moment:
        """What the last order came to; waits for it.

        Raises:
            SeatLost: nobody will ever know.
        """
        ...


class Seats(Protocol):
    """Where games are played side by side."""

    waves: int
    """Parts that the games are best played in, so that one acts while another is thought about."""

    def take(self, count: int) -> Sequence[Seat]:
        """This many seats, neighbours near each other; those taken before are free again."""
        ...

    def close(self) -> None:
        """Close all environments."""
        ...


def begin(
    environment: gymnasium.Env[Any, Any], seed: int, chance_seed: int | None = None
) -> Moment:
    """Reset an environment; the rest as in `Seat.reset`."""
    pixels, info = environment.reset(seed=seed)
    if chance_seed is not None:
        environment.unwrapped.np_random = np.random.default_rng(chance_seed)
    return Moment(pixels, 0.0, False, False, info)


def advance(environment: gymnasium.Env[Any, Any], action: int) -> Moment:
    """Step an environment."""
    pixels, reward, terminated, truncated, info = environment.step(action)
    return Moment(pixels, float(reward), terminated, truncated, info)


class LocalSeat:
    """An environment in this process; an order is carried out when it is given."""

    def __init__(self, environment: gymnasium.Env[Any, Any]) -> None:
        """Sit down at `environment`."""
        self.environment = environment
        self._moment: Moment | None = None

    def reset(self, seed: int, chance_seed: int | None) -> None:
        """Begin a game."""
        self._moment = begin(self.environment, seed, chance_seed)

    def step(self, action: int) -> None:
        """Take a legal action."""
        self._moment = advance(self.environment, action)

    def moment(self) -> Moment:
        """What the last order came to."""
        assert self._moment is not None, "an order comes first"
        return self._moment


class LocalSeats:
    """Environments in this process, made once and kept."""

    waves = 1

    def __init__(self, make: Make) -> None:
        """`make` builds an environment."""
        self._make = make
        self._seats: list[LocalSeat] = []

    def take(self, count: int) -> Sequence[LocalSeat]:
        """This many seats."""
        while len(self._seats) < count:
            self._seats.append(LocalSeat(self._make()))
        return self._seats[:count]

    def close(self) -> None:
        """Close all environments."""
        for seat in self._seats:
            seat.environment.close()
        self._seats.clear()
