"""Skills about pictures: reading numbers, cards and sums, and comparing what was read."""

from collections.abc import Mapping
from dataclasses import dataclass

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


def _pair(rng: Generator, reach: int | None = None) -> tuple[int, int]:
    """Two different numbers, `reach` apart at most; without it up to 12 half of the time.

    Close ones are the hard ones to compare.
    """
    first = number_of(rng)
    while True:
        if reach is not None:
            gap = int(rng.integers(-reach, reach + 1))
        else:
            gap = int(rng.integers(-12, 13)) if rng.random() < 0.5 else number_of(rng) - first
        if gap != 0 and 0 <= first + gap <= 99:
            return first, first + gap


def _next_pair(rng: Generator, pair: tuple[int, int]) -> tuple[int, int]:
    """The pair, or one that differs by 1 or 2 in one place; never two equal numbers."""
    while True:
        step = int(rng.integers(-2, 3))
        first, second = (
            (pair[0] + step, pair[1]) if rng.random() < 0.7 else (pair[0], pair[1] + step)
        )
        if first != second and min(first, second) >= 0 and max(first, second) <= 99:
            return first, second


def _pairs(pen: Pen, turns: int) -> list[tuple[int, int]]:
    """The pair of each turn: drawn anew, or with chance `pen.lingers` close and near the last."""
    rng = pen.rng
    if pen.lingers == 0 or rng.random() >= pen.lingers:
        return [_pair(rng) for _ in range(turns)]
    pairs = [_pair(rng, reach=6)]
    while len(pairs) < turns:
        pairs.append(_next_pair(rng, pairs[-1]))
    return pairs


def _ranks(rng: Generator) -> tuple[str, ...]:
    """One to four ranks."""
    return tuple(pictures.RANKS[i] for i in rng.integers(0, 13, int(rng.integers(1, 5))))


def _misread(pen: Pen, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """`numbers`, or with chance `pen.misreads` some of them taken for another one shown or any."""
    rng = pen.rng
    if pen.misreads == 0 or rng.random() >= pen.misreads:
        return numbers
    others = (*numbers, number_of(rng), number_of(rng))
    return tuple(others[i] for i in rng.integers(0, len(others), len(numbers)).tolist())


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
        said = _misread(pen, numbers)
        reply = write_json(dict(zip(keys, map(str, said), strict=True)))
        given = reply.removesuffix('"}') if said != numbers else ""
        conversation.append(Turn(image, question if turn == 0 else "", reply, "read", given))
    return conversation


@dataclass(frozen=True)
class _Comparison:
    """The words of a conversation that compares two numbers again and again."""

    labels: tuple[str, ...]
    keys: tuple[str, ...]  # of the numbers
    question: str
    last_key: str
    answers: Mapping[str, str]  # smaller first

    def right(self, pair: tuple[int, int]) -> str:
        """The thought that is true of a pair."""
        return list(self.answers)[0 if pair[0] < pair[1] else 1]

    def read(self, pair: tuple[int, ...]) -> dict[str, str]:
        """The first fields of the reply."""
        return dict(zip(self.keys, map(str, pair), strict=True))


def _comparison(rng: Generator) -> _Comparison:
    labels = pick(rng, LABELS, 2)
    noun = pick(rng, NOUNS)[0]
    keys = tuple(f"{label}{noun}" for label in labels)
    last_key = last_key_of(rng)
    sizes = SIZES[rng.integers(len(SIZES))]
    task = f"Compare {labels[0]} with {labels[1]}."
    task = (task + aside(rng)) if rng.random() < 0.5 else (aside(rng) + " " + task).strip()
    question = ask_for_json(
        task=task, text="", keys=(*keys, "thoughts", last_key), choices=shuffled(rng, sizes)
    )
    thoughts = (f"{labels[0]} is smaller", f"{labels[0]} is larger")
    return _Comparison(labels, keys, question, last_key, dict(zip(thoughts, sizes, strict=True)))


def compare(pen: Pen, turns: int) -> Conversation:
    """Read two numbers, say how the first one compares, then say it in one of two given words."""
    words = _comparison(pen.rng)
    conversation = []
    for turn, pair in enumerate(_pairs(pen, turns)):
        image = pictures.labelled_numbers(words.labels, pair, pen)
        said = _misread(pen, pair)
        reply, given = thoughtful(
            pen,
            words.read(said),
            words.last_key,
            words.right(pair),
            words.answers,
            misread=said != pair,
        )
        asked = words.question if turn == 0 else ""
        conversation.append(Turn(image, asked, reply, "compare", given))
    return conversation


def compare_given(pen: Pen, turns: int) -> Conversation:
    """Say how two numbers compare that the reply begins with; there is no picture."""
    words = _comparison(pen.rng)
    conversation = []
    for turn, pair in enumerate(_pairs(pen, turns)):
        read = words.read(pair)
        reply, given = thoughtful(pen, read, words.last_key, words.right(pair), words.answers)
        asked = words.question if turn == 0 else ""
        given = given or write_json(read).removesuffix('"}')
        conversation.append(Turn(None, asked, reply, "compare", given))
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
