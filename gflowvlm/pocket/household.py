"""A room of words to obey in: it answers, has things that are carried about, and wants nothing.

Every action is dictated by its turn; what is noted before it is what has been told.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from numpy.random import Generator

from gflowvlm.pocket import pictures
from gflowvlm.pocket.household_words import CLOSED, PLACES, THINGS, TREATMENTS
from gflowvlm.pocket.naming import (
    MOST_PLACES,
    OF_USE,
    SAID_LATER,
    SOUGHT,
    kind_of,
    listing,
    numbered,
    remembered,
    wish,
)
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.talk import Conversation, Turn, last_key_of, pick
from gflowvlm.prompting.wording import ask_for_json, now_one_of, write_json

LEAST_PLACES = 3
PLACE_KEYS, HELD_KEYS = ("place", "where"), ("holding", "in hand")


@dataclass
class Room:
    """Places with things in them, somebody in front of one of them, and perhaps a thing held."""

    rng: Generator
    places: list[str]
    inside: dict[str, list[str]]
    opened: set[str] = field(default_factory=set)
    at: str = ""
    held: str = ""

    @classmethod
    def furnished(cls, rng: Generator) -> "Room":
        """A room of any size and filling."""
        count = int(rng.integers(LEAST_PLACES, MOST_PLACES + 1))
        places = numbered(rng, PLACES, count, repeats=8)
        inside: dict[str, list[str]] = {place: [] for place in places}
        for thing in numbered(rng, THINGS, int(rng.integers(3, 3 * count)), repeats=3):
            inside[places[rng.integers(count)]].append(thing)
        return cls(rng, places, inside)

    @classmethod
    def crowded(cls, rng: Generator, wanted: str) -> "Room":
        """Few places of any number with much in them, in every other one what is wanted."""
        count = int(rng.integers(LEAST_PLACES, 10))
        names: dict[str, None] = {}
        while len(names) < count:
            names[f"{pick(rng, PLACES)[0]} {rng.integers(1, 21)}"] = None
        others = tuple(thing for thing in THINGS if thing != wanted)
        things = iter(numbered(rng, others, 9 * count, repeats=3))
        inside = {place: list(islice(things, int(rng.integers(0, 7)))) for place in names}
        for number in range(1, count + 1):
            if rng.random() < 0.8:
                place = tuple(names)[rng.integers(count)]
                inside[place].insert(
                    int(rng.integers(len(inside[place]) + 1)), f"{wanted} {number}"
                )
        return cls(rng, list(names), inside)

    def scatter(self, kind: str) -> None:
        """Put a thing of a kind into most places."""
        for place in self.places:
            if self.rng.random() < 0.6:
                number = 1 + sum(kind_of(t) == kind for ts in self.inside.values() for t in ts)
                self.inside[place].append(f"{kind} {number}")
                self.rng.shuffle(self.inside[place])

    def commands(self) -> dict[str, str]:
        """What may be done, in alphabetical order, and how one asks for it."""
        known = {"look": "look around", "inventory": "say what you hold", "help": "ask for help"}
        known |= {f"go to {p}": f"go to the {p}" for p in self.places if p != self.at}
        if self.at:
            known |= self._here()
        return dict(sorted(known.items()))

    def _here(self) -> dict[str, str]:
        at, kind = self.at, kind_of(self.at)
        known = {f"examine {at}": f"examine the {kind}"}
        if kind in CLOSED:
            verb = "close" if at in self.opened else "open"
            known[f"{verb} {at}"] = f"{verb} the {kind}"
        if self.held:
            held = kind_of(self.held)
            known[f"examine {self.held}"] = f"examine the {held}"
            if self._shows(at):
                known[f"move {self.held} to {at}"] = f"put the {held} there"
            if kind in TREATMENTS:
                verb = TREATMENTS[kind][0]
                known[f"{verb} {self.held} with {at}"] = f"{verb} the {held}"
        elif self._shows(at):
            known |= {f"take {t} from {at}": f"take the {kind_of(t)}" for t in self.inside[at]}
        return known

    def opening(self) -> str:
        """What is told before anything is done."""
        return f"You are in the middle of a room. Around you, you see {listing(self.places)}."

    def notes(self, wanted: str, *, least: bool = False) -> tuple[str, str, str]:
        """The place, the thing held, and the first thing of the wanted kind in view.

        While one of that kind is held no other is looked for. With `least` it is the one of the
        least number instead of the first.
        """
        seen = self.inside[self.at] if self.at and self._shows(self.at) else []
        useful = [t for t in seen if kind_of(t) == wanted and kind_of(self.held) != wanted]
        if least:
            useful.sort(key=lambda name: int(name.rpartition(" ")[2]))
        place = self.at or "the middle of the room"
        return place, self.held or "nothing", (*useful, "nothing")[0]

    def _shows(self, place: str) -> bool:
        return kind_of(place) not in CLOSED or place in self.opened

    def contents(self, place: str) -> str:
        """What a look at it tells."""
        if not self._shows(place):
            return f"The {place} is closed."
        seen = listing(self.inside[place])
        if kind_of(place) in CLOSED:
            return f"The {place} is open. In it, you see {seen}."
        return f"On the {place}, you see {seen}."

    def do(self, command: str) -> str:
        """Obey, and say what came of it."""
        verb, _, rest = command.partition(" ")
        match verb:
            case "go":
                self.at = rest.removeprefix("to ")
                return f"You arrive at {self.at}. {self.contents(self.at)}"
            case "open":
                self.opened.add(self.at)
                return f"You open the {self.at}. {self.contents(self.at)}"
            case "close":
                self.opened.discard(self.at)
                return f"You close the {self.at}."
            case "take":
                self.held = rest.partition(" from ")[0]
                self.inside[self.at].remove(self.held)
                return f"You pick up the {self.held} from the {self.at}."
            case "move":
                thing, self.held = self.held, ""
                self.inside[self.at].append(thing)
                return f"You move the {thing} to the {self.at}."
            case "clean" | "heat" | "cool":
                return f"You {verb} the {self.held} using the {self.at}."
            case "examine" if rest == self.at:
                return self.contents(self.at)
            case "inventory":
                return f"You are carrying: {listing([self.held] if self.held else [])}."
            case _:
                return f"You are facing the {self.at}." if self.at else "Nothing happens."


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What one is told to do, and out of what."""

    text: str  # what came of the last command, and what to do now
    choices: tuple[str, ...]
    before: tuple[str, ...] | None  # the choices of the turn before; None at the first
    chosen: str
    free: bool  # whether others would do

    def later(self, text: str, key: str) -> str:
        """A question after the first: the choices are told where they changed."""
        assert self.before is not None, "the first question tells all choices"
        if self.choices == self.before:
            return text
        return f"{text}\n{now_one_of(key, self.choices, self.before)}"


