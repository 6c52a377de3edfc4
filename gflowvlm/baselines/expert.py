"""Games of an environment's expert as conversations, stored the way TRL reads vision data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import gymnasium
import numpy as np
from datasets import Dataset, Features, Image, List, Value
from numpy.typing import NDArray
from PIL import Image as PillowImage

from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.prompting.messages import turns_of
from gflowvlm.prompting.reply import DONE_REPLY, format_reply
from gflowvlm.rollouts.environments import facts_of, observe
from gflowvlm_envs.contract import Expert

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
    }
)
"""TRL's conversational vision format; `source` says which part of the loss applies."""

EXPERT = "expert"
_DONE_STREAM = 13  # keeps the draws of DONE apart from the game's own


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One turn of a conversation that is to be imitated."""

    image: NDArray[np.uint8] | None  # [H, W, 3]
    text: str  # what the user says beside the image; may be empty
    reply: str


def expert_games(
    make: Callable[[], gymnasium.Env[Any, Any]],
    *,
    seeds: Iterable[int],
    mistakes: float,
    done_share: float = 0.0,
    done_at: Literal["goal", "prefix"] = "prefix",
    check: Callable[[dict[str, Any]], None] = lambda info: None,
) -> Iterator[list[Exchange]]:
    """One conversation a seed: the expert is wrong, in thought and action, by `mistakes`.

    Args:
        make: builds the environment; it must offer `expert`.
        seeds: start seeds.
        mistakes: share of moves replaced by a wrong one.
        done_share: share of the games that end with DONE.
        done_at: at which history it is said, a uniformly drawn one before the end, or the goal
            (then games that miss it end without).
        check: called with every `info` shown; raises if it may not be trained on.

    Raises:
        UserError: the environment has no expert.
    """
    environment = make()
    player = _player(environment)
    for seed in seeds:
        pixels, info = environment.reset(seed=seed)
        shown: list[Observation] = []
        replies: list[str] = []
        ended = False
        while not ended:
            check(info)
            shown.append(observe(pixels, info))
            move = player.expert(mistakes)
            action = shown[-1].legal_actions[move.action]
            replies.append(format_reply(facts_of(info), move.thought, action))
            pixels, _, terminated, truncated, info = environment.step(move.action)
            ended = terminated or truncated
        draw = np.random.default_rng([seed, _DONE_STREAM])
        if draw.random() < done_share:
            if done_at == "prefix":
                stop = int(draw.integers(len(shown)))
                shown, replies = shown[: stop + 1], [*replies[:stop], DONE_REPLY]
            elif info.get("success"):
                check(info)
                shown.append(observe(pixels, info))
                replies.append(DONE_REPLY)
        yield _exchanges(shown, replies)
    environment.close()


def _player(environment: gymnasium.Env[Any, Any]) -> Expert:
    player = environment.unwrapped
    if not hasattr(player, "expert"):
        raise UserError(
            f"{type(player).__name__} has no expert(), expected one for supervised fine-tuning: "
            "add the method, or train from your own dataset"
        )
    return cast(Expert, player)


def _exchanges(shown: Sequence[Observation], replies: Sequence[str]) -> list[Exchange]:
    return [
        Exchange(image=o.image, text=turn.text, reply=reply)
        for o, turn, reply in zip(shown, turns_of(shown), replies, strict=True)
    ]


def to_dataset(conversations: Iterable[tuple[str, Sequence[Exchange]]]) -> Dataset:
    """(source, exchanges) pairs as rows of `messages` and `images`."""
    rows = []
    for source, exchanges in conversations:
        messages = []
        for exchange in exchanges:
            content = [] if exchange.image is None else [{"type": "image", "text": None}]
            if exchange.text:
                content.append({"type": "text", "text": exchange.text})
            messages.append({"role": "user", "content": content})
            reply = [{"type": "text", "text": exchange.reply}]
            messages.append({"role": "assistant", "content": reply})
        shown = [exchange.image for exchange in exchanges if exchange.image is not None]
        images = [PillowImage.fromarray(image) for image in shown]
        rows.append({"messages": messages, "images": images, "source": source})
    return Dataset.from_list(rows, features=FEATURES)


def from_dataset(dataset: Dataset) -> Iterator[tuple[str, list[Exchange]]]:
    """The inverse of `to_dataset`; a user message carries at most one image.

    Raises:
        UserError: a row is not a sequence of questions and text answers, or lacks an image.
    """
    for number, row in enumerate(cast(Iterable[dict[str, Any]], dataset)):
        messages, images = row["messages"], row["images"]
        asked, answered = messages[::2], messages[1::2]
        roles = [message["role"] for message in messages]
        counts = [_images_in(question) for question in asked]
        if (
            roles != ["user", "assistant"] * len(answered)
            or max(counts, default=0) > 1
            or sum(counts) != len(images)
        ):
            raise UserError(
                f"row {number}: found roles {roles} with {counts} images said and {len(images)} "
                "stored, expected user and assistant in turn, at most one image a user message"
            )
        stored = iter(images)
        yield (
            row.get("source") or EXPERT,
            [
                Exchange(
                    image=_pixels(next(stored)) if count else None,
                    text=_text_of(question),
                    reply=_text_of(answer),
                )
                for count, question, answer in zip(counts, asked, answered, strict=True)
            ],
        )


def _images_in(message: dict[str, Any]) -> int:
    return sum(part["type"] == "image" for part in message["content"])


def _pixels(image: PillowImage.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")
