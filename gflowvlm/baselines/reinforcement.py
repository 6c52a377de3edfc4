"""From a config section to a method of reinforcement learning."""

from typing import assert_never

from gflowvlm.baselines.experience import PolicyGradient
from gflowvlm.baselines.grpo import GroupRelativePolicy
from gflowvlm.baselines.ppo import ProximalPolicy
from gflowvlm.baselines.rloo import LeaveOneOut
from gflowvlm.config import reinforcement as sections


def build_policy_gradient(
    config: sections.ReinforcementConfig, *, thought_weight: float
) -> PolicyGradient:
    """The method that `config` names.

    Args:
        config: its section.
        thought_weight: of a thought's log-prob in a reply's; grpo, which knows tokens, has none.
    """
    match config:
        case sections.ProximalPolicyOptimisation():
            return ProximalPolicy(
                clip_range=config.clip_range,
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                normalises=config.normalise_advantages,
                value_coefficient=config.value_coefficient,
                value_clip_range=config.value_clip_range,
                entropy_coefficient=config.entropy_coefficient,
                thought_weight=thought_weight,
            )
        case sections.GroupRelativePolicyOptimisation():
            return GroupRelativePolicy(
                clip_range=config.clip_range,
                ratio=config.ratio,
                average=config.average,
                scaled=config.scale_rewards == "group",
                kl_in_reward=config.kl_in == "reward",
                step_weight=config.step_weight,
                gamma=config.gamma,
            )
        case sections.ReinforceLeaveOneOut():
            return LeaveOneOut(clip_range=config.clip_range, thought_weight=thought_weight)
        case _:
            assert_never(config)
