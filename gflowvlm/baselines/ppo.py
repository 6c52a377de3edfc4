"""Proximal policy optimisation over decisions: a reply is one action, a history one state.

Schulman et al. 2017, with generalised advantages, and Zhai et al. 2024 (RL4VLM) for a reply's
log-prob, `w log p(thought) + log p(action)`. Each decision is scored at its own history: the rows
are those that were played.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gflowvlm.baselines.advantage import generalised_advantage
from gflowvlm.baselines.experience import Estimate, Experience, Lesson
from gflowvlm.baselines.surrogate import clipped_surrogate, movement
from gflowvlm.batch import StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.rollouts.arrange import weighted_log_prob


@dataclass(frozen=True, kw_only=True)
class ProximalPolicy:
    """Clipped surrogate, value loss and entropy bonus; a mean over decisions."""

    clip_range: float
    gamma: float
    gae_lambda: float
    normalises: bool
    value_coefficient: float
    value_clip_range: float | None  # nats
    entropy_coefficient: float
    thought_weight: float

    needs_value: ClassVar[bool] = True
    uses_prefixes: ClassVar[bool] = True
    kl_in_reward: bool = field(default=True, init=False)

    def estimate(self, experiences: Sequence[Experience]) -> list[Estimate]:
        """Generalised advantages; an episode that was cut ends with its last history's value."""
        estimates = []
        for each in experiences:
            assert each.value is not None, "a policy with a value head says values"
            advantage = generalised_advantage(
                each.reward,
                each.value,
                gamma=self.gamma,
                gae_lambda=self.gae_lambda,
                ended=each.ended,
            )
            estimates.append(Estimate(advantage=advantage, target=advantage + each.value[:-1]))
        return estimates

    def units(self, experience: Experience) -> int:
        """Its decisions."""
        return experience.length

    def loss(
        self, scores: StepScores, lessons: Sequence[Lesson], kl_coefficient: float
    ) -> ObjectiveOutput:
        """`policy + c_v value - c_e entropy`; the cost of divergence is in the rewards."""
        device = scores.action_log_prob.device
        old = torch.cat([each.experience.log_prob for each in lessons]).to(device)
        advantage = torch.cat([each.estimate.advantage for each in lessons]).to(device)
        log_ratio = weighted_log_prob(scores, self.thought_weight).double() - old
        policy_loss = clipped_surrogate(log_ratio, advantage, self.clip_range).mean()
        value_loss, moved_far = self._value_loss(scores, lessons)
        loss = policy_loss + self.value_coefficient * value_loss
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * entropy_of(scores).mean()
        return ObjectiveOutput(
            loss=loss,
            metrics={
                "loss": loss.item(),
                "policy_loss": policy_loss.item(),
                "value_loss": value_loss.item(),
                "value_clip_fraction": moved_far,
                **movement(log_ratio, advantage, self.clip_range),
            },
        )

    def _value_loss(self, scores: StepScores, lessons: Sequence[Lesson]) -> tuple[Tensor, float]:
        """`mean max((V - R)^2, (V_clip - R)^2) / 2`, and the share of values that were held."""
        assert scores.value is not None, "a policy with a value head says values"
        states = scores.value.double().split([each.experience.length + 1 for each in lessons])
        value = torch.cat([each[:-1] for each in states])
        target = torch.cat([_given(each.estimate.target) for each in lessons]).to(value.device)
        squared = (value - target).square()
        if self.value_clip_range is None:
            return squared.mean() / 2, 0.0
        old = torch.cat([_given(each.experience.value)[:-1] for each in lessons]).to(value.device)
        near = old + (value - old).clamp(-self.value_clip_range, self.value_clip_range)
        held = (near - target).square()
        return torch.maximum(squared, held).mean() / 2, (held > squared).double().mean().item()


def entropy_of(scores: StepScores) -> Tensor:
    """[D] entropy of the tokens sampled for each decision, nats, with its gradient on average.

    The gradient is the score function's, `-(log p + H) grad log p`, whose mean over tokens drawn
    from the policy is that of each token's entropy: no law over the vocabulary has to be kept.
    """
    log_prob = (scores.thought_log_prob + scores.action_log_prob).double()
    entropy = scores.entropy.double()
    slope = (log_prob + entropy).detach() * log_prob
    return entropy - (slope - slope.detach())


def _given(values: Tensor | None) -> Tensor:
    assert values is not None, "estimates of a method with values have targets"
    return values
