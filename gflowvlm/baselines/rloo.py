"""REINFORCE with a leave-one-out baseline: an episode against the others of its group.

Kool et al. 2019; Ahmadian et al. 2024. At the first step of an update, with divergence at 1 / beta,
its gradient is `K / (2 beta (K - 1))` times that of `var_tb` on groups of K.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from gflowvlm.baselines.advantage import leave_one_out
from gflowvlm.baselines.experience import Estimate, Experience, Lesson
from gflowvlm.baselines.surrogate import clipped_surrogate, movement
from gflowvlm.batch import StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.rollouts.arrange import weighted_log_prob


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Clipped surrogate of whole episodes; a mean over episodes."""

    clip_range: float
    thought_weight: float

    needs_value: ClassVar[bool] = False
    uses_prefixes: ClassVar[bool] = False
    kl_in_reward: bool = field(default=True, init=False)
    normalises: bool = field(default=False, init=False)

    def estimate(self, experiences: Sequence[Experience]) -> list[Estimate]:
        """Each episode's return less the mean of the others of its group."""
        returns = torch.stack([each.reward.sum() for each in experiences])
        advantage = leave_one_out(returns, [each.episode.group for each in experiences])
        return [
            Estimate(advantage=value.expand(each.length))
            for value, each in zip(advantage, experiences, strict=True)
        ]

    def units(self, experience: Experience) -> int:
        """One."""
        return 1

    def loss(
        self, scores: StepScores, lessons: Sequence[Lesson], kl_coefficient: float
    ) -> ObjectiveOutput:
        """The surrogate; the cost of divergence is in the rewards."""
        device = scores.action_log_prob.device
        old = torch.cat([each.experience.log_prob for each in lessons]).to(device)
        step = weighted_log_prob(scores, self.thought_weight).double() - old
        lengths = [each.experience.length for each in lessons]
        log_ratio = torch.stack([part.sum() for part in step.split(lengths)])
        advantage = torch.stack([each.estimate.advantage[0] for each in lessons]).to(device)
        loss = clipped_surrogate(log_ratio, advantage, self.clip_range).mean()
        metrics = movement(log_ratio, advantage, self.clip_range)
        return ObjectiveOutput(
            loss=loss, metrics={"loss": loss.item(), "policy_loss": loss.item(), **metrics}
        )
