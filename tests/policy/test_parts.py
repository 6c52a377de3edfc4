"""Noise, inverse distribution, trie, heads, vision tensors, character offsets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gflowvlm.errors import UserError
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.families import Family, merge_vision
from gflowvlm.policy.heads import FlowHead, ValueHead, load_heads, save_heads
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.policy.noise import uniforms
from gflowvlm.policy.sampling import inverse_cdf
from gflowvlm.policy.trie import TokenTrie
from gflowvlm.policy.vlm import VLMPolicy

MakePolicy = Callable[..., VLMPolicy]
NEVER = float("-inf")


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    key = EpisodeKey(3, 4)
    assert np.array_equal(uniforms(key, 2, 50)[:7], uniforms(key, 2, 7))


def test_seed_episode_and_decision_each_change_the_noise() -> None:
    draws = [
        uniforms(EpisodeKey(seed, episode), decision, 2000)
        for seed, episode, decision in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert len({value for draw in draws for value in draw.tolist()}) == 4 * 2000


def test_the_inverse_distribution_picks_the_interval_of_the_uniform() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]]))
    # cumulative .25 .25 .75 1 1: the index is the first whose sum exceeds the uniform
    points = [0.0, 0.2499, 0.25, 0.7499, 0.7501, 1 - 2**-53]
    chosen = inverse_cdf(logits.expand(6, -1), torch.tensor(points, dtype=torch.float64))
    assert chosen.tolist() == [0, 0, 2, 2, 3, 3]


def test_sampled_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([1.0, NEVER, 0.0, -1.0]).expand(100_000, -1)
    chosen = inverse_cdf(logits, torch.from_numpy(uniforms(EpisodeKey(0, 0), 0, 100_000)))
    frequency = chosen.bincount(minlength=4) / 100_000
    torch.testing.assert_close(frequency, logits[0].softmax(-1), atol=5e-3, rtol=0.0)


def test_a_trie_allows_what_continues_some_path() -> None:
    trie = TokenTrie.of([(1, 2, 9), (1, 2, 2, 9), (3, 9)])
    assert trie.allowed == (1, 3)
    assert trie.children[1].children[2].allowed == (2, 9)
    assert trie.depth == 4


def test_a_flow_head_answers_its_first_value_everywhere_and_stops_the_gradient() -> None:
    head = FlowHead(8, width=16)
    head.initialise(-3.5)
    hidden = torch.randn(2, 5, 8, dtype=torch.bfloat16, requires_grad=True)
    flow = head(hidden)
    assert flow.dtype == torch.float32
    assert flow.tolist() == [[-3.5] * 5] * 2
    flow.sum().backward()
    assert hidden.grad is None
    assert head.output.weight.grad is not None


def language_head() -> LanguageHead:
    layer = nn.Linear(3, 5)
    return LanguageHead(
        layer, [0], temperature=0.5, softcap=2.0, chunk=2, device=torch.device("cpu")
    )


def test_scores_in_chunks_are_the_plain_log_softmax() -> None:
    head = language_head()
    hidden, targets = torch.randn(5, 3), torch.tensor([1, 2, 4, 3, 4])
    allowed = [None, (2, 3), (4,), (1, 3, 4), None]
    log_prob, entropy, done = head.score(hidden, targets, allowed, [True] * len(allowed))
    assert done.isnan().all()  # this head has no DONE
    logits = 2.0 * torch.tanh(head.layer(hidden) / 2.0) / 0.5
    for row, ids in enumerate([(1, 2, 3, 4), (2, 3), (4,), (1, 3, 4), (1, 2, 3, 4)]):
        law = logits[row, list(ids)].log_softmax(-1)
        expected = law[ids.index(int(targets[row]))]
        torch.testing.assert_close(log_prob[row], expected)
        torch.testing.assert_close(entropy[row], -(law.exp() * law).sum())


def test_a_forbidden_target_has_log_prob_minus_infinity() -> None:
    head = language_head()
    log_prob, entropy, _ = head.score(torch.randn(1, 3), torch.tensor([0]), [None], [True])
    assert log_prob.item() == NEVER
    assert torch.isfinite(entropy).all()


def test_images_nested_in_a_batch_join_along_their_own_axis() -> None:
    parts = [
        {"pixel_values": torch.ones(1, 2, 3, 4, 4)},
        {},
        {"pixel_values": torch.ones(1, 1, 3, 2, 6)},
    ]
    merged = merge_vision(Family(image_axis=1), parts)
    assert merged["pixel_values"].shape == (1, 3, 3, 4, 6)
    assert merged["pixel_values"].sum() == 2 * 3 * 16 + 3 * 12


def test_images_cut_into_tiles_are_padded_to_the_most_tiles() -> None:
    parts = [
        {"pixel_values": torch.ones(1, 2, 3, 4, 4), "image_sizes": torch.ones(1, 2)},
        {"pixel_values": torch.ones(1, 5, 3, 4, 4), "image_sizes": torch.ones(1, 2)},
    ]
    merged = merge_vision(Family(tiles=True), parts)
    assert merged["pixel_values"].shape == (2, 5, 3, 4, 4)
    assert merged["image_sizes"].shape == (2, 2)


def test_a_straddling_token_goes_by_its_first_character(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    vocabulary = adapted(llava_folder).chat.vocabulary
    text = '{"a": "\u00e9"action"'
    ids = vocabulary.encode(text)
    tokens = vocabulary.tokenizer.convert_ids_to_tokens(list(ids))
    assert tokens[-1] == 'action"'  # merged words of the test's tokenizer
    assert vocabulary.first_token_at(ids, text, text.index("action")) == len(ids) - 1
    assert vocabulary.first_token_at(ids, text, text.index("action") + 1) == len(ids)
    # the two bytes of one character both begin at that character
    place = text.index("\u00e9")
    starts = [vocabulary.start_of(ids, text, index) for index in range(len(ids))]
    assert starts.count(place) == 2


def test_heads_share_a_file_and_a_missing_one_is_named(tmp_path: Path) -> None:
    flow, value = FlowHead(8, width=16), ValueHead(8, width=16)
    flow.initialise(-3.5)
    value.initialise(2.0)
    save_heads(tmp_path, flow=flow, value=value)
    other, another = FlowHead(8, width=16), ValueHead(8, width=16)
    load_heads(tmp_path, flow=other, value=another)
    hidden = torch.randn(3, 8)
    assert torch.equal(other(hidden), flow(hidden))
    assert torch.equal(another(hidden), value(hidden))
    (tmp_path / "flow").mkdir()
    save_heads(tmp_path / "flow", flow=flow, value=None)
    with pytest.raises(UserError, match="holds no value head"):
        load_heads(tmp_path / "flow", flow=None, value=another)
    with pytest.raises(UserError, match=r"of shape \[16, 8\], expected \[4, 8\]"):
        load_heads(tmp_path, flow=None, value=ValueHead(8, width=4))
