"""Skills about pictures: reading numbers, cards and sums, and comparing what was read."""

from numpy.random import Generator

from gflowvlm.pocket import pictures
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.talk import (
    Conversation,
    Turn,
    aside,
    last_key_of,
    pick,
    shuffled,
    thoughtful,
)
from gflowvlm.pocket.words import LABELS, NOUNS, SIZES
from gflowvlm.prompting.wording import ask_for_json, write_json


def number_of(rng: Generator) -> int:
    """0-99, small numbers more often than a uniform draw would give them."""
    return int(rng.integers(0, 10)) if rng.random() < 0.25 else int(rng.integers(0, 100))


def _pair(rng: Generator) -> tuple[int, int]:
    """Two different numbers; close ones, which are the hard ones to compare, half of the time."""
    first = number_of(rng)
    while True:
        gap = int(rng.integers(-12, 13)) if rng.random() < 0.5 else number_of(rng) - first
        if gap != 0 and 0 <= first + gap <= 99:
            return first, first + gap


def _ranks(rng: Generator) -> tuple[str, ...]:
    """One to four ranks."""
    return tuple(pictures.RANKS[i] for i in rng.integers(0, 13, int(rng.integers(1, 5))))


def read_numbers(pen: Pen, turns: int) -> Conversation:
    """Read one or two labelled numbers, in reading order."""
    rng = pen.rng
    labels = pick(rng, LABELS, int(rng.integers(1, 3)))
    noun = pick(rng, NOUNS)[0]
    keys = tuple(f"{label}{noun}" for label in labels)
    question = ask_for_json(task="Read the picture." + aside(rng), text="", keys=keys)
    conversation = []
    for turn in range(turns):
        numbers = tuple(number_of(rng) for _ in labels)
        image = pictures.labelled_numbers(labels, numbers, pen)
        reply = write_json(dict(zip(keys, map(str, numbers), strict=True)))
        conversation.append(Turn(image, question if turn == 0 else "", reply, "read"))
    return conversation


def compare(pen: Pen, turns: int) -> Conversation:
    """Read two numbers, say how the first one compares, then say it in one of two given words."""
    rng = pen.rng
    labels = pick(rng, LABELS, 2)
    noun = pick(rng, NOUNS)[0]
    numbered = tuple(f"{label}{noun}" for label in labels)
    last_key = last_key_of(rng)
    sizes = SIZES[rng.integers(len(SIZES))]
    task = f"Compare {labels[0]} with {labels[1]}."
    task = (task + aside(rng)) if rng.random() < 0.5 else (aside(rng) + " " + task).strip()
    keys, choices = (*numbered, "thoughts", last_key), shuffled(rng, sizes)
    question = ask_for_json(task=task, text="", keys=keys, choices=choices)
    thoughts = (f"{labels[0]} is smaller", f"{labels[0]} is larger")
    answers = dict(zip(thoughts, sizes, strict=True))
    conversation = []
    for turn in range(turns):
        numbers = _pair(rng)
        image = pictures.labelled_numbers(labels, numbers, pen)
        read = dict(zip(numbered, map(str, numbers), strict=True))
        thought = thoughts[0 if numbers[0] < numbers[1] else 1]
        reply, given = thoughtful(pen, read, last_key, thought, answers)
        asked = question if turn == 0 else ""
        conversation.append(Turn(image, asked, reply, "compare", given))
    return conversation


def add(pen: Pen, turns: int) -> Conversation:
    """Work out a small sum that is written on the picture."""
    rng = pen.rng
    question = ask_for_json(
        task="Work out the sum." + aside(rng), text="", keys=("thoughts", "answer")
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
    question = ask_for_json(task="Name the cards." + aside(rng), text="", keys=("cards",))
    conversation = []
    for turn in range(turns):
        ranks = _ranks(rng)
        reply = write_json({"cards": " ".join(ranks)})
        conversation.append(
            Turn(pictures.cards(ranks, pen), question if turn == 0 else "", reply, "cards")
        )
    return conversation


def caption(pen: Pen, turns: int) -> Conversation:
    """Say what is written, in as few tokens as can be: the quickest way to learn to see."""
    rng = pen.rng
    labels = pick(rng, LABELS, 2)
    conversation = []
    for turn in range(turns):
        kind = rng.random()
        if kind < 0.65:
            numbers = (number_of(rng), number_of(rng))
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
