"""The policies that a pair's margin is measured against: past iterates, drawn to the start."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gflowvlm.baselines.contrast import mixture_log_prob
from gflowvlm.baselines.pairs import NoPair, Pair, Step, noise_key, replies_at, row_of
from gflowvlm.batch import Row, StepScores
from gflowvlm.errors import UserError
from gflowvlm.policy.base import Policy, Weights
from gflowvlm.rollouts.arrange import weighted_log_prob

ITERATES_FILE = "iterates.safetensors"
_Score = Callable[[Sequence[Row]], StepScores]
_OPPONENT, _CHOICE = 4, 5  # streams of draws


@dataclass(kw_only=True)
class Opponents:
    """Snapshots of the policy at the beginnings of rounds, and the reference they make.

    A snapshot is an adapter: past policies cost no more than that.
    """

    policy: Policy
    weights: Weights
    alpha: float  # weight of the start policy, see `mixture_log_prob`
    history: int | None  # newest iterates that are mixed; None for all
    thought_weight: float
    rows_per_pass: int
    iterates: list[Mapping[str, Tensor]] = field(default_factory=list)  # oldest first

    def renew(self) -> None:
        """Take in the policy as it is."""
        self.iterates.append(self.weights.snapshot())
        if self.history is not None:
            del self.iterates[: -self.history]

    def log_prob(self, rows: Sequence[Row]) -> Tensor:
        """[D] `log mu` of the rows' decisions, up to a constant, nats, float64."""
        return mixture_log_prob(self._past(rows), self._start(rows), self.alpha)

    def log_weight(self, rows: Sequence[Row]) -> Tensor:
        """[D] `log mu` less the log-prob by the even mixture of the iterates, which sampled them.

        `mu / mixture = (start / mixture)^alpha`.
        """
        start = self._start(rows)
        assert start is not None, "without the start policy the mixture is mu"
        return self.alpha * (start - mixture_log_prob(self._iterates(rows), None, 0.0))

    def save(self, folder: Path) -> None:
        """Write the iterates into a checkpoint."""
        tensors = {
            f"{number}/{name}": tensor.contiguous()
            for number, iterate in enumerate(self.iterates)
            for name, tensor in iterate.items()
        }
        save_file(tensors, folder / ITERATES_FILE)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place.

        Raises:
            UserError: the checkpoint has no iterates.
        """
        file = folder / ITERATES_FILE
        if not file.is_file():
            raise UserError(
                f"found no {file}, expected the opponents of the run so far: train anew under "
                "another name=..."
            )
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in load_file(file).items():
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = tensor
        self.iterates = [found[number] for number in sorted(found)]

    def _past(self, rows: Sequence[Row]) -> list[Tensor]:
        return self._iterates(rows) if self.alpha < 1 else []

    def _iterates(self, rows: Sequence[Row]) -> list[Tensor]:
        scored = []
        for iterate in self.iterates:
            with self.weights.speaking_as(iterate):
                scored.append(self._scored(rows, self.policy.score))
        return scored

    def _start(self, rows: Sequence[Row]) -> Tensor | None:
        return self._scored(rows, self.policy.score_reference) if self.alpha > 0 else None

    @torch.no_grad()
    def _scored(self, rows: Sequence[Row], score: _Score) -> Tensor:
        parts = [
            weighted_log_prob(score(rows[first : first + self.rows_per_pass]), self.thought_weight)
            for first in range(0, len(rows), self.rows_per_pass)
        ]
        return torch.cat(parts).double().cpu()


@dataclass(frozen=True, kw_only=True)
class OpponentReplies:
    """Rejects what the opponents say at the same history; the tokens are kept as sampled.

    Where the reference has a share of the start policy it cannot be sampled by itself: then some
    replies are drawn from the iterates and one of them by its weight (sampling-importance
    resampling, Rubin 1987), whose law differs from the reference's by O(1 / candidates).
    """

    policy: Policy
    opponents: Opponents
    rejected_from: Literal["iterate", "mixture"]
    candidates: int
    seed: int

    def __call__(self, steps: Sequence[Step], numbers: Sequence[int]) -> list[Pair | NoPair]:
        """The pair of each step."""
        resampled = self.rejected_from == "mixture" and self.opponents.alpha > 0
        count = self.candidates if resampled else 1
        said = self._said([s for s in steps for _ in range(count)], numbers, count)
        if count > 1 and said:
            weight = self.opponents.log_weight(said).view(-1, count).numpy()
            lots = [self._lot(number).gumbel(size=count) for number in numbers]
            places = (weight + np.array(lots)).argmax(1)
            said = [said[count * row + place] for row, place in enumerate(places)]
        return [
            Pair(chosen=row_of(self.policy, step, step.chosen), rejected=row)
            for step, row in zip(steps, said, strict=True)
        ]

    def _said(self, steps: Sequence[Step], numbers: Sequence[int], count: int) -> list[Row]:
        """Replies by iterates, one for each step, of which each pair has `count`."""
        newest = len(self.opponents.iterates) - 1
        speaker = [newest] * len(steps)
        if self.rejected_from == "mixture":
            draws = [self._lot(number, 1).integers(newest + 1, size=count) for number in numbers]
            speaker = np.concatenate(draws).tolist() if draws else []
        keys = [
            noise_key(self.seed, _OPPONENT, n * count + k) for n in numbers for k in range(count)
        ]
        said: dict[int, Row] = {}
        for number in sorted(set(speaker)):
            mine = [place for place, who in enumerate(speaker) if who == number]
            with self.opponents.weights.speaking_as(self.opponents.iterates[number]):
                replies = replies_at(
                    self.policy,
                    [steps[place] for place in mine],
                    [keys[place] for place in mine],
                    self.opponents.rows_per_pass,
                )
            said |= {place: row for place, (_, row) in zip(mine, replies, strict=True)}
        return [said[place] for place in range(len(steps))]

    def _lot(self, number: int, purpose: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, _CHOICE, purpose, number])
