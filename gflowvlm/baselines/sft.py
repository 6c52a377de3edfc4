"""Supervised fine-tuning: the mean negative log-likelihood of the replies' learned tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.processes import ALONE, Processes


def learned_tokens(row: Row) -> int:
    """Tokens of a row that count."""
    return sum(decision >= 0 for decision in row.decision_of)


@dataclass(frozen=True)
class SupervisedTraining:
    """Draws batches from rows, every row once an epoch, in an order decided by seed and epoch."""

    rows: Sequence[Row]
    rows_per_update: int
    seed: int
    processes: Processes = ALONE  # each takes its share of every batch

    def prepare(self, update: int) -> Work:
        """The batch of an update, counted from 0; the loss is a mean over tokens, not rows."""
        batch = [self.rows[i] for i in self._indices(update)]
        total = sum(learned_tokens(row) for row in batch)
        chosen = self.processes.deal(batch)
        weights = [learned_tokens(row) for row in chosen]
        return Work(
            rows=chosen,
            loss=token_loss,
            couples_rows=False,
            share=lambda part: sum(weights[part]) / total,
            metrics={"epoch": (update + 1) * self.rows_per_update / len(self.rows)},
        )

    def save(self, folder: Path) -> None:
        """Nothing is remembered: an update's batch is a function of its number."""

    def load(self, folder: Path) -> None:
        """See `save`."""

    def _indices(self, update: int) -> list[int]:
        first = update * self.rows_per_update
        found = []
        for position in range(first, first + self.rows_per_update):
            epoch, place = divmod(position, len(self.rows))
            order = np.random.default_rng([self.seed, 7, epoch]).permutation(len(self.rows))
            found.append(int(order[place]))
        return found


def token_loss(scores: StepScores, part: slice) -> ObjectiveOutput:
    """`-mean log p(token)`, nats; every learned token of the slice counts the same."""
    loss = -scores.token_log_prob.double().mean()
    return ObjectiveOutput(loss=loss, metrics={"nats_per_token": loss.item()})
