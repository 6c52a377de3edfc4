"""Skills of a home told in words: to do as told, to spot, to recall, to name each once.

A small room of words answers, with things that are carried about; it wants nothing. Every answer is
dictated by the turn, by what the first turn asks to watch for, or by what was told before (and a
list that has been named ends with `none`): no goal takes several steps to reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from gflowvlm.pocket.household_words import (
    CLOSED,
    LAMP_WISHES,
    PLACES,
    THINGS,
    TREATMENTS,
    WISHES,
)
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.talk import Conversation, Turn, last_key_of, pick
from gflowvlm.prompting.wording import ask_for_json, now_one_of, write_json

LEAST_PLACES, MOST_PLACES = 3, 26


def kind_of(name: str) -> str:
    """`cabinet` of `cabinet 3`."""
    return name.rpartition(" ")[0]


def listing(names: Sequence[str]) -> str:
    """`a fork 1, and a knife 2`, or `nothing`."""
    told = [f"a {name}" for name in names]
    return (
        ", ".join([*told[:-1], f"and {told[-1]}"])
        if len(told) > 1
        else "".join(told or ["nothing"])
    )


def numbered(rng: Generator, kinds: tuple[str, ...], count: int, *, repeats: int) -> list[str]:
    """Names of `count` things, at most `repeats` of a kind, numbered from 1 in each kind."""
    assert count <= len(kinds) * repeats, "so many names there are not"
    names: dict[str, None] = {}
    while len(names) < count:
        kind = pick(rng, kinds)[0]
        for number in range(1, int(rng.integers(1, repeats + 1)) + 1):
            if len(names) < count:
                names[f"{kind} {number}"] = None
    return list(names)


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


def wish(rng: Generator) -> str:
    """A sentence about what might be wanted: it is not asked for in these conversations."""
    thing, place = pick(rng, THINGS)[0], pick(rng, PLACES)[0]
    if rng.random() < 0.2:
        return LAMP_WISHES[rng.integers(len(LAMP_WISHES))].format(thing, "desklamp")
    words = f"a {thing}"
    if rng.random() < 0.5:
        words = list(TREATMENTS.values())[rng.integers(3)][1].format(thing)
    elif rng.random() < 0.3:
        words = f"two {thing}"
    return WISHES[rng.integers(len(WISHES))].format(words, place)


def _told(rng: Generator, commands: dict[str, str]) -> tuple[str, str, bool]:
    """A command, how it is asked for, and whether others would do; verbs are drawn alike."""
    verbs = sorted({command.split()[0] for command in commands})
    verb = verbs[rng.integers(len(verbs))]
    if rng.random() < 0.3:
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
    text = f"You are in the middle of a room. Around you, you see {listing(room.places)}."
    before: tuple[str, ...] = ()
    conversation = []
    for turn in range(turns):
        commands = room.commands()
        chosen, asked, free = _told(rng, commands)
        text = f"{text} Now {asked}."
        choices = tuple(commands)
        if turn == 0:
            question = ask_for_json(
                task=f"Your task is to do as you are told, later to {wish(rng)}.",
                text=text,
                keys=(key,),
                choices=choices,
            )
        else:
            question = f"{text}\n{now_one_of(key, choices, before)}" if choices != before else text
        conversation.append(
            Turn(None, question, write_json({key: chosen}), "obey_free" if free else "obey")
        )
        text, before = room.do(chosen), choices
    return conversation


def watch(pen: Pen, turns: int) -> Conversation:
    """Name the thing that the first turn asks for when it is seen, else say nothing."""
    rng = pen.rng
    wanted = pick(rng, THINGS)[0]
    others = tuple(thing for thing in THINGS if thing != wanted)
    key = last_key_of(rng)
    task = f"Watch for a {wanted}. Where there is none, say nothing."
    conversation = []
    for turn in range(turns):
        place = numbered(rng, PLACES, 1, repeats=1)[0]
        seen = numbered(rng, others, int(rng.integers(0, 5)), repeats=2)
        there = rng.random() < 0.5
        name = f"{wanted} {rng.integers(1, 4)}"
        if there:
            seen.insert(int(rng.integers(len(seen) + 1)), name)
        text = f"You arrive at {place}. On the {place}, you see {listing(seen)}."
        if turn == 0:
            text = ask_for_json(task=task, text=text, keys=(key,))
        reply = write_json({key: name if there else "nothing"})
        conversation.append(Turn(None, text, reply, "watch"))
    return conversation


def recall(pen: Pen, turns: int) -> Conversation:
    """Say where a thing was seen, at this turn or at any before."""
    rng = pen.rng
    key = last_key_of(rng)
    kinds = list(pick(rng, THINGS, min(len(THINGS), 3 * turns)))
    places = numbered(rng, PLACES, turns, repeats=4)
    seen: dict[str, str] = {}
    conversation = []
    for turn, place in enumerate(places):
        new = [kinds.pop() for _ in range(min(len(kinds), int(rng.integers(1, 4))))]
        seen |= dict.fromkeys(new, place)
        text = f"On the {place}, you see {listing([f'{kind} 1' for kind in new])}."
        asked = pick(rng, tuple(new if new and rng.random() < 0.3 else seen))[0]
        text += f" Where is the {asked}?"
        if turn == 0:
            text = ask_for_json(task="Say where it is.", text=text, keys=(key,))
        conversation.append(Turn(None, text, write_json({key: seen[asked]}), "recall"))
    return conversation


def each_once(pen: Pen, turns: int) -> Conversation:
    """Name the members of a list one by one, in its order: all, or those of one kind."""
    rng = pen.rng
    names = numbered(rng, PLACES, int(rng.integers(2, MOST_PLACES + 1)), repeats=8)
    kinds = sorted({kind_of(name) for name in names})
    kind = kinds[rng.integers(len(kinds))]
    some = rng.random() < 0.5
    wanted = [name for name in names if kind_of(name) == kind] if some else names
    key = last_key_of(rng)
    question = ask_for_json(
        task=f"Name each {kind if some else 'one'} once.",
        text=f"You see {listing(names)}.",
        keys=(key,),
    )
    replies = [*wanted, "none"][: max(1, turns)]
    return [
        Turn(None, question if turn == 0 else "Go on.", write_json({key: reply}), "each once")
        for turn, reply in enumerate(replies)
    ]


def repeat_names(pen: Pen, turns: int) -> Conversation:
    """Say some names again, and what might be wanted: the quickest way to learn the words."""
    rng = pen.rng
    conversation = []
    for _ in range(turns):
        names = numbered(rng, (*THINGS, *PLACES), int(rng.integers(1, 5)), repeats=2)
        text = wish(rng) if rng.random() < 0.4 else ", ".join(names)
        conversation.append(Turn(None, f"Repeat: {text}", text, "repeat names"))
    return conversation
