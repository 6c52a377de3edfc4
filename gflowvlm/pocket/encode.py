"""Conversations as padded tensors for the pocket VLM's own pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gflowvlm.pocket.architecture import (
    ASSISTANT,
    BEGIN,
    CONTEXT,
    END,
    IMAGE,
    IMAGE_SIZE,
    PATCH_SIZE,
    USER,
    token_id,
)
from gflowvlm.pocket.talk import Conversation

IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One conversation as ids, with what is to be learned marked."""

    ids: list[int]  # [S]
    learned: list[
        bool
    ]  # [S]  True on the tokens of replies, end of turn included, but not on given ones
    starts: list[int]  # [turns]  first token of each turn
    images: list[np.ndarray]  # uint8 [H, W, 3], those of the turns that show one


def encode(conversation: Conversation, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """The ids the chat template and the processor would give, turn by turn."""
    texts: list[str] = []
    given: list[int] = []  # of each text, so many characters
    for turn in conversation:
        picture = "" if turn.image is None else IMAGE * IMAGE_TOKENS
        prompt = f"{USER}{picture}{turn.question}{END}{ASSISTANT}"
        texts += [prompt, f"{turn.reply}{END}"]
        given += [len(prompt), len(turn.given)]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    ids, learned, starts = [token_id(tokenizer, BEGIN)], [False], []
    parts = zip(encoded.input_ids, encoded.offset_mapping, given, strict=True)
    for number, (new, offsets, known) in enumerate(parts):
        if number % 2 == 0:
            starts.append(len(ids))
        ids += new
        learned += [end > known for _, end in offsets]
    images = [turn.image for turn in conversation if turn.image is not None]
    return Encoded(ids=ids, learned=learned, starts=starts, images=images)


def positions(row: Encoded, rng: Generator | None) -> list[int]:
    """Position ids with random leaps between turns, so that short rows train long distances.

    Without `rng` they simply count.
    """
    if rng is None:
        return list(range(len(row.ids)))
    leaps = np.zeros(len(row.ids), dtype=np.int64)
    room = CONTEXT - len(row.ids)
    if rng.random() < 0.5 and len(row.starts) > 1:
        total = int(rng.integers(0, room // 2))
        for start in row.starts[1:]:
            leaps[start] = int(rng.exponential(total / len(row.starts)))
    offset = int(rng.integers(0, max(1, room - int(leaps.sum()))))
    return (np.arange(len(row.ids)) + offset + leaps.cumsum()).clip(max=CONTEXT - 1).tolist()


def to_pixels(images: Sequence[np.ndarray]) -> Tensor:
    """[images, 3, H, W] float32, white 0 and black -2, as the processor gives it."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().div_(255).sub_(1).div_(0.5)


def collate(rows: Sequence[Encoded], pad_id: int, rng: Generator | None) -> dict[str, Tensor]:
    """Right-padded input_ids, position_ids, learned [N, S]; pixel_values if any."""
    longest = max(len(row.ids) for row in rows)

    def pad(values: list, fill: int | bool) -> list:
        return values + [fill] * (longest - len(values))

    batch = {
        "input_ids": torch.tensor([pad(row.ids, pad_id) for row in rows]),
        "position_ids": torch.tensor([pad(positions(row, rng), 0) for row in rows]),
        "learned": torch.tensor([pad(row.learned, False) for row in rows]),
    }
    if images := [image for row in rows for image in row.images]:
        batch["pixel_values"] = to_pixels(images)
    return batch
