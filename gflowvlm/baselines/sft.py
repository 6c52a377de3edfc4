"""Supervised fine-tuning: the mean negative log-likelihood of the replies' learned tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.processes import ALONE, Processes


def learned_tokens(episode: Sequence[Row]) -> int:
    """Tokens of an episode that count."""
    return sum(decision >= 0 for row in episode for decision in row.decision_of)


@dataclass(frozen=True)
class SupervisedTraining:
    """Draws batches of episodes, each once an epoch, in an order decided by seed and epoch."""

    episodes: Sequence[Sequence[Row]]  # an episode has one row or, layouts differ, several
    episodes_per_update: int
    seed: int
    processes: Processes = ALONE  # each takes its share of every batch

    def prepare(self, update: int) -> list[Work]:
        """The batch of an update, counted from 0; the loss is a mean over tokens, not episodes."""
        chosen = [self.episodes[i] for i in self.processes.deal(self._indices(update))]
        weights = [learned_tokens(episode) for episode in chosen]
        total = sum(self.processes.gather(sum(weights)))
        work = Work(
            episodes=chosen,
            loss=token_loss,
            couples_rows=False,
            share=lambda part: sum(weights[part]) / total,
            metrics={"epoch": (update + 1) * self.episodes_per_update / len(self.episodes)},
        )
        return [work]

    def save(self, folder: Path) -> None:
        """Nothing is remembered: an update's batch is a function of its number."""

    def load(self, folder: Path) -> None:
        """See `save`."""

    def _indices(self, update: int) -> list[int]:
        count = self.episodes_per_update
        return in_epochs((self.seed, 7), update * count, count, of=len(self.episodes))


def in_epochs(seed: Sequence[int], first: int, count: int, *, of: int) -> list[int]:
    """Positions `first` to `first + count` of an endless walk through `of` things, in epochs.

    Each comes once an epoch, in an order decided by seed and epoch.
    """
    found = []
    for position in range(first, first + count):
        epoch, place = divmod(position, of)
        order = np.random.default_rng([*seed, epoch]).permutation(of)
        found.append(int(order[place]))
    return found


def token_loss(scores: StepScores, part: slice) -> ObjectiveOutput:
    """`-mean log p(token)`, nats; every learned token of the slice counts the same."""
    loss = -scores.token_log_prob.double().mean()
    return ObjectiveOutput(loss=loss, metrics={"nats_per_token": loss.item()})
