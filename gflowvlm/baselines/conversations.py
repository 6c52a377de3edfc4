"""Conversations and preferences on disk, the way TRL reads vision data."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from datasets import Dataset, Features, Image, List, Value, load_from_disk
from numpy.typing import NDArray
from PIL import Image as PillowImage

from gflowvlm.errors import UserError
from gflowvlm.policy.expert import TaughtTurn

FEATURES = Features(
    {
        "messages": List(
            {
                "role": Value("string"),
                "content": List({"type": Value("string"), "text": Value("string")}),
            }
        ),
        "images": List(Image()),
        "source": Value("string"),
        "episode": Value("int64"),
    }
)
"""TRL's conversational vision format; `source` says which part of the loss applies, and the
conversations of one game share their `episode`."""

EXPERT = "expert"


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row of the data set: what the model reads and is to say."""

    source: str  # EXPERT, or the name of a general skill
    episode: int  # a game in the layouts `rewritten` and `none` is a conversation per decision
    turns: Sequence[TaughtTurn]


def to_dataset(conversations: Iterable[Conversation]) -> Dataset:
    """Conversations as rows of `messages` and `images`."""
    rows = []
    for conversation in conversations:
        messages = []
        for turn in conversation.turns:
            content = [] if turn.image is None else [{"type": "image", "text": None}]
            if turn.text:
                content.append({"type": "text", "text": turn.text})
            messages.append({"role": "user", "content": content})
            reply = [{"type": "text", "text": turn.reply}]
            messages.append({"role": "assistant", "content": reply})
        shown = [each.image for each in conversation.turns if each.image is not None]
        rows.append(
            {
                "messages": messages,
                "images": [PillowImage.fromarray(image) for image in shown],
                "source": conversation.source,
                "episode": conversation.episode,
            }
        )
    columns = {name: [row[name] for row in rows] for name in FEATURES}
    return Dataset.from_dict(columns, features=FEATURES)  # of no rows, too


def rows_of_episodes(dataset: Dataset) -> list[range]:
    """Which rows belong to each episode, in order; without `episode` each row is one of its own."""
    count = len(dataset)
    if "episode" not in dataset.column_names:
        return [range(number, number + 1) for number in range(count)]
    episode = dataset["episode"]
    starts = [n for n in range(count) if n == 0 or episode[n] != episode[n - 1]]
    return [range(*each) for each in itertools.pairwise([*starts, count])]


def from_dataset(dataset: Dataset, rows: range | None = None) -> Iterator[Conversation]:
    """The inverse of `to_dataset`; a user message carries at most one image.

    Without `episode` every row is an episode of its own, without `source` an expert's.

    Args:
        dataset: what `to_dataset` gives, or the like.
        rows: those wanted; None for all.

    Raises:
        UserError: a row is not a sequence of questions and text answers, or lacks an image.
    """
    wanted = range(len(dataset)) if rows is None else rows
    for number, row in zip(wanted, _rows(dataset, wanted), strict=True):
        yield Conversation(
            source=row.get("source") or EXPERT,
            episode=row.get("episode", number),
            turns=_turns(number, row["messages"], row["images"]),
        )


@dataclass(frozen=True, kw_only=True)
class StoredPair:
    """Two answers to one conversation; the preferred one is the reply of its last turn."""

    turns: Sequence[TaughtTurn]
    rejected: str


def read_pairs(folder: Path) -> list[StoredPair]:
    """Preference data in TRL's conversational vision format.

    Args:
        folder: written by `Dataset.save_to_disk`; columns `prompt`, `chosen` and `rejected` hold
            messages, `images` the pictures of `prompt` in order (none where it has none).

    Raises:
        UserError: no such data, a row without its picture, or one that prefers nothing.
    """
    columns = {"prompt", "chosen", "rejected", "images"}
    try:
        dataset = load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: found no stored data set, expected a folder written by "
            "Dataset.save_to_disk(): change objective.data"
        ) from error
    if not isinstance(dataset, Dataset) or not columns <= set(dataset.column_names) or not dataset:
        found = dataset.column_names if isinstance(dataset, Dataset) else f"splits {list(dataset)}"
        raise UserError(
            f"{folder}: found {found} with {len(dataset)} rows, expected one split with rows of "
            f"{', '.join(sorted(columns))}: change objective.data"
        )
    rows = _rows(dataset, range(len(dataset)))
    return [_pair(folder, number, row) for number, row in enumerate(rows)]


def _pair(folder: Path, number: int, row: dict[str, Any]) -> StoredPair:
    try:
        turns, other = (
            _turns(number, [*row["prompt"], *row[answer]], row["images"])
            for answer in ("chosen", "rejected")
        )
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    if turns[-1].reply == other[-1].reply:
        raise UserError(
            f"{folder}: row {number}: found a chosen answer equal to the rejected one, "
            f"{turns[-1].reply!r}, expected two that differ: leave the row out"
        )
    return StoredPair(turns=turns, rejected=other[-1].reply)


def _rows(dataset: Dataset, wanted: range) -> Iterator[dict[str, Any]]:
    """Rows with their pictures opened."""
    rows = iter(cast(Iterable[dict[str, Any]], dataset.select(wanted)))
    for number in wanted:
        try:
            yield next(rows)
        except OSError as error:
            raise UserError(
                f"row {number}: found a picture that cannot be opened ({error}), expected an image "
                "file's bytes: store it again, or leave the row out"
            ) from error


def _turns(
    number: int, messages: Sequence[dict[str, Any]], images: Sequence[PillowImage.Image]
) -> list[TaughtTurn]:
    asked, answered = messages[::2], messages[1::2]
    roles = [message["role"] for message in messages]
    counts = [_images_in(question) for question in asked]
    if (
        roles != ["user", "assistant"] * len(answered)
        or not answered
        or max(counts) > 1
        or sum(counts) != len(images)
    ):
        raise UserError(
            f"row {number}: found roles {roles} with {counts} images said and {len(images)} "
            "stored, expected user and assistant in turn, at most one image a user message"
        )
    stored = iter(images)
    return [
        TaughtTurn(
            image=_pixels(next(stored)) if count else None,
            text=_text_of(question),
            reply=_text_of(answer),
        )
        for count, question, answer in zip(counts, asked, answered, strict=True)
    ]


def _images_in(message: dict[str, Any]) -> int:
    return sum(part["type"] == "image" for part in _parts(message))


def _text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in _parts(message) if part["type"] == "text")


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a message's content, which may be a bare text."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _pixels(image: PillowImage.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
