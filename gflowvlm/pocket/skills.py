"""Conversations that teach general skills: reading, comparing, adding, copying, replying in JSON.

Nothing here is a policy: `+` and `-` are the answer only where their names are asked for, never
where numbers are compared, and a choice that the question does not dictate is uniform. The format
is the one any environment gets from `prompting`, with many other words in it.

Where a reply has a thought, the answer follows from the thought alone: what fine-tuning builds on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from gflowvlm.pocket import pictures
from gflowvlm.pocket.pictures import Pen, Pixels
from gflowvlm.pocket.words import (
    ASIDES,
    LABELS,
    NOUNS,
    OBJECTS,
    OPPOSITES,
    PLACES,
    SIGNS,
    SIZES,
    VERBS,
    WORDS,
)
from gflowvlm.prompting.wording import ask_for_json, write_json


@dataclass(frozen=True)
class Turn:
    """One question, about a picture or none, and its answer."""

    image: Pixels | None  # uint8 [64, 64, 3]
    question: str  # empty after the first turn: the first question stays in force
    reply: str
    skill: str


Conversation = list[Turn]
Skill = Callable[[Pen, int], Conversation]


def _pick(rng: Generator, words: tuple[str, ...], count: int = 1) -> tuple[str, ...]:
    return tuple(words[i] for i in rng.choice(len(words), count, replace=False))


def _number(rng: Generator) -> int:
    """0-99, small numbers more often than a uniform draw would give them."""
    return int(rng.integers(0, 10)) if rng.random() < 0.25 else int(rng.integers(0, 100))


def _pair(rng: Generator) -> tuple[int, int]:
    """Two different numbers; close ones, which are the hard ones to compare, half of the time."""
    first = _number(rng)
    while True:
        gap = int(rng.integers(-12, 13)) if rng.random() < 0.5 else _number(rng) - first
        if gap != 0 and 0 <= first + gap <= 99:
            return first, first + gap


def _ranks(rng: Generator) -> tuple[str, ...]:
    """One to four ranks."""
    return tuple(pictures.RANKS[i] for i in rng.integers(0, 13, int(rng.integers(1, 5))))


def _aside(rng: Generator) -> str:
    """A sentence or two that change nothing, so that unknown wording is borne."""
    if rng.random() < 0.4:
        return ""
    count = int(rng.integers(1, 3))
    asides = [ASIDES[i].format(rng.integers(1, 121)) for i in rng.integers(0, len(ASIDES), count)]
    return " " + " ".join(asides)


def _say_smaller(subject: str, first: int, second: int) -> str:
    return f"{subject} is {'smaller' if first < second else 'larger'}"


def _free_choice(rng: Generator) -> tuple[str, ...]:
    """Legal answers of no environment in particular: words, or phrases such as `open box 2`."""
    count = int(rng.integers(2, 5))
    if rng.random() < 0.6:
        return _pick(rng, WORDS, count)
    phrases: dict[str, None] = {}
    while len(phrases) < count:
        verb, thing, place = (_pick(rng, words)[0] for words in (VERBS, OBJECTS, PLACES))
        phrase = f"{verb} {thing} {rng.integers(1, 10)}"
        if rng.random() < 0.3:
            phrase += f" from {place} {rng.integers(1, 10)}"
        phrases[phrase] = None
    return tuple(phrases)


def read_numbers(pen: Pen, turns: int) -> Conversation:
    """Read one or two labelled numbers, in reading order."""
    rng = pen.rng
    labels = _pick(rng, LABELS, int(rng.integers(1, 3)))
    noun = _pick(rng, NOUNS)[0]
    keys = tuple(f"{label}{noun}" for label in labels)
    question = ask_for_json(task="Read the picture." + _aside(rng), text="", keys=keys)
    conversation = []
    for turn in range(turns):
        numbers = tuple(_number(rng) for _ in labels)
        image = pictures.labelled_numbers(labels, numbers, pen)
        reply = write_json(dict(zip(keys, map(str, numbers), strict=True)))
        conversation.append(Turn(image, question if turn == 0 else "", reply, "read"))
    return conversation


def _last_key(rng: Generator) -> str:
    return ("action", "answer")[int(rng.random() < 0.3)]


def _shuffled(rng: Generator, words: Sequence[str]) -> tuple[str, ...]:
    return tuple(words[i] for i in rng.permutation(len(words)))


def compare(pen: Pen, turns: int) -> Conversation:
    """Read two numbers, say how the first one compares, then say it in one of two given words."""
    rng = pen.rng
    labels = _pick(rng, LABELS, 2)
    noun = _pick(rng, NOUNS)[0]
    keys = (*(f"{label}{noun}" for label in labels), "thoughts", _last_key(rng))
    sizes = SIZES[rng.integers(len(SIZES))]
    task = f"Compare {labels[0]} with {labels[1]}."
    task = (task + _aside(rng)) if rng.random() < 0.5 else (_aside(rng) + " " + task).strip()
    question = ask_for_json(task=task, text="", keys=keys, choices=_shuffled(rng, sizes))
    conversation = []
    for turn in range(turns):
        first, second = _pair(rng)
        image = pictures.labelled_numbers(labels, (first, second), pen)
        answer = sizes[0 if first < second else 1]
        said = (str(first), str(second), _say_smaller(labels[0], first, second), answer)
        reply = write_json(dict(zip(keys, said, strict=True)))
        conversation.append(Turn(image, question if turn == 0 else "", reply, "compare"))
    return conversation


def _answer_after_thought(
    pen: Pen, turns: int, task: str, choices: tuple[str, ...], answers: Mapping[str, str]
) -> Conversation:
    """No picture: every turn states a thought, which the reply repeats before its answer."""
    rng = pen.rng
    keys = ("thoughts", _last_key(rng))
    question = ask_for_json(
        task=task + _aside(rng), text="", keys=keys, choices=_shuffled(rng, choices)
    )
    conversation = []
    for turn in range(turns):
        thought = _pick(rng, tuple(answers))[0]
        text = f"{question}\n{thought}." if turn == 0 else f"{thought}."
        reply = write_json(dict(zip(keys, (thought, answers[thought]), strict=True)))
        conversation.append(Turn(None, text, reply, "follow"))
    return conversation


def say_size(pen: Pen, turns: int) -> Conversation:
    """Say in other words that something is smaller or larger."""
    rng = pen.rng
    label = _pick(rng, LABELS)[0]
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
    names = _pick(pen.rng, tuple(SIGNS), int(pen.rng.integers(2, 6)))
    answers = {name: SIGNS[name] for name in names}
    return _answer_after_thought(pen, turns, "Write the sign.", tuple(answers.values()), answers)


def add(pen: Pen, turns: int) -> Conversation:
    """Work out a small sum that is written on the picture."""
    rng = pen.rng
    question = ask_for_json(
        task="Work out the sum." + _aside(rng), text="", keys=("thoughts", "answer")
    )
    conversation = []
    for turn in range(turns):
        first, second = (int(n) for n in rng.integers(0, 10, 2))
        image = pictures.written(f"{first} + {second}", pen)
        total = str(first + second)
        fields = {"thoughts": f"{first} + {second} = {total}", "answer": total}
        conversation.append(Turn(image, question if turn == 0 else "", write_json(fields), "add"))
    return conversation


def read_cards(pen: Pen, turns: int) -> Conversation:
    """Name the ranks of one to four cards, line by line."""
    rng = pen.rng
    question = ask_for_json(task="Name the cards." + _aside(rng), text="", keys=("cards",))
    conversation = []
    for turn in range(turns):
        ranks = _ranks(rng)
        reply = write_json({"cards": " ".join(ranks)})
        conversation.append(
            Turn(pictures.cards(ranks, pen), question if turn == 0 else "", reply, "cards")
        )
    return conversation


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
    image = pictures.written(str(_number(rng)), pen)
    return Turn(image, question, write_json(fields), "copy" if dictated else "copy_free")


def copy_phrase(pen: Pen, turns: int) -> Conversation:
    """Repeat one of the phrases listed: the one asked for, or any where none is asked for."""
    last_key = _last_key(pen.rng)
    return [_copy_one(pen, _free_choice(pen.rng), last_key) for _ in range(turns)]


def caption(pen: Pen, turns: int) -> Conversation:
    """Say what is written, in as few tokens as can be: the quickest way to learn to see."""
    rng = pen.rng
    labels = _pick(rng, LABELS, 2)
    conversation = []
    for turn in range(turns):
        kind = rng.random()
        if kind < 0.65:
            numbers = (_number(rng), _number(rng))
            image = pictures.labelled_numbers(labels, numbers, pen)
            reply = f"{numbers[0]} {numbers[1]}"
        elif kind < 0.8:
            first, second = (int(n) for n in rng.integers(0, 10, 2))
            reply = f"{first} + {second}"
            image = pictures.written(reply, pen)
        else:
            ranks = _ranks(rng)
            image, reply = pictures.cards(ranks, pen), " ".join(ranks)
        conversation.append(Turn(image, "Read." if turn == 0 else "", reply, "caption"))
    return conversation


def repeat(pen: Pen, turns: int) -> Conversation:
    """Say some words and numbers again: the quickest way to learn to copy."""
    rng = pen.rng
    conversation = []
    for _ in range(turns):
        words = [
            _pick(rng, (*WORDS, *LABELS, *OBJECTS))[0] if rng.random() < 0.7 else str(_number(rng))
            for _ in range(rng.integers(2, 7))
        ]
        text = " ".join(words)
        conversation.append(Turn(None, f"Repeat: {text}", text, "repeat"))
    return conversation


def choose(pen: Pen, turns: int) -> Conversation:
    """Repeat a phrase out of a list, with no picture in the way."""
    return [replace(turn, image=None) for turn in copy_phrase(pen, turns)]


FIRST_WORDS: tuple[Skill, ...] = (
    caption,
    say_size,
    caption,
    name_sign,
    caption,
    say_opposite,
    caption,
    repeat,
)
"""What is learned before anything else, batch by batch: to see, to answer a thought, to copy."""


Shares = Mapping[Skill, tuple[float, int]]
"""How often each skill is drawn, and about how many tokens a turn of it takes."""

SKILLS: Shares = {
    read_numbers: (0.2, 36),
    compare: (0.42, 46),
    add: (0.07, 38),
    read_cards: (0.08, 28),
    copy_phrase: (0.08, 75),
    choose: (0.03, 59),
    caption: (0.04, 25),
    say_size: (0.03, 30),
    say_opposite: (0.02, 25),
    name_sign: (0.03, 25),
}


def converse(pen: Pen, turns: int, skills: Shares = SKILLS) -> Conversation:
    """A conversation of one skill, drawn by its share.

    It is about as long as `turns` turns of comparing, so that little of a batch is padding.
    """
    known = list(skills)
    shares = np.array([share for share, _ in skills.values()])
    skill = known[pen.rng.choice(len(known), p=shares / shares.sum())]
    return skill(pen, max(1, round(turns * skills[compare][1] / skills[skill][1])))
