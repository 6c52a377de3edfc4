"""The log-prob of a sampled token is the log-prob it is scored with."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gflowvlm.episode import Observation
from gflowvlm.policy import alike, selfcheck
from gflowvlm.policy.alike import FILLED, WORTH, of_like_length
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.past import Past
from gflowvlm.policy.vlm import VLMPolicy
from tests.policy.playing import Observe, largest_gap, play

MakePolicy = Callable[..., VLMPolicy]

MODES: list[dict[str, Any]] = [
    {"actions": "free"},
    {"actions": "free", "temperature": 0.7},
    {"actions": "constrained", "thought": False, "temperature": 1.3},
    {"actions": "constrained", "temperature": 1.3, "max_reply_tokens": 60},
    {"layout": "rewritten"},
    {"layout": "rewritten", "actions": "constrained", "thought": False},
    {"layout": "none"},
]


@pytest.mark.filterwarnings("error:.past_key_values. is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_sampled_log_probs_are_the_scored_ones(
    family: str,
    mode: dict[str, Any],
    observe: Observe,
    adapted: MakePolicy,
    request: pytest.FixtureRequest,
) -> None:
    policy = adapted(request.getfixturevalue(family), **mode)
    assert largest_gap(policy, play(policy, observe)) <= 1e-4


def broken_mask(
    ids: Tensor, mask: Tensor, start: Tensor, arguments: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    if ids.shape[1] == 1 and arguments.get("cache"):
        mask = mask.clone()
        mask[:, -3] = 0  # one real column is hidden while decoding
    return mask, start


def broken_position(
    ids: Tensor, mask: Tensor, start: Tensor, arguments: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    return mask, start + int(ids.shape[1] == 1)  # decoded tokens stand one place too far


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
@pytest.mark.parametrize("fault", [broken_mask, broken_position])
@pytest.mark.parametrize("layout", ["transcript", "rewritten"])
def test_an_error_of_one_column_is_seen(
    family: str,
    layout: str,
    fault: Callable[..., tuple[Tensor, Tensor]],
    observe: Observe,
    adapted: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    policy = adapted(request.getfixturevalue(family), layout=layout)
    sound = Backbone.hidden

    def hidden(self: Backbone, ids: Tensor, mask: Tensor, start: Tensor, **rest: Any):
        shown, moved = fault(ids, mask, start, rest)
        output, following = sound(self, ids, shown, moved, **rest)
        return output, following - (moved - start)

    monkeypatch.setattr(Backbone, "hidden", hidden)
    assert largest_gap(policy, play(policy, observe)) > 1e-2


def test_the_batch_around_an_episode_does_not_change_its_tokens(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    _, together = play(policy, observe)
    _, alone = play(policy, observe, slots=(2,))
    _, reversed_order = play(policy, observe, slots=(3, 2))
    assert alone[0].input_ids == together[2].input_ids == reversed_order[1].input_ids


def test_another_episode_number_changes_the_tokens(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    seen = {0: observe(0, 0), 1: observe(0, 0), 2: observe(0, 0)}
    opened = policy.session([EpisodeKey(7, 0), EpisodeKey(7, 0), EpisodeKey(7, 1)])
    said = opened.reply(seen)
    assert said[0].token_ids == said[1].token_ids != said[2].token_ids


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
def test_a_padded_batch_is_scored_as_its_rows_alone(
    family: str, observe: Observe, adapted: MakePolicy, request: pytest.FixtureRequest
) -> None:
    policy = adapted(request.getfixturevalue(family))
    _, rows = play(policy, observe)
    with torch.no_grad():
        together = policy.score(rows)
        alone = [policy.score([row]) for row in rows]
    for name in ("thought_log_prob", "action_log_prob", "entropy", "token_log_prob", "flow"):
        apart = torch.cat([getattr(scores, name) for scores in alone])
        torch.testing.assert_close(getattr(together, name), apart, atol=1e-4, rtol=1e-5)
    assert together.flow is not None
    assert len(together.flow) == sum(row.num_decisions + 1 for row in rows)


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_like_length_go_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "WORTH", 1)
    draw = random.Random(seed)
    lengths = [draw.randint(1, 300) for _ in range(draw.randint(0, 40))]
    groups = of_like_length(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group, shorter in itertools.pairwise(groups):
        assert min(lengths[i] for i in group) >= FILLED * lengths[group[0]]
        assert lengths[shorter[0]] < FILLED * lengths[group[0]]


def test_a_pass_of_its_own_must_be_worth_it() -> None:
    assert of_like_length([WORTH, 1]) == [[0, 1]]
    assert of_like_length([1, WORTH + 1]) == [[1], [0]]
    assert of_like_length([WORTH, 1, 1]) == [[0], [1, 2]]


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
def test_games_of_uneven_turns_are_fed_apart_and_score_as_sampled(
    family: str,
    observe: Observe,
    adapted: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    fed: list[int] = []
    sound = Backbone.feed

    def feed(self: Backbone, new: Sequence[Sequence[int]], past: Past, **rest: Any) -> Tensor:
        fed.append(len(new))
        return sound(self, new, past, **rest)

    def uneven(slot: int, turn: int) -> Observation:
        words = "and so on " * (40 if slot % 2 == turn % 2 else 0)
        return replace(observe(slot, turn), text=words)

    monkeypatch.setattr(Backbone, "feed", feed)
    monkeypatch.setattr(alike, "WORTH", 1)
    policy = adapted(request.getfixturevalue(family))
    assert largest_gap(policy, play(policy, uneven)) <= 1e-4
    assert fed == [2, 2, 2, 1, 1, 1, 1]  # two lengths a turn, the longer first; then one game


def test_sums_over_decisions_are_sums_over_their_tokens(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    _, rows = play(policy, observe)
    scores = policy.score(rows)
    both = (scores.thought_log_prob + scores.action_log_prob).detach()
    # slots 0..3 leave after 1, 2, 3 and 4 replies
    assert len(both) == 1 + 2 + 3 + 4
    for decision, total in enumerate(both):
        tokens = scores.token_log_prob[scores.token_decision == decision]
        assert tokens.sum().item() == pytest.approx(total.item(), abs=1e-4)


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
def test_the_self_check_finds_no_gap(
    family: str, adapted: MakePolicy, request: pytest.FixtureRequest
) -> None:
    policy = adapted(request.getfixturevalue(family), temperature=0.8)
    gap, row = selfcheck.rescoring_gap(policy)
    assert gap <= 1e-4
    assert selfcheck.forward_gap(row, policy.backbone, policy.language) <= 1e-4


def test_the_self_check_sees_padding_that_leaks_to_the_left(
    llava_folder: Path, adapted: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, hidden = adapted(llava_folder), Backbone.hidden
    _, row = selfcheck.rescoring_gap(policy)
    assert selfcheck.forward_gap(row, policy.backbone, policy.language) < 1e-4

    def leaking(self: Backbone, ids: Tensor, mask: Tensor, start: Tensor, **options: Any) -> Any:
        states, following = hidden(self, ids, mask, start, **options)
        padding = ids.shape[1] - len(row.input_ids)
        return states + padding * states.flip(-1), following

    monkeypatch.setattr(Backbone, "hidden", leaking)
    assert selfcheck.forward_gap(row, policy.backbone, policy.language) > 0.01


def test_gradients_with_checkpointing_are_those_without(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    gradients = []
    for checkpointing in (False, True):
        policy = adapted(llava_folder, gradient_checkpointing=checkpointing, score_chunk=7)
        _, rows = play(policy, observe, slots=(0, 1))
        policy.score(rows).token_log_prob.sum().backward()
        gradients.append([p.grad for p in policy.parameter_groups()["adapter"]])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None
        torch.testing.assert_close(plain, checkpointed, atol=1e-3, rtol=1e-3)
