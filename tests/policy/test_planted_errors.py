"""Each of these faults, small and silent, parts the sampled log-probs from the scored ones.

`test_exactness` says that without them the two are at most 1e-4 nats apart; it plants those of a
decoding step, these are of prefill, cache and images.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Segment
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.past import Past
from gflowvlm.policy.vlm import VLMPolicy

Fault = Callable[[pytest.MonkeyPatch], None]


def play(policy: VLMPolicy, observe: Callable[..., Observation]) -> tuple[list[float], list[Row]]:
    """Sampled log-probs and rows of three games of one, two and three turns, a picture each."""
    opened = policy.session([EpisodeKey(7, slot) for slot in range(3)])
    said: dict[int, list[float]] = {slot: [] for slot in range(3)}
    for turn in range(3):
        seen = {slot: observe(slot, turn) for slot in range(turn, 3)}
        for slot, reply in opened.reply(seen).items():
            pairs = zip(reply.log_probs, reply.segment, strict=True)
            said[slot] += [value for value, kind in pairs if kind != Segment.CONTEXT]
    rows = [row for slot in range(3) for row in opened.rows(slot)]
    return [value for slot in range(3) for value in said[slot]], rows


def gap(policy: VLMPolicy, sampled: list[float], rows: list[Row]) -> float:
    with torch.no_grad():
        scored = policy.score(rows).token_log_prob
    return float((torch.tensor(sampled) - scored).abs().max())


def in_prefill(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Fault:
    """A fault in what a later turn's chunk is fed with: (ids, mask, start) -> (mask, start)."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        sound = Backbone.hidden

        def hidden(self: Backbone, ids: Tensor, mask: Tensor, start: Tensor, **rest: Any) -> Any:
            if rest.get("cache") is None or ids.shape[1] == 1 or mask.shape[1] == ids.shape[1]:
                return sound(self, ids, mask, start, **rest)
            shown, moved = change(ids, mask.clone(), start)
            output, following = sound(self, ids, shown, moved, **rest)
            real = mask[:, -ids.shape[1] :].sum(1)
            plain = self.family.positions == "plain"
            return output, start + real if plain else following - (moved - start)

        monkeypatch.setattr(Backbone, "hidden", hidden)

    return plant


def one_place_too_far(ids: Tensor, mask: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    return mask, start + 1


def an_old_column_hidden(ids: Tensor, mask: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    mask[:, mask.shape[1] - ids.shape[1] - 2] = 0
    return mask, start


def the_rows_of_a_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a game ends, the cache keeps the rows of another."""

    sound = Past.keep

    def confused(self: Past, rows: Sequence[int] | None = None) -> None:
        sound(self, None if rows is None else [row - 1 for row in rows])

    monkeypatch.setattr(Past, "keep", confused)


def a_column_lost_in_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is shifted by a column against its mask where its holes are closed."""

    sound = Past.keep

    def shifted(self: Past, rows: Sequence[int] | None = None) -> None:
        sound(self, rows)
        layers: Any = self.cache.layers
        for layer in layers[:1]:
            layer.keys = layer.keys.roll(1, 2)

    monkeypatch.setattr(Past, "keep", shifted)


FAULTS: dict[str, Fault] = {
    "a chunk one place too far": in_prefill(one_place_too_far),
    "an old column hidden from a chunk": in_prefill(an_old_column_hidden),
    "a neighbour's rows in the cache": the_rows_of_a_neighbour,
    "a column lost in the cache": a_column_lost_in_compaction,
}


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_error_turns_the_comparison_red(
    family: str,
    fault: str,
    observe: Callable[..., Observation],
    adapted: Callable[..., VLMPolicy],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    policy = adapted(request.getfixturevalue(family))
    assert gap(policy, *play(policy, observe)) <= 1e-4
    FAULTS[fault](monkeypatch)
    assert gap(policy, *play(policy, observe)) > 1e-2


@pytest.mark.parametrize("family", ["llava_folder", "qwen_folder"])
def test_two_pictures_that_change_places_are_seen(
    family: str,
    observe: Callable[..., Observation],
    adapted: Callable[..., VLMPolicy],
    request: pytest.FixtureRequest,
) -> None:
    policy = adapted(request.getfixturevalue(family))
    sampled, rows = play(policy, observe)
    first, second, *others = rows[-1].vision
    assert others
    swapped = [*rows[:-1], replace(rows[-1], vision=(second, first, *others))]
    assert gap(policy, sampled, rows) <= 1e-4
    assert gap(policy, sampled, swapped) > 1e-2


def test_a_word_that_was_not_open_is_seen(
    llava_folder: Path,
    observe: Callable[..., Observation],
    adapted: Callable[..., VLMPolicy],
) -> None:
    policy = adapted(llava_folder, actions="constrained", thought=False)
    sampled, rows = play(policy, observe)
    place = next(p for p, ids in rows[0].allowed.items() if len(ids) > 1)
    said = rows[0].input_ids[place]
    fewer = {**rows[0].allowed, place: (said,)}
    changed = [replace(rows[0], allowed=fewer), *rows[1:]]
    assert gap(policy, sampled, rows) <= 1e-4
    assert gap(policy, sampled, changed) > 1e-2
