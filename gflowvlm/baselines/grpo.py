"""Group relative policy optimisation: no value head, the others of a group are what to expect."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, assert_never

import torch
from torch import Tensor

from gflowvlm.baselines.advantage import discounted_sum, relative_to_group
from gflowvlm.baselines.experience import Estimate, Experience, Lesson
from gflowvlm.baselines.surrogate import clipped_surrogate, k3, movement
from gflowvlm.batch import StepScores
from gflowvlm.objectives.base import ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class GroupRelativePolicy:
    """Clipped surrogate over tokens; all tokens of a decision have its advantage.

    Shao et al. 2024 (DeepSeekMath); `ratio="sequence"` is GSPO (Zheng et al. 2025), a positive
    `step_weight` GiGPO (Feng et al. 2025).
    """

    clip_range: float
    ratio: Literal["token", "sequence"]
    average: Literal["tokens", "episodes", "none"]
    scaled: bool  # advantages by their group's standard deviation
    kl_in_reward: bool  # else in the loss, token by token
    step_weight: float
    gamma: float  # discount of what a reply earns later, for `step_weight` alone

    needs_value: ClassVar[bool] = False
    uses_prefixes: ClassVar[bool] = False
    normalises: bool = field(default=False, init=False)

    def estimate(self, experiences: Sequence[Experience]) -> list[Estimate]:
        """Each episode's return against its group's, the same for all its decisions."""
        returns = torch.stack([each.reward.sum() for each in experiences])
        groups = [each.episode.group for each in experiences]
        advantage = relative_to_group(returns, groups, scaled=self.scaled)
        steps = [torch.zeros_like(each.reward) for each in experiences]
        if self.step_weight:
            steps = self._step_advantages(experiences)
        return [
            Estimate(advantage=whole + self.step_weight * step)
            for whole, step in zip(advantage, steps, strict=True)
        ]

    def units(self, experience: Experience) -> int:
        """Its tokens where the loss is a mean over tokens, else one."""
        return len(experience.token_log_prob) if self.average == "tokens" else 1

    def loss(
        self, scores: StepScores, lessons: Sequence[Lesson], kl_coefficient: float
    ) -> ObjectiveOutput:
        """The surrogate and, where it is in the loss, the cost of divergence of each token."""
        device = scores.token_log_prob.device
        sizes = [len(each.experience.token_log_prob) for each in lessons]
        log_prob = scores.token_log_prob.double()
        old = torch.cat([each.experience.token_log_prob for each in lessons]).to(device)
        advantage = torch.cat([each.estimate.advantage for each in lessons]).to(device)
        advantage = advantage[scores.token_decision]
        log_ratio = log_prob - old
        if self.ratio == "sequence":
            means = [part.mean().expand(len(part)) for part in log_ratio.split(sizes)]
            log_ratio = torch.cat(means)
        policy = clipped_surrogate(log_ratio, advantage, self.clip_range)
        each, metrics = policy, movement(log_ratio, advantage, self.clip_range)
        if not self.kl_in_reward:
            reference = torch.cat([each.experience.token_log_ref for each in lessons]).to(device)
            divergence = k3(log_prob - reference)
            each = policy + kl_coefficient * divergence
            metrics["kl_loss"] = self._mean(divergence, sizes).item()
        loss = self._mean(each, sizes)
        policy_loss = self._mean(policy, sizes).item()
        return ObjectiveOutput(
            loss=loss, metrics={"loss": loss.item(), "policy_loss": policy_loss, **metrics}
        )

    def _step_advantages(self, experiences: Sequence[Experience]) -> list[Tensor]:
        """What each decision earns from there on, against the others at its observation."""
        to_go = [discounted_sum(each.reward, self.gamma) for each in experiences]
        places = [(each.episode.group, seen) for each in experiences for seen in each.observations]
        advantage = relative_to_group(torch.cat(to_go), places, scaled=self.scaled)
        return list(advantage.split([each.length for each in experiences]))

    def _mean(self, values: Tensor, sizes: Sequence[int]) -> Tensor:
        """[] of [M] values of tokens, so many of each episode."""
        match self.average:
            case "tokens":
                return values.mean()
            case "episodes":
                return torch.stack([part.mean() for part in values.split(list(sizes))]).mean()
            case "none":
                return values.sum() / len(sizes)
            case _:
                assert_never(self.average)
