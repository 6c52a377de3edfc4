"""Losses of ppo, grpo and rloo against numbers worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gflowvlm.baselines.experience import Estimate, Experience, Lesson
from gflowvlm.baselines.grpo import GroupRelativePolicy
from gflowvlm.baselines.ppo import ProximalPolicy, entropy_of
from gflowvlm.baselines.rloo import LeaveOneOut
from gflowvlm.batch import StepScores, TrajectoryBatch
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.objectives.trajectory import VarianceLoss

PPO: dict[str, Any] = {
    "clip_range": 0.2,
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "normalises": False,
    "value_coefficient": 0.5,
    "value_clip_range": None,
    "entropy_coefficient": 0.0,
    "thought_weight": 1.0,
}
GRPO: dict[str, Any] = {
    "clip_range": 0.2,
    "ratio": "token",
    "average": "tokens",
    "scaled": False,
    "kl_in_reward": True,
    "step_weight": 0.0,
    "gamma": 1.0,
}


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def lesson(advantage: Tensor, **more: Any) -> Lesson:
    """An episode of group 0 whose decisions saw shades of grey, 0 by default."""
    shades = more.pop("shades", [0] * len(advantage))
    decisions = [
        Decision(
            observation=Observation(
                image=np.full((1, 1, 3), shade, np.uint8), task="", text="", legal_actions=("a",)
            ),
            reply=Reply(text="a", token_ids=(), segment=(), log_probs=(), action=0),
            reward=0.0,
        )
        for shade in shades
    ]
    episode = Episode(
        environment="e",
        split="id",
        seed=0,
        group=more.pop("group", 0),
        index=0,
        decisions=tuple(decisions),
        ending=Ending.TERMINATED,
        success=True,
    )
    nothing = torch.zeros_like(advantage)
    target = more.pop("target", None)
    known = {"reward": nothing, "log_prob": nothing, "log_ref": nothing, **more}
    tokens = {"token_log_prob": known["log_prob"], "token_log_ref": known["log_ref"]}
    experience = Experience(episode=episode, rows=[], log_reward=0.0, **{**tokens, **known})
    return Lesson(experience=experience, estimate=Estimate(advantage=advantage, target=target))


def scores(log_prob: Tensor, **more: Any) -> StepScores:
    """One token and no thought a decision, unless more is said."""
    return StepScores(
        **{
            "thought_log_prob": torch.zeros_like(log_prob),
            "action_log_prob": log_prob,
            "entropy": torch.zeros_like(log_prob),
            "flow": None,
            "token_log_prob": log_prob,
            "token_decision": torch.arange(len(log_prob)),
            **more,
        }
    )


def test_ppo_clips_what_has_moved_the_way_of_its_advantage() -> None:
    log_prob = numbers(math.log(1.5), math.log(0.5), math.log(1.5)).requires_grad_()
    value = numbers(1.0, 2.0, 0.5, 9.0)
    taken = lesson(numbers(2, 1, -1), target=numbers(0, 2, 2), value=numbers(0, 0, 0, 0))
    output = ProximalPolicy(**PPO).loss(scores(log_prob, value=value), [taken], 0.0)
    # -min(1.5 * 2, 1.2 * 2) = -2.4; -min(0.5, 0.8) = -0.5; -min(-1.5, -1.2) = 1.5; mean -1.4/3
    # values off by 1, 0, 1.5: (1 + 0 + 2.25) / 3 / 2 = 0.541667; what stands at the end is not read
    assert output.metrics["policy_loss"] == pytest.approx(-1.4 / 3)
    assert output.metrics["value_loss"] == pytest.approx(3.25 / 6)
    assert output.loss.item() == pytest.approx(-1.4 / 3 + 0.5 * 3.25 / 6)
    assert output.metrics["clip_fraction"] == pytest.approx(1 / 3)
    # old from new: r - 1 - log r is 0.0945 twice and 0.1931
    expected = (2 * (0.5 - math.log(1.5)) + (-0.5 - math.log(0.5))) / 3
    assert output.metrics["approx_kl"] == pytest.approx(expected)
    output.loss.backward()
    # -A r / 3 where the clip leaves it
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, numbers(0.0, -0.5 / 3, 1.5 / 3))


def test_ppo_holds_a_value_that_moves_too_far_from_its_old_one() -> None:
    value = numbers(1.0, 2.0, 0.0).requires_grad_()
    taken = lesson(numbers(0, 0), target=numbers(3, 0), value=numbers(0, 0, 0))
    method = ProximalPolicy(**{**PPO, "value_clip_range": 0.4})
    output = method.loss(scores(numbers(0, 0), value=value), [taken], 0.0)
    # (1 - 3)^2 = 4 against (0.4 - 3)^2 = 6.76; (2 - 0)^2 = 4 against 0.16: (6.76 + 4) / 2 / 2
    assert output.metrics["value_loss"] == pytest.approx(2.69)
    assert output.metrics["value_clip_fraction"] == 0.5
    output.loss.backward()
    assert value.grad is not None
    # the first has no gradient; the second 0.5 * (2 - 0) / 2
    torch.testing.assert_close(value.grad, numbers(0.0, 0.5, 0.0))


def test_a_thoughts_weight_is_in_the_ratio() -> None:
    said = scores(numbers(0.0), thought_log_prob=numbers(-1.0), value=numbers(0, 0))
    taken = lesson(numbers(1), target=numbers(0), log_prob=numbers(-0.4), value=numbers(0, 0))
    method = ProximalPolicy(**{**PPO, "thought_weight": 0.3})
    # 0.3 * -1 + 0 - -0.4 = 0.1
    assert method.loss(said, [taken], 0.0).metrics["policy_loss"] == pytest.approx(-math.exp(0.1))


def test_the_entropy_of_what_is_sampled_has_its_gradient_on_average() -> None:
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    log_prob = logits.log_softmax(0)
    entropy = -(log_prob * log_prob.exp()).sum()
    (exact,) = torch.autograd.grad(entropy, logits, retain_graph=True)
    sampled = entropy_of(scores(log_prob, entropy=entropy.detach().expand(3)))
    torch.testing.assert_close(sampled.detach(), entropy.detach().expand(3))
    mean = (log_prob.exp().detach() * sampled).sum()
    torch.testing.assert_close(torch.autograd.grad(mean, logits)[0], exact)


def test_a_bonus_for_entropy_lowers_ppos_loss() -> None:
    said = scores(numbers(0.0), entropy=numbers(0.7), value=numbers(0, 0))
    taken = lesson(numbers(1), target=numbers(0), value=numbers(0, 0))
    loss = ProximalPolicy(**{**PPO, "entropy_coefficient": 0.1}).loss(said, [taken], 0.0).loss
    assert loss.item() == pytest.approx(-1 - 0.1 * 0.7)


def two_replies() -> tuple[StepScores, list[Lesson]]:
    """An episode of a reply of two tokens and one of one token, ratios 1.5, 1 and 0.5."""
    token = numbers(math.log(1.5), 0.0, math.log(0.5))
    reference = numbers(0.0, 0.0, math.log(0.25))
    said = scores(numbers(0, 0), token_log_prob=token, token_decision=torch.tensor([0, 0, 1]))
    lessons = [
        lesson(numbers(2), token_log_prob=numbers(0, 0), token_log_ref=reference[:2]),
        lesson(numbers(-1), token_log_prob=numbers(0), token_log_ref=reference[2:]),
    ]
    return said, lessons


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # -min(3, 2.4) = -2.4, -2, -min(-0.5, -0.8) = 0.8; of tokens, of episodes, sums
        ({"average": "tokens"}, (-2.4 - 2 + 0.8) / 3),
        ({"average": "episodes"}, (-2.2 + 0.8) / 2),
        ({"average": "none"}, (-4.4 + 0.8) / 2),
        # an episode's ratio is sqrt(1.5 * 1) = 1.2247, held at 1.2, and 0.5, held at 0.8
        ({"ratio": "sequence", "average": "episodes"}, (-2.4 + 0.8) / 2),
        (
            {"ratio": "sequence", "average": "episodes", "clip_range": 0.5},
            (-2 * 1.5**0.5 + 0.5) / 2,
        ),
        # k3 of log 1.5, 0, log 2: 1/1.5 - 1 + log 1.5, 0, 1/2 - 1 + log 2; at 3 nats each
        (
            {"kl_in_reward": False},
            (-3.6 + 3 * (1 / 1.5 - 1 + math.log(1.5) + 0.5 - 1 + math.log(2))) / 3,
        ),
    ],
)
def test_grpo_weighs_tokens_as_it_is_told(change: dict[str, Any], expected: float) -> None:
    said, lessons = two_replies()
    output = GroupRelativePolicy(**{**GRPO, **change}).loss(said, lessons, 3.0)
    assert output.loss.item() == pytest.approx(expected)


def test_grpo_compares_replies_to_the_same_observation_where_it_is_asked_to() -> None:
    first = lesson(numbers(0, 0), reward=numbers(1, 2), shades=[0, 5]).experience
    second = lesson(numbers(0, 0), reward=numbers(0, 6), shades=[5, 7]).experience
    other = lesson(numbers(0), reward=numbers(9), shades=[5], group=1).experience
    method = GroupRelativePolicy(**{**GRPO, "step_weight": 0.1, "gamma": 0.5})
    found = [each.advantage for each in method.estimate([first, second, other])]
    # returns 3 and 6: -1.5 and 1.5. Shade 5 is seen twice in group 0: what is earned from there is
    # 2 and 0 + 0.5 * 6 = 3, so -0.5 and 0.5, at weight 0.1; all else is seen once
    for value, expected in zip(
        found, [numbers(-1.5, -1.55), numbers(1.55, 1.5), numbers(0)], strict=True
    ):
        torch.testing.assert_close(value, expected)


def test_rloo_weighs_whole_episodes() -> None:
    said = scores(numbers(math.log(1.5), math.log(0.6), math.log(0.5)))
    lessons = [lesson(numbers(2, 2)), lesson(numbers(-1))]
    output = LeaveOneOut(clip_range=0.2, thought_weight=1.0).loss(said, lessons, 0.0)
    # the first's ratio is 1.5 * 0.6 = 0.9: -1.8; the second's 0.5, held at 0.8: 0.8
    assert output.loss.item() == pytest.approx((-1.8 + 0.8) / 2)


def test_the_gradient_of_var_tb_is_that_of_rloo() -> None:
    """2 beta (K - 1) / K times, K = 3: method.md section 4, Kool et al. 2019."""
    beta, alpha, size = 0.7, 0.8, 3
    generator = torch.Generator().manual_seed(4)
    log_pf, log_ref = torch.randn(2, size, 2, dtype=torch.float64, generator=generator)
    log_reward = torch.randn(size, dtype=torch.float64, generator=generator)
    log_pf.requires_grad_()
    batch = TrajectoryBatch(
        log_pf=log_pf,
        log_pb=torch.zeros_like(log_pf),
        log_ref=log_ref,
        log_reward=log_reward,
        length=torch.full((size,), 2),
        group=torch.zeros(size, dtype=torch.int64),
        ended=torch.ones(size, dtype=torch.bool),
        alpha=alpha,
        beta=beta,
    )
    (balance,) = torch.autograd.grad(VarianceLoss()(batch).loss, log_pf)
    method, old = LeaveOneOut(clip_range=0.2, thought_weight=1.0), log_pf.detach()
    earned = torch.stack([torch.zeros_like(log_reward), log_reward], 1)
    rewards = earned - (old - alpha * log_ref) / beta
    experiences = [
        lesson(numbers(0, 0), reward=rewards[i], log_prob=old[i]).experience for i in range(size)
    ]
    pairs = zip(experiences, method.estimate(experiences), strict=True)
    lessons = [Lesson(experience=each, estimate=estimate) for each, estimate in pairs]
    (learned,) = torch.autograd.grad(
        method.loss(scores(log_pf.flatten()), lessons, 0.0).loss, log_pf
    )
    torch.testing.assert_close(balance, 2 * beta * (size - 1) / size * learned)