def _all_told(room: Room, turns: int, *, going: float = 0.3) -> Iterator[_Told]:
    """One command a turn, carried out when the next one is asked for."""
    text, before = room.opening(), None
    for _ in range(turns):
        commands = room.commands()
        chosen, asked, free = _told(room.rng, commands, going)
        choices = tuple(commands)
        yield _Told(
            text=f"{text} Now {asked}.", choices=choices, before=before, chosen=chosen, free=free
        )
        text, before = room.do(chosen), choices


def _told(rng: Generator, commands: dict[str, str], going: float) -> tuple[str, str, bool]:
    """A command, how it is asked for, and whether others would do.

    Verbs are drawn alike, but for a share in which one goes.
    """
    verbs = sorted({command.split()[0] for command in commands})
    verb = verbs[rng.integers(len(verbs))]
    if rng.random() < going:
        verb = "go"
    chosen = pick(rng, tuple(c for c in commands if c.split()[0] == verb))[0]
    asked = commands[chosen]
    if verb == "go" and rng.random() < 0.5:
        asked = asked.rpartition(" ")[0]  # any of the kind
    meant = [each for each in commands.values() if asked in (each, each.rpartition(" ")[0])]
    return chosen, asked, len(meant) > 1


def obey(pen: Pen, turns: int) -> Conversation:
    """Do what each turn asks for, in the words of a list that changes."""
    rng, room = pen.rng, Room.furnished(pen.rng)
    key = last_key_of(rng)
    conversation = []
    for told in _all_told(room, turns):
        if told.before is None:
            task = f"Your task is to do as you are told, later to {wish(rng)}."
            question = ask_for_json(task=task, text=told.text, keys=(key,), choices=told.choices)
        else:
            question = told.later(told.text, key)
        skill = "obey_free" if told.free else "obey"
        conversation.append(Turn(None, question, write_json({key: told.chosen}), skill))
    return conversation


def note(pen: Pen, turns: int) -> Conversation:
    """The same, after noting where one is, what one holds, and what a wish is about there."""
    rng, room = pen.rng, Room.furnished(pen.rng)
    wanted = pick(rng, THINGS)[0]
    room.scatter(wanted)
    request, key = remembered(pen, wanted), last_key_of(rng)
    keys = (*pick(rng, PLACE_KEYS), *pick(rng, HELD_KEYS), *pick(rng, OF_USE[:3]))
    told = _all_told(room, turns)
    noted = ((each, room.notes(wanted)) for each in told)
    return _noting(noted, request, (*keys, key), "note")


def notice(pen: Pen, turns: int) -> Conversation:
    """The same where there is more to see, mostly walking, often beside pictures of no matter.

    Of several things of the kind the one of the least number is noted.
    """
    rng = pen.rng
    wanted = pick(rng, THINGS)[0]
    room = Room.crowded(rng, wanted)
    request, key = remembered(pen, wanted, SAID_LATER), last_key_of(rng)
    keys = (*pick(rng, PLACE_KEYS), *pick(rng, HELD_KEYS), *pick(rng, SOUGHT))

    def notes() -> tuple[str, ...]:
        place, held, useful = room.notes(wanted, least=True)
        return place, held, "nothing" if kind_of(held) == wanted else f"a {wanted}: {useful}"

    noted = ((each, notes()) for each in _all_told(room, turns, going=0.7))
    conversation = _noting(noted, request, (*keys, key), "notice")
    if rng.random() < 0.3:
        return conversation
    return [
        replace(turn, image=pictures.written(pick(rng, THINGS)[0], pen)) for turn in conversation
    ]


def _noting(
    told: Iterable[tuple[_Told, tuple[str, ...]]], request: str, keys: Sequence[str], skill: str
) -> Conversation:
    """Do as told, after notes under all keys but the last."""
    task = "Your task is to do as you are told."
    conversation = []
    for each, notes in told:
        text = f"{each.text} {request}"
        if each.before is None:
            question = ask_for_json(task=task, text=text, keys=keys, choices=each.choices)
        else:
            question = each.later(text, keys[-1])
        reply = write_json(dict(zip(keys, (*notes, each.chosen), strict=True)))
        conversation.append(Turn(None, question, reply, f"{skill}_free" if each.free else skill))
    return conversation
