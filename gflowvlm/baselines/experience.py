"""What reinforcement learning keeps of an update's episodes from before its first step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores
from gflowvlm.episode import Ending, Episode
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.rollouts.sharing import start_of


@dataclass(frozen=True, kw_only=True)
class Experience:
    """An episode of T decisions and M sampled tokens; nothing here has a gradient.

    "Old" is the policy that played it, scored on the very tokens that it sampled.
    """

    episode: Episode
    rows: Sequence[Row]  # in the order of the decisions
    log_reward: float  # log R of the whole episode, nats
    reward: Tensor  # [T] float64  what each decision earned, divergence paid, nats
    log_prob: Tensor  # [T] float64  old, thought-weighted, nats
    log_ref: Tensor  # [T] float64   the same under the frozen reference, nats
    token_log_prob: Tensor  # [M] float64  old, nats
    token_log_ref: Tensor  # [M] float64   under the frozen reference, nats
    value: Tensor | None = None  # [T+1] float64  old, of each history; None without a value head

    @property
    def length(self) -> int:
        """T."""
        return len(self.reward)

    @property
    def ended(self) -> bool:
        """False where the collector cut it."""
        return self.episode.ending is not Ending.TRUNCATED

    @property
    def observations(self) -> list[str]:
        """[T] names of what was shown at each decision; equal for equal text and pixels."""
        return [start_of(decision.observation) for decision in self.episode.decisions]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a method makes of one episode's rewards."""

    advantage: Tensor  # [T] float64  of each decision
    target: Tensor | None = None  # [T] float64  what the value head should say, nats


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """An episode and what it teaches."""

    experience: Experience
    estimate: Estimate


class PolicyGradient(Protocol):
    """A method of reinforcement learning: knows no model, no tokenizer, no environment."""

    needs_value: ClassVar[bool]
    """True if the policy must have a value head."""
    uses_prefixes: ClassVar[bool]
    """True if episodes that the collector cut may enter, up to their last state."""

    @property
    def kl_in_reward(self) -> bool:
        """Whether `Experience.reward` has to pay for divergence, or the loss does."""
        ...

    @property
    def normalises(self) -> bool:
        """Whether an update's advantages are to be brought to mean 0 and standard deviation 1."""
        ...

    def estimate(self, experiences: Sequence[Experience]) -> list[Estimate]:
        """Advantages of whole groups of episodes, before the first step."""
        ...

    def units(self, experience: Experience) -> int:
        """How much an episode weighs in the mean that the loss is."""
        ...

    def loss(
        self, scores: StepScores, lessons: Sequence[Lesson], kl_coefficient: float
    ) -> ObjectiveOutput:
        """A mean over the units of some episodes, to be minimised.

        Args:
            scores: of the lessons' rows, by the policy as it is.
            lessons: episodes, in the order of their rows.
            kl_coefficient: cost of divergence where the loss has to pay it, else of no meaning.
        """
        ...


def decision_rewards(
    to_date: Sequence[float],
    log_prob: Tensor,
    log_ref: Tensor,
    *,
    kl_coefficient: float,
    alpha: float,
) -> Tensor:
    """[T] float64 `log R_{t+1} - log R_t - c (log p_t - alpha log p_ref,t)`, nats.

    Their sum is the log R of the episode less what its divergence costs, so that maximising its
    mean aims at `R^(1/c) p_ref^alpha`. The gradient through `log_prob` here has mean zero and is
    left out.

    Args:
        to_date: [T+1] log-reward accrued before each decision and at the end (`LogReward`).
        log_prob: [T] of the policy that played.
        log_ref: [T] under the reference.
        kl_coefficient: c.
        alpha: weight of the reference in the target.
    """
    earned = torch.tensor(to_date, dtype=torch.float64).diff()
    return earned - kl_coefficient * (log_prob - alpha * log_ref)
