"""A history as a policy sees it, and what it says there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gflowvlm.episode import Observation


@dataclass(frozen=True, eq=False)
class Moment:
    """A history as a policy sees it; each is a key of its own."""

    observations: tuple[Observation, ...]  # [t+1]
    actions: tuple[int, ...] = ()  # [t]  indices into the legal actions

    def then(self, action: int, observation: Observation) -> "Moment":
        """The history after one more action."""
        return Moment((*self.observations, observation), (*self.actions, action))

    @property
    def legal(self) -> tuple[str, ...]:
        """Words of the actions that are open."""
        return self.observations[-1].legal_actions


@dataclass(frozen=True, eq=False)
class Reading:
    """What the policy says at a history."""

    log_prob: NDArray[np.float64]  # [A]  of each legal action, nats; adds up to one
    log_flow: float | None  # what the flow head says, nats; None without one
