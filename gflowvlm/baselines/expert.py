"""Games of an environment's expert as conversations, stored the way TRL reads vision data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
from datasets import Dataset, Features, Image, List, Value
from numpy.typing import NDArray
from PIL import Image as PillowImage

from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.prompting.messages import turns_of
from gflowvlm.prompting.reply import format_reply
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
        "episode": Value("int64"),
    }
)
"""TRL's conversational vision format; `source` says which part of the loss applies, and the
conversations of one game share their `episode`."""

EXPERT = "expert"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One turn of a conversation that is to be imitated."""

    image: NDArray[np.uint8]  # [H, W, 3]
    text: str  # what the user says beside the image; may be empty
    reply: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One row of the data set: what the model reads and is to say."""

    source: str  # EXPERT, or the name of a general skill
    episode: int  # a game in the layouts `rewritten` and `none` is a conversation per decision
    exchanges: Sequence[Exchange]


def expert_games(
    make: Callable[[], gymnasium.Env[Any, Any]],
    *,
    seeds: Iterable[int],
    mistakes: float,
    layout: Layout = "transcript",
    check: Callable[[dict[str, Any]], None] = lambda info: None,
) -> Iterator[list[Exchange]]:
    """The exchanges of one game a seed: the expert errs, in thought and action, by `mistakes`.

    Args:
        make: builds the environment; it must offer `expert`.
        seeds: start seeds.
        mistakes: share of moves replaced by a wrong one.
        layout: how the history enters the text of an exchange.
        check: called with every `info` shown; raises if it may not be trained on.

    Raises:
        UserError: the environment has no expert.
    """
    environment = make()
    player = cast(Expert, environment.unwrapped)
    if not hasattr(player, "expert"):
        raise UserError(
            f"{type(player).__name__} has no expert(), expected one for supervised fine-tuning: "
            "add the method, or train from your own dataset"
        )
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
        yield [
            Exchange(image=o.image, text=turn.text, reply=reply)
            for o, turn, reply in zip(shown, turns_of(layout, shown, replies), replies, strict=True)
        ]
    environment.close()


def conversations_of(
    game: Sequence[Exchange], layout: Layout, *, episode: int
) -> list[Conversation]:
    """A game as the model reads it: one conversation, or one for each decision."""
    parts = [game] if layout == "transcript" else [[exchange] for exchange in game]
    return [Conversation(source=EXPERT, episode=episode, exchanges=part) for part in parts]


def to_dataset(conversations: Iterable[Conversation]) -> Dataset:
    """Conversations as rows of `messages` and `images`."""
    rows = []
    for conversation in conversations:
        messages = []
        for exchange in conversation.exchanges:
            content = [{"type": "image", "text": None}]
            if exchange.text:
                content.append({"type": "text", "text": exchange.text})
            messages.append({"role": "user", "content": content})
            reply = [{"type": "text", "text": exchange.reply}]
            messages.append({"role": "assistant", "content": reply})
        rows.append(
            {
                "messages": messages,
                "images": [PillowImage.fromarray(each.image) for each in conversation.exchanges],
                "source": conversation.source,
                "episode": conversation.episode,
            }
        )
    return Dataset.from_list(rows, features=FEATURES)


def from_dataset(dataset: Dataset) -> Iterator[Conversation]:
    """The inverse of `to_dataset`; each user message carries exactly one image.

    Without `episode` every row is an episode of its own, without `source` an expert's.

    Raises:
        UserError: a row is not a sequence of image questions and text answers.
    """
    for number, row in enumerate(cast(Iterable[dict[str, Any]], dataset)):
        messages, images = row["messages"], row["images"]
        asked, answered = messages[::2], messages[1::2]
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] * len(images):
            raise UserError(
                f"row {number}: found roles {roles} for {len(images)} images, expected user and "
                "assistant in turn with one image for each user message"
            )
        yield Conversation(
            source=row.get("source") or EXPERT,
            episode=row.get("episode", number),
            exchanges=[
                Exchange(
                    image=np.asarray(image.convert("RGB"), dtype=np.uint8),
                    text=_text_of(question),
                    reply=_text_of(answer),
                )
                for image, question, answer in zip(images, asked, answered, strict=True)
            ],
        )


def _text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")
