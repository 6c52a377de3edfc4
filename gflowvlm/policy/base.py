"""A policy is two verbs: act, in a session that lives across turns, and score."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor
from torch.nn import Parameter

from gflowvlm.batch import Row, StepScores
from gflowvlm.episode import Observation, Reply


@dataclass(frozen=True)
class EpisodeKey:
    """Names the noise of one episode: the same key gives the same uniforms whatever the batch."""

    run_seed: int
    episode: int


class Session(Protocol):
    """Several episodes played side by side; slots are numbered from 0 in the order of the keys."""

    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        """Sample one reply for each slot given; slots left out are dropped for good."""
        ...

    def give(self, slot: int, observation: Observation, reply: str) -> None:
        """Let a slot say a given reply; only before any of the session's own."""
        ...

    def rows(self, slot: int) -> Sequence[Row]:
        """The token sequences of everything the slot has seen and said so far, in order."""
        ...

    def room(self, slot: int, observation: Observation) -> int:
        """Tokens the slot's context can still take once `observation` has been said."""
        ...


class Policy(Protocol):
    """What collection, training and evaluation need from a model."""

    def session(
        self, keys: Sequence[EpisodeKey], *, exploration_temperature: float = 1.0
    ) -> Session:
        """Open a session with one slot per key."""
        ...

    def score(self, rows: Sequence[Row]) -> StepScores:
        """Differentiable scores of the very tokens in `rows`."""
        ...

    def score_reference(self, rows: Sequence[Row]) -> StepScores:
        """Scores of the same tokens under the frozen reference, no gradient."""
        ...

    def rows_of_episode(
        self, observations: Sequence[Observation], replies: Sequence[str]
    ) -> Sequence[Row]:
        """The rows of an episode with given replies, as if the policy had said them itself."""
        ...

    def initialise_flow(self, value: float) -> None:
        """Make log F answer `value` nats everywhere; nothing happens without flows."""
        ...

    def initialise_value(self, value: float) -> None:
        """Make the value answer `value` nats everywhere; nothing happens without one."""
        ...

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        """Trainable parameters by optimiser group: `adapter`, `heads`, ..."""
        ...

    def save(self, folder: Path) -> None:
        """Write what training changed."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place."""
        ...


class Weights(Protocol):
    """What lets a policy speak as another one for a while."""

    def snapshot(self) -> Mapping[str, Tensor]:
        """A copy of the trained weights as they are, by name."""
        ...

    def speaking_as(self, weights: Mapping[str, Tensor] | None) -> AbstractContextManager[None]:
        """The policy acts and scores by a snapshot inside; None: as the bare base model."""
        ...
