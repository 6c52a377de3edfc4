"""What conversations of the pocket VLM's training are made of, and the chance in their words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from gflowvlm.pocket.pictures import Pen, Pixels
from gflowvlm.pocket.words import ASIDES, OBJECTS, PLACES, VERBS, WORDS
from gflowvlm.prompting.wording import write_json


@dataclass(frozen=True)
class Turn:
    """One question, about a picture or none, and its answer."""

    image: Pixels | None  # uint8 [64, 64, 3]
    question: str  # empty after the first turn: the first question stays in force
    reply: str
    skill: str
    given: str = ""  # how the reply begins, where that is held against it and not learned


Conversation = list[Turn]
Skill = Callable[[Pen, int], Conversation]


def pick(rng: Generator, words: tuple[str, ...], count: int = 1) -> tuple[str, ...]:
    """Some different ones of `words`."""
    return tuple(words[i] for i in rng.choice(len(words), count, replace=False))


def shuffled(rng: Generator, words: Sequence[str]) -> tuple[str, ...]:
    """All of `words` in any order."""
    order: list[int] = rng.permutation(len(words)).tolist()
    return tuple(words[i] for i in order)


def last_key_of(rng: Generator) -> str:
    """The key under which a reply answers."""
    return ("action", "answer")[int(rng.random() < 0.3)]


def aside(rng: Generator) -> str:
    """A sentence or two that change nothing, so that unknown wording is borne."""
    if rng.random() < 0.4:
        return ""
    count = int(rng.integers(1, 3))
    asides = [ASIDES[i].format(rng.integers(1, 121)) for i in rng.integers(0, len(ASIDES), count)]
    return " " + " ".join(asides)


def free_choice(rng: Generator) -> tuple[str, ...]:
    """Legal answers of no environment in particular: words, or phrases such as `open box 2`."""
    count = int(rng.integers(2, 5))
    if rng.random() < 0.6:
        return pick(rng, WORDS, count)
    phrases: dict[str, None] = {}
    while len(phrases) < count:
        verb, thing, place = (pick(rng, words)[0] for words in (VERBS, OBJECTS, PLACES))
        phrase = f"{verb} {thing} {rng.integers(1, 10)}"
        if rng.random() < 0.3:
            phrase += f" from {place} {rng.integers(1, 10)}"
        phrases[phrase] = None
    return tuple(phrases)


def thoughtful(
    pen: Pen, before: Mapping[str, str], last_key: str, thought: str, answers: Mapping[str, str]
) -> tuple[str, str]:
    """A reply whose answer follows from its thought, and how it begins where that is given.

    With chance `pen.slips` the thought is another one, and the answer follows that one: what has
    been said counts. The slip itself is given, never learned.

    Args:
        pen: whose chance decides.
        before: the fields before the thought.
        last_key: that of the answer.
        thought: the right one.
        answers: each thought's answer.
    """
    slip = pen.slips > 0 and pen.rng.random() < pen.slips
    if slip:
        thought = pick(pen.rng, tuple(other for other in answers if other != thought))[0]
    begun = dict(before) | {"thoughts": thought}
    given = write_json(begun).removesuffix('"}') if slip else ""
    return write_json(begun | {last_key: answers[thought]}), given
