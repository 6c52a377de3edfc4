"""What a game is about, as plain values: the house, what is true in it now, and the goal."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Facts = Callable[[str], Iterable[Any]]
"""From the name of a predicate to the tuples of ids for which it holds."""


@dataclass(frozen=True, kw_only=True)
class House:
    """What does not change during a game; everything goes by the ids of its entities."""

    names: Mapping[str, str]  # id -> what the player reads, "cabinet 3"
    kinds: Mapping[str, str]  # id of a receptacle or an object -> "cabinet"
    receptacles: tuple[str, ...]  # by name, "drawer 2" before "drawer 10", or see `as_told`
    objects: tuple[str, ...]  # by name
    location: Mapping[str, str]  # receptacle -> location
    openable: frozenset[str]  # receptacles
    toggleable: frozenset[str]  # objects
    holders: frozenset[str]  # objects that may hold others, as a bowl does
    holds_kind: frozenset[tuple[str, str]]  # (kind of receptacle, kind of object) that may be put

    def of_kind(self, kind: str) -> list[str]:
        """Receptacles or objects of a kind, in their order."""
        return [each for each in (*self.receptacles, *self.objects) if self.kinds[each] == kind]

    def as_told(self, words: str) -> "House":
        """The same, its receptacles in the order in which the first words of a game name them."""
        told = re.findall(r"\ba (\w+ \d+)", words)
        place = {name: at for at, name in reversed([*enumerate(told)])}
        order = sorted(self.receptacles, key=lambda each: place.get(self.names[each], len(told)))
        return replace(self, receptacles=tuple(order))


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is true at one moment, whether the player knows it or not."""

    at: str  # the agent's location
    held: str | None
    inside: Mapping[str, str]  # object -> receptacle
    opened: frozenset[str]
    hot: frozenset[str]
    cold: frozenset[str]
    clean: frozenset[str]
    lit: frozenset[str]  # lamps that have been switched


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One of the six tasks: `kind` of object, and where it is to be or by which lamp."""

    task: str
    object: str
    receptacle: str = ""
    lamp: str = ""


TASKS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""ALFWorld's task types, numbered from 1."""

_TREATED = {"isclean": TASKS[2], "ishot": TASKS[3], "iscool": TASKS[4]}


def house_of(facts: Facts, names: Mapping[str, str]) -> House:
    """The house of a game that has just been loaded."""
    receptacle_kinds = {thing: _kind(kind) for thing, kind in facts("receptacletype")}
    object_kinds = {thing: _kind(kind) for thing, kind in facts("objecttype")}
    location = dict(facts("receptacleatlocation"))

    def ordered(things: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(things, key=lambda thing: natural(names[thing])))

    return House(
        names=names,
        kinds=receptacle_kinds | object_kinds,
        receptacles=ordered(location),
        objects=ordered(object_kinds),
        location=location,
        openable=frozenset(thing for (thing,) in facts("openable")),
        toggleable=frozenset(thing for (thing,) in facts("toggleable")),
        holders=frozenset(thing for (thing,) in facts("isreceptacleobject")),
        holds_kind=frozenset((_kind(r), _kind(o)) for r, o in facts("cancontain")),
    )


def situation_of(facts: Facts) -> Situation:
    """What is true now."""

    def single(predicate: str) -> frozenset[str]:
        return frozenset(thing for (thing,) in facts(predicate))

    return Situation(
        at=next(place for _, place in facts("atlocation")),
        held=next((thing for _, thing in facts("holds")), None),
        inside=dict(facts("inreceptacle")),
        opened=single("opened"),
        hot=single("ishot"),
        cold=single("iscool"),
        clean=single("isclean"),
        lit=single("istoggled"),
    )


def goal_of(problem: str) -> Goal:
    """The goal that a PDDL problem states.

    Raises:
        ValueError: it is none of the six tasks.
    """
    text = problem.lower().partition("(:goal")[2]
    objects = dict(re.findall(r"\(objecttype \?(\w+) (\w+)type\)", text))
    places = re.findall(r"\(receptacletype \?\w+ (\w+)type\)", text)
    treated = [task for predicate, task in _TREATED.items() if f"({predicate} " in text]
    toggled = re.findall(r"\(istoggled \?(\w+)\)", text)
    if toggled and len(objects) == 2 and toggled[0] in objects:
        lamp = objects.pop(toggled[0])
        return Goal(task=TASKS[1], object=next(iter(objects.values())), lamp=lamp)
    if len({*objects.values()}) == 1 and len({*places}) == 1 and len(treated) <= 1:
        task = treated[0] if treated else TASKS[5 if len(objects) == 2 else 0]
        if "(issliced " not in text and "inreceptacleobject" not in text:
            return Goal(task=task, object=next(iter(objects.values())), receptacle=places[0])
    raise ValueError(
        "found a goal that is none of the six tasks, expected one of them: leave out games with "
        "slices or movable receptacles"
    )


def subgoals(goal: Goal, house: House, now: Situation) -> tuple[int, int]:
    """(conditions of the goal that hold, all of them), as ALFRED counts; equal exactly when won.

    Placing one object is one condition, placing two is two; looking is to hold the object and to
    stand by the lit lamp; a treated object has to be in place, has to be treated, and both at once.
    """
    wanted = house.of_kind(goal.object)
    if goal.task == TASKS[1]:
        lamps = [
            lamp
            for lamp in house.of_kind(goal.lamp)
            if lamp in now.lit and house.location.get(now.inside.get(lamp, "")) == now.at
        ]
        return (now.held in wanted) + bool(lamps), 2
    placed = {
        t: now.inside[t]
        for t in wanted
        if house.kinds.get(now.inside.get(t, "")) == goal.receptacle
    }
    if goal.task == TASKS[5]:
        together = [sum(where == place for where in placed.values()) for place in placed.values()]
        return min(2, max(together, default=0)), 2
    if goal.task == TASKS[0]:
        return int(bool(placed)), 1
    treated = treatments(now)[goal.task]
    return bool(placed) + any(t in treated for t in wanted) + any(t in treated for t in placed), 3


def treatments(now: Situation) -> dict[str, frozenset[str]]:
    """The objects that are clean, hot or cold, by the task that asks for it."""
    return {TASKS[2]: now.clean, TASKS[3]: now.hot, TASKS[4]: now.cold}


def _kind(type_name: str) -> str:
    return type_name.removesuffix("type")


def natural(name: str) -> tuple[str, int]:
    """What sorts "drawer 2" before "drawer 10"."""
    word, _, number = name.rpartition(" ")
    return (word, int(number)) if number.isdecimal() else (name, 0)
