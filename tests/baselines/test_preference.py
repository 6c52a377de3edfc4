"""Losses on scores by hand, and opponents of a real model against brute force."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gflowvlm.baselines.opponents import OpponentReplies, Opponents
from gflowvlm.baselines.pairs import NoPair, Pair, Step, noise_key, replies_at, row_of
from gflowvlm.baselines.preference import PairLoss
from gflowvlm.baselines.rejection import WeightedTokenLoss
from gflowvlm.batch import Row, StepScores
from gflowvlm.episode import Observation
from gflowvlm.pocket.folder import find_model
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.prompting.reply import format_reply


def scores(thought: list[float], action: list[float]) -> StepScores:
    """Two tokens a decision: one of thought, one of action."""
    tokens = [value for pair in zip(thought, action, strict=True) for value in pair]
    return StepScores(
        thought_log_prob=torch.tensor(thought),
        action_log_prob=torch.tensor(action),
        entropy=torch.zeros(len(thought)),
        flow=None,
        token_log_prob=torch.tensor(tokens),
        token_decision=torch.arange(len(thought)).repeat_interleave(2),
    )


def test_the_loss_of_two_pairs_by_hand() -> None:
    said = scores([-1.0, -2.0, -1.0, -1.0], [-1.0, -1.0, 0.0, -1.0])
    loss = PairLoss(
        log_mu=torch.tensor([[-3.0, -2.0], [-1.0, -4.0]]),
        acts=torch.tensor([True, True]),
        beta=0.5,
        label_smoothing=0.0,
        sft_weight=0.1,
        thought_weight=1.0,
    )
    both = loss(said, slice(0, 2))
    # margins (-2 + 3) - (-3 + 2) = 2 and (-1 + 1) - (-2 + 4) = -2, halved: log(1 + e^-1) = 0.313262
    # and 1.313262; preferred replies cost 2 / 2 = 1 and 1 / 2 nats a token, a tenth of which counts
    assert both.loss.item() == pytest.approx((0.313262 + 0.1 + 1.313262 + 0.05) / 2, abs=1e-6)
    assert both.metrics["rewards/accuracies"] == 0.5
    assert both.metrics["rewards/chosen"] == pytest.approx(0.25)  # (0.5 + 0) / 2
    assert both.metrics["rewards/rejected"] == pytest.approx(0.25)  # (-0.5 + 1) / 2
    second = loss(scores([-1.0, -1.0], [0.0, -1.0]), slice(1, 2))
    assert second.loss.item() == pytest.approx(1.363262, abs=1e-6)


def test_an_action_that_is_not_compared_is_imitated_all_the_same() -> None:
    loss = PairLoss(
        log_mu=torch.tensor([[-3.0, -2.0]]),
        acts=torch.tensor([False]),
        beta=0.5,
        label_smoothing=0.0,
        sft_weight=0.1,
        thought_weight=1.0,
    )
    action = torch.tensor([-4.0, -7.0], requires_grad=True)
    said = scores([-1.0, -2.0], [-4.0, -7.0])
    tokens = torch.stack([torch.tensor([-1.0, -2.0]), action], 1).flatten()
    out = loss(replace(said, action_log_prob=action, token_log_prob=tokens), slice(0, 1))
    # margin (-1 + 3) - (-2 + 2) = 2, halved: 0.313262; the preferred reply costs 5 / 2 nats a token
    assert out.loss.item() == pytest.approx(0.313262 + 0.25, abs=1e-6)
    out.loss.backward()
    assert action.grad is not None
    assert action.grad.tolist() == pytest.approx([-0.05, 0.0])


def test_what_is_compared_by_thought_leaves_both_actions_out() -> None:
    def row(ids: tuple[int, ...]) -> Row:
        return Row(
            input_ids=ids,
            decision_of=(-1, 0, 0),
            segment=(0, 1, 2),
            state_at=(0, 2),
            vision=(),
            allowed={},
        )

    pair = Pair(chosen=row((9, 1, 2)), rejected=row((9, 3, 2)), by_thought=True)
    assert [each.decision_of for each in pair.rows] == [(-1, 0, 0)] * 2
    assert [each.decision_of for each in pair.compared] == [(-1, 0, -1)] * 2
    whole = replace(pair, by_thought=False)
    assert whole.compared == whole.rows


def test_a_game_counts_by_its_weight_and_its_tokens() -> None:
    def row(tokens: int) -> Row:
        return Row(
            input_ids=(0,) * (tokens + 1),
            decision_of=(-1, *[0] * tokens),
            segment=(0, *[2] * tokens),
            state_at=(0, tokens),
            vision=(),
            allowed={},
        )

    loss = WeightedTokenLoss(episodes=[[row(2)], [row(1)]], weights=[1.0, 3.0])
    said = StepScores(
        thought_log_prob=torch.zeros(2),
        action_log_prob=torch.tensor([-3.0, -4.0]),
        entropy=torch.zeros(2),
        flow=None,
        token_log_prob=torch.tensor([-1.0, -2.0, -4.0]),
        token_decision=torch.tensor([0, 0, 1]),
    )
    # (1 * 1 + 1 * 2 + 3 * 4) / (1 + 1 + 3) = 3
    assert loss(said, slice(0, 2)).loss.item() == pytest.approx(3.0)
    assert loss.mass(slice(0, 2)) == 5.0


ACTIONS = ("left", "right")


@pytest.fixture(scope="module")
def policy() -> VLMPolicy:
    """The pocket model saying actions alone, with an adapter that does something."""
    torch.manual_seed(0)
    settings = PolicySettings(
        rank=2, actions="constrained", thought=False, flow_head=False, max_reply_tokens=8
    )
    policy = VLMPolicy.from_folder(find_model("pocket"), settings)
    return policy


def disturb(policy: VLMPolicy) -> None:
    assert policy.adapters is not None
    with torch.no_grad():
        for parameter in policy.adapters.trainable():
            parameter.add_(0.2 * torch.randn(parameter.shape))


def step(turns: int = 2) -> Step:
    rng = np.random.default_rng(0)
    seen = [
        Observation(
            image=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            task="Choose",
            text="",
            legal_actions=ACTIONS,
        )
        for _ in range(turns)
    ]
    said = [format_reply({}, None, "right")] * (turns - 1)
    return Step(
        observations=tuple(seen),
        replies=tuple(said),
        chosen=format_reply({}, None, "left"),
        truth={},
    )


def opponents_of(policy: VLMPolicy, alpha: float, history: int | None, rounds: int) -> Opponents:
    assert policy.adapters is not None
    found = Opponents(
        policy=policy,
        weights=policy.adapters,
        alpha=alpha,
        history=history,
        thought_weight=1.0,
        rows_per_pass=2,
    )
    for _ in range(rounds):
        disturb(policy)
        found.renew()
    return found


def log_prob(policy: VLMPolicy, rows: list[Row]) -> Tensor:
    with torch.no_grad():
        return policy.score(rows).action_log_prob.double()


def test_a_mixture_of_adapters_is_what_each_of_them_says(policy: VLMPolicy, tmp_path: Path) -> None:
    rows = [row_of(policy, step(), format_reply({}, None, action)) for action in ACTIONS]
    mixed = opponents_of(policy, alpha=0.3, history=2, rounds=3)
    assert policy.adapters is not None
    assert len(mixed.iterates) == 2
    now = log_prob(policy, rows)
    one, two = [], []
    for said, weights in zip((one, two), mixed.iterates, strict=True):
        with policy.adapters.speaking_as(weights):
            said.append(log_prob(policy, rows))
    with policy.adapters.speaking_as(None):
        base = log_prob(policy, rows)
    assert (one[0] - two[0]).abs().min() > 1e-3  # the iterates differ, so a mix-up shows
    torch.testing.assert_close(two[0], now)  # the newest one is the policy as it is
    torch.testing.assert_close(log_prob(policy, rows), now)  # which is itself again
    expected = 0.7 * ((one[0].exp() + two[0].exp()) / 2).log() + 0.3 * base
    torch.testing.assert_close(mixed.log_prob(rows), expected, atol=1e-5, rtol=0)
    mixed.alpha = 1.0  # DPO: the start policy, here the bare base
    torch.testing.assert_close(mixed.log_prob(rows), base, atol=1e-5, rtol=0)
    mixed.alpha, mixed.history = 0.0, 1  # SPIN: the newest iterate
    mixed.renew()
    torch.testing.assert_close(mixed.log_prob(rows), now, atol=1e-5, rtol=0)
    mixed.save(tmp_path)
    disturb(policy)
    mixed.renew()
    mixed.load(tmp_path)
    torch.testing.assert_close(mixed.log_prob(rows), now, atol=1e-5, rtol=0)


def test_a_reply_at_a_given_history_is_sampled_by_the_policy_there(policy: VLMPolicy) -> None:
    disturb(policy)
    rows = [row_of(policy, step(3), format_reply({}, None, action)) for action in ACTIONS]
    law = log_prob(policy, rows).exp()
    assert law.sum().item() == pytest.approx(1, abs=1e-5)
    assert 0.05 < law[0] < 0.95, "an even enough choice, or the share below shows nothing"
    steps, keys = [step(3)] * 60, [noise_key(0, 9, number) for number in range(60)]
    said = replies_at(policy, steps, keys, batch_size=30)
    words = [text for text, _ in said]
    share = sum("left" in text for text in words) / 60
    assert share == pytest.approx(law[0].item(), abs=4 * math.sqrt(0.25 / 60))
    # the tokens as sampled are those of the same words given
    assert {row.input_ids for _, row in said} == {row.input_ids for row in rows}
    torch.testing.assert_close(
        log_prob(policy, [said[0][1]])[0].exp(), law[0 if "left" in words[0] else 1]
    )


def test_candidates_are_weighed_by_the_reference_over_what_sampled_them(policy: VLMPolicy) -> None:
    mixed = opponents_of(policy, alpha=0.5, history=None, rounds=2)
    rows = [row_of(policy, step(1), format_reply({}, None, action)) for action in ACTIONS]
    start = mixed.log_prob(rows)
    mixed.alpha = 0.0
    sampled = mixed.log_prob(rows)
    mixed.alpha = 0.5
    torch.testing.assert_close(mixed.log_weight(rows), start - sampled, atol=1e-5, rtol=0)
    source = OpponentReplies(
        policy=policy, opponents=mixed, rejected_from="mixture", candidates=3, seed=0
    )
    pairs = source([step(1), step(2)], [5, 6])
    again = source([step(2)], [6])  # a draw is decided by the pair's number, not by its batch
    made = [pair for pair in (*pairs, *again) if not isinstance(pair, NoPair)]
    assert [each.num_decisions for pair in made for each in pair.rows] == [1] * 6
    assert made[1].rejected.input_ids == made[2].rejected.input_ids
