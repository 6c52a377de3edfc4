"""Skills of words alone: to answer a thought, to copy, to choose out of a list."""

from collections.abc import Mapping
from dataclasses import replace

from gflowvlm.pocket import pictures
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.seeing import number_of
from gflowvlm.pocket.talk import (
    Conversation,
    Turn,
    aside,
    free_choice,
    last_key_of,
    pick,
    shuffled,
    thoughtful,
)
from gflowvlm.pocket.words import LABELS, OBJECTS, OPPOSITES, SIGNS, SIZES, WORDS
from gflowvlm.prompting.wording import ask_for_json, write_json


def _answer_after_thought(
    pen: Pen, turns: int, task: str, choices: tuple[str, ...], answers: Mapping[str, str]
) -> Conversation:
    """No picture: every turn states a thought, which the reply repeats before its answer."""
    rng = pen.rng
    last_key = last_key_of(rng)
    keys = ("thoughts", last_key)
    question = ask_for_json(
        task=task + aside(rng), text="", keys=keys, choices=shuffled(rng, choices)
    )
    conversation = []
    for turn in range(turns):
        thought = pick(rng, tuple(answers))[0]
        text = f"{question}\n{thought}." if turn == 0 else f"{thought}."
        reply, given = thoughtful(pen, {}, last_key, thought, answers)
        conversation.append(Turn(None, text, reply, "answer", given))
    return conversation


def say_size(pen: Pen, turns: int) -> Conversation:
    """Say in other words that something is smaller or larger."""
    rng = pen.rng
    label = pick(rng, LABELS)[0]
    smaller, larger = SIZES[rng.integers(len(SIZES))]
    answers = {f"{label} is smaller": smaller, f"{label} is larger": larger}
    return _answer_after_thought(pen, turns, f"Compare {label}.", (smaller, larger), answers)


def say_opposite(pen: Pen, turns: int) -> Conversation:
    """Say the opposite of a word."""
    rng = pen.rng
    pairs = [OPPOSITES[i] for i in rng.choice(len(OPPOSITES), int(rng.integers(1, 4)), False)]
    answers = dict(pairs) | {second: first for first, second in pairs}
    return _answer_after_thought(pen, turns, "Say the opposite.", tuple(answers), answers)


def name_sign(pen: Pen, turns: int) -> Conversation:
    """Write the sign that is named."""
    names = pick(pen.rng, tuple(SIGNS), int(pen.rng.integers(2, 6)))
    answers = {name: SIGNS[name] for name in names}
    return _answer_after_thought(pen, turns, "Write the sign.", tuple(answers.values()), answers)


def _copy_one(pen: Pen, choices: tuple[str, ...], last_key: str) -> Turn:
    """A question that lists `choices`, and one of them as the answer."""
    rng = pen.rng
    number = int(rng.integers(len(choices)))
    dictated = rng.random() < 0.6
    ordinals = ("first", "second", "third", "fourth")
    wish = f"Take the {ordinals[number]}." if dictated else "Take any."
    question = ask_for_json(task=wish, text="", keys=("thoughts", last_key), choices=choices)
    thought = f"the {ordinals[number]}" if dictated else "any"
    fields = {"thoughts": thought, last_key: choices[number]}
    image = pictures.written(str(number_of(rng)), pen)
    return Turn(image, question, write_json(fields), "copy" if dictated else "copy_free")


def copy_phrase(pen: Pen, turns: int) -> Conversation:
    """Repeat one of the phrases listed: the one asked for, or any where none is asked for."""
    last_key = last_key_of(pen.rng)
    return [_copy_one(pen, free_choice(pen.rng), last_key) for _ in range(turns)]


def choose(pen: Pen, turns: int) -> Conversation:
    """Repeat a phrase out of a list, with no picture in the way."""
    return [replace(turn, image=None) for turn in copy_phrase(pen, turns)]


def repeat(pen: Pen, turns: int) -> Conversation:
    """Say some words and numbers again: the quickest way to learn to copy."""
    rng = pen.rng
    conversation = []
    for _ in range(turns):
        words = [
            pick(rng, (*WORDS, *LABELS, *OBJECTS))[0] if rng.random() < 0.7 else str(number_of(rng))
            for _ in range(rng.integers(2, 7))
        ]
        text = " ".join(words)
        conversation.append(Turn(None, f"Repeat: {text}", text, "repeat"))
    return conversation
