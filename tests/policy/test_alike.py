"""What is the same is read once, and that changes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from gflowvlm.episode import Observation, Reply, Segment
from gflowvlm.policy.alike import distinct
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.messages import UserTurn
from gflowvlm.rollouts.sharing import ImageStore

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]

STARTS = (0, 0, 1, 0, 1)  # of five slots: two groups, interleaved
LAYOUTS = ["transcript", "news", "rewritten", "none"]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every batch that a model reads."""
    sizes: list[int] = []
    hidden = Backbone.hidden

    def counted(self: Backbone, ids: torch.Tensor, *args: Any, **options: Any) -> Any:
        sizes.append(len(ids))
        return hidden(self, ids, *args, **options)

    monkeypatch.setattr(Backbone, "hidden", counted)
    return sizes


def copy(image: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in image.items()}


def play(policy: VLMPolicy, observe: Observe, slots: range) -> tuple[list[list[Reply]], list[Any]]:
    """Three turns of some of the five slots, with the noise that each always gets."""
    session = policy.session([EpisodeKey(3, slot) for slot in slots])
    replies: list[list[Reply]] = [[] for _ in slots]
    for turn in range(3):
        seen = {place: observe(STARTS[slot], turn) for place, slot in enumerate(slots)}
        for place, reply in session.reply(seen).items():
            replies[place].append(reply)
    return replies, [session.rows(place) for place in range(len(slots))]


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_reads_its_first_picture_once_and_plays_as_each_would_alone(
    family: str,
    layout: str,
    observe: Observe,
    adapted: MakePolicy,
    batches: list[int],
    request: pytest.FixtureRequest,
) -> None:
    policy = adapted(request.getfixturevalue(family), layout=layout)
    together, _ = play(policy, observe, range(5))
    assert batches[:2] == [2, 5]  # both groups' prompts, then a token of each slot
    for slot in range(5):
        alone, _ = play(policy, observe, range(slot, slot + 1))
        assert [reply.text for reply in together[slot]] == [reply.text for reply in alone[0]]
        for one, other in zip(together[slot], alone[0], strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
def test_games_that_have_been_the_same_so_far_are_read_on_as_one(
    family: str,
    observe: Observe,
    adapted: MakePolicy,
    batches: list[int],
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue(family)
    policy = adapted(folder, actions="constrained", thought=False, temperature=1.3)
    replies, played = play(policy, observe, range(5))
    second = {(start, said[0].text) for start, said in zip(STARTS, replies, strict=True)}
    assert 2 < len(second) < 5
    assert len(second) in batches
    rows = [row for episode in played for row in episode]
    with torch.no_grad():
        scored = policy.score(rows).token_log_prob.tolist()
    sampled = [
        log_prob
        for reply in chain.from_iterable(replies)
        for log_prob, segment in zip(reply.log_probs, reply.segment, strict=True)
        if segment != Segment.CONTEXT
    ]
    assert sampled == pytest.approx(scored, abs=1e-4)


def test_equal_rows_are_scored_once_and_count_each(
    llava_folder: Path, observe: Observe, adapted: MakePolicy, batches: list[int]
) -> None:
    policy = adapted(llava_folder, actions="constrained", thought=False, layout="none")
    assert policy.flow_head is not None
    torch.nn.init.normal_(policy.flow_head.output.weight)  # a fresh one answers the same everywhere
    _, played = play(policy, observe, range(5))
    rows = [row for episode in played for row in episode]
    kinds = len({(row.input_ids, id(row.vision[0])) for row in rows})
    assert kinds < len(rows)

    def gradient() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        scores = policy.score(rows)
        assert scores.flow is not None
        policy.model.zero_grad()
        weights = torch.arange(1.0, len(rows) + 1)
        (scores.action_log_prob * weights).sum().backward()
        adapter = policy.parameter_groups()["adapter"]
        found = [p.grad.clone() for p in adapter if p.grad is not None]
        return scores.action_log_prob.detach(), scores.flow.detach(), found

    batches.clear()
    once = gradient()
    assert batches == [kinds]
    batches.clear()
    policy.score([ImageStore().row(row) for row in rows])  # as kept and replayed episodes are
    shared = ImageStore()
    policy.score([shared.row(row) for row in rows])
    assert batches == [len(rows), kinds]
    batches[:] = [kinds]
    rows = [replace(row, vision=tuple(copy(image) for image in row.vision)) for row in rows]
    each = gradient()
    assert batches == [kinds, len(rows)]
    torch.testing.assert_close(once[:2], each[:2], atol=1e-4, rtol=1e-4)
    for one, other in zip(once[2], each[2], strict=True):
        assert float((one - other).abs().max()) <= 1e-3 * float(other.abs().max())


def test_equal_turns_are_one_chunk_with_the_picture_that_was_shown(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    turns = [UserTurn(image=observe(slot, 0).image, text="look") for slot in STARTS]
    chunks = [policy.chat.opening(turn) for turn in turns]
    assert chunks[0] is chunks[1] is chunks[3]
    assert chunks[2] is chunks[4]
    processor = policy.processor.image_processor
    for turn, chunk in zip(turns, chunks, strict=True):
        expected = processor(turn.image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(chunk.vision["pixel_values"], expected)


def test_other_pictures_or_tokens_are_another_kind() -> None:
    image = {"pixel_values": torch.ones(1)}
    sequences = [([1, 2], [image]), ([1], [image]), ([1, 2], [copy(image)]), ([1, 2], [{**image}])]
    assert distinct(sequences) == ([0, 1, 2], [0, 1, 2, 0])
