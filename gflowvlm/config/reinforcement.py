"""Reinforcement learning on the run's reward, the fair rivals of the balance losses.

What all of them maximise is `E [log R - c (log p - alpha log p_ref)]` of an episode, whose optimum
is `p proportional to R^(1/c) p_ref^alpha`: with `c = 1 / beta`, what `kl_coefficient: null` takes,
the very target of the run's balance losses. `c = 0` is plain reward maximisation.
"""

from typing import Literal

from pydantic import Field

from gflowvlm.config.schedule import Schedule
from gflowvlm.config.section import Section


class _PolicyGradient(Section):
    """What methods of clipped policy gradients have in common."""

    epochs: int = Field(default=1, ge=1)
    """Times that the episodes of an update are gone through."""
    minibatches: int = Field(default=1, ge=1)
    """Steps of the optimiser in an epoch, each on an equal number of whole groups."""
    clip_range: float = Field(default=0.2, gt=0, lt=1)
    """A ratio of new to old probability has no gradient beyond 1 -+ this, where it has moved the
    way its advantage points."""
    kl_coefficient: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Cost of a nat of divergence from the start policy, nats of log R; null for 1 / beta, which
    has the target R^beta * p_ref^alpha, 0 for none."""


class ProximalPolicyOptimisation(_PolicyGradient):
    """PPO with a value head (Schulman et al. 2017), a reply being one action (Zhai et al. 2024).

    The cost of divergence is part of each reply's reward.
    """

    type: Literal["ppo"] = "ppo"
    epochs: int = Field(default=2, ge=1)
    """Times that the episodes of an update are gone through."""
    minibatches: int = Field(default=2, ge=1)
    """Steps of the optimiser in an epoch, each on an equal number of whole groups."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of a reply's reward relative to the one before it; below 1 the target is another."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Weight of longer looks ahead in an advantage (Schulman et al. 2016): 0 trusts the value head
    at the next history, 1 only what was earned."""
    normalise_advantages: bool = True
    """Whether an update's advantages are brought to mean 0 and standard deviation 1."""
    value_coefficient: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """Weight of the value head's loss, half its squared error in nats. The head shares no weights
    with the adapter, so this decides only how much of `trainer.max_grad_norm` it takes up."""
    value_clip_range: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Farthest that a value moves from its old one before its gradient stops, nats; null for no
    bound."""
    entropy_coefficient: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Bonus for a nat of entropy of the sampled tokens; above 0 the target is another."""


class GroupRelativePolicyOptimisation(_PolicyGradient):
    """GRPO: an episode against the others of its group, token by token (Shao et al. 2024)."""

    type: Literal["grpo"] = "grpo"
    ratio: Literal["token", "sequence"] = "token"
    """What a ratio of probabilities is of: each `token`, or an episode's whole `sequence` of
    replies, the geometric mean over its tokens (GSPO, Zheng et al. 2025)."""
    average: Literal["tokens", "episodes", "none"] = "tokens"
    """Mean over all `tokens` (DAPO), over each episode's tokens, then over `episodes` (GRPO), or
    sums over tokens, meant over episodes, for `none` (Dr. GRPO up to a constant)."""
    scale_rewards: Literal["group", "none"] = "group"
    """Whether an advantage is divided by its group's standard deviation."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where divergence costs: in an episode's `reward`, whose optimum is the target exactly; or in
    the `loss`, token by token by the estimator k3, as published: its gradient is on average that of
    the divergence the other way round, so that the optimum is another."""
    step_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of a second advantage, of a reply against those of the group's episodes to the same
    observation (GiGPO, Feng et al. 2025); fair where equal observations have equal futures."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of what such a reply earns later."""


class ReinforceLeaveOneOut(_PolicyGradient):
    """RLOO: an episode against the mean of the others of its group (Ahmadian et al. 2024).

    The ratio is that of whole episodes; divergence costs reward.
    """

    type: Literal["rloo"] = "rloo"


ReinforcementConfig = (
    ProximalPolicyOptimisation | GroupRelativePolicyOptimisation | ReinforceLeaveOneOut
)


def require_fit(
    config: ReinforcementConfig,
    *,
    groups_per_update: int,
    thought_weight: float,
    alpha: float,
    beta: Schedule,
) -> None:
    """Refuse what other sections of a run cannot be reconciled with.

    Raises:
        ValueError: with what was found and what to change.
    """
    if groups_per_update % config.minibatches:
        raise ValueError(
            f"found objective.minibatches = {config.minibatches}, expected a divisor of "
            f"trainer.groups_per_update = {groups_per_update}, as a minibatch is made of whole "
            "groups: change one of them"
        )
    if config.kl_coefficient is not None and (beta.over > 0 or beta.end != 1):
        raise ValueError(
            f"found objective.kl_coefficient = {config.kl_coefficient:g} and a beta that is not 1, "
            "but all that beta does here is to set the coefficient to 1 / beta: leave one of them "
            "out"
        )
    if not isinstance(config, GroupRelativePolicyOptimisation):
        return
    if thought_weight != 1:
        raise ValueError(
            f"found policy.thought_weight = {thought_weight:g}, but objective grpo compares single "
            "tokens, which have no weight: set policy.thought_weight to 1 or use ppo or rloo"
        )
    if config.kl_in == "loss" and alpha != 1:
        raise ValueError(
            f"found alpha = {alpha:g} with objective.kl_in: loss, which is a divergence from the "
            "start policy itself: set alpha to 1 or objective.kl_in to reward"
        )
