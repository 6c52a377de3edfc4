from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.baselines.reinforcement import build_policy_gradient
from gflowvlm.config.load import load
from gflowvlm.config.reinforcement import ReinforcementConfig

Complaint = Callable[..., str]


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo"])
def test_every_method_is_chosen_by_its_type_alone(kind: str, recipe: Path) -> None:
    objective = load(recipe, [f"objective={{type: {kind}}}"]).objective
    assert isinstance(objective, ReinforcementConfig)
    assert objective.type == kind
    method = build_policy_gradient(objective, thought_weight=1.0)
    assert method.needs_value == (kind == "ppo")
    assert method.kl_in_reward
    assert objective.kl_coefficient is None  # 1 / beta, the balance losses' target


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["objective={type: grpo}", "trainer.group_size=1"],
            "objective grpo compares the episodes of a group; set trainer.group_size to 2",
        ),
        (["objective={type: rloo}", "trainer.group_size=1"], "objective rloo compares"),
        (
            ["objective={type: ppo, minibatches: 3}"],
            "found objective.minibatches = 3, expected a divisor of trainer.groups_per_update = 8",
        ),
        (
            ["objective={type: ppo}", "replay.share=0.25"],
            "found replay.share with objective ppo, which must not see episodes of another policy",
        ),
        (
            ["objective={type: rloo}", "exploration.temperature=2"],
            "objective rloo, which must not",
        ),
        (
            ["objective={type: ppo, kl_coefficient: 0.1}", "beta=2"],
            "found objective.kl_coefficient = 0.1 and a beta that is not 1",
        ),
        (
            ["objective={type: grpo}", "policy.thought_weight=0.4"],
            "found policy.thought_weight = 0.4, but objective grpo compares single tokens",
        ),
        (
            ["objective={type: grpo, kl_in: loss}", "alpha=0.5"],
            "found alpha = 0.5 with objective.kl_in: loss",
        ),
        (["objective={type: ppo, clip_range: 1}"], "objective.clip_range: found 1, expected less"),
        (["objective={type: ppo, clip: 0.1}"], "clip_range"),
        (["objective={type: grpo, ratio: reply}"], "expected token or sequence"),
    ],
)
def test_what_does_not_fit_a_policy_gradient_is_one_clear_line(
    complaint: Complaint, overrides: list[str], said: str
) -> None:
    message = complaint(*overrides)
    assert said in message
    assert "\n" not in message
