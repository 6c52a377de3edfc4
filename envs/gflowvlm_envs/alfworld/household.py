"""A room with loose things in it and a task to do there: all of a generated game but its files."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from gflowvlm_envs.alfworld.rooms import Receptacle, Room, affordances, holdable, thing_id
from gflowvlm_envs.alfworld.world import TASKS

LAMP = "DeskLamp"
_LAMP_HOSTS = ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable", "DiningTable")
_NEEDS = {  # task -> (station, list of the kinds that can be treated there)
    TASKS[2]: ("SinkBasin", "Cleanable"),
    TASKS[3]: ("Microwave", "Heatable"),
    TASKS[4]: ("Fridge", "Coolable"),
}
_COPIES = (1, 1, 2, 3)
_PRESENT = 0.75  # probability that a kind that belongs into a room is there
_HELD_OUT = 4  # one pair in so many


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A loose thing, by AI2-THOR's kind of name."""

    id: str
    kind: str
    inside: Receptacle


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done; `receptacle` is the kind of lamp where an object is to be looked at."""

    type: str
    object: str
    receptacle: str

    @property
    def pair(self) -> tuple[str, str]:
        """The object-receptacle pair that splits keep apart."""
        return self.object, self.receptacle


@dataclass(frozen=True, kw_only=True)
class Household:
    """A game's first state and its task."""

    room: Room
    things: tuple[Thing, ...]
    task: Task


def held_out(pair: tuple[str, str], seed: int) -> bool:
    """Whether a pair is kept for unseen games; the same in every run with this seed."""
    return crc32(f"{seed} {' '.join(pair)}".encode()) % _HELD_OUT == 0


def possible_tasks(room: Room, task_type: str) -> list[Task]:
    """Everything of a type that could be asked for in a room, in a fixed order."""
    kinds = room.receptacle_kinds
    if task_type == TASKS[1]:
        if not _lamp_hosts(room):
            return []
        return [Task(type=task_type, object=o, receptacle=LAMP) for o in _movable(room)]
    station, treatable = _NEEDS.get(task_type, ("", ""))
    if station and station not in kinds:
        return []
    wanted = set(affordances().VAL_ACTION_OBJECTS[treatable]) if station else {*_movable(room)}
    return [
        Task(type=task_type, object=thing, receptacle=kind)
        for thing in _movable(room)
        for kind in kinds
        if thing in wanted & holdable(kind) and kind != station
        if any(_hosts(room, thing, away_from=(kind, station)))
    ]


def furnish(room: Room, task: Task, draw: random.Random) -> Household:
    """The room with things about, such that the task can be done and nothing of it is done yet."""
    placer = _Placer(draw)
    copies = draw.choice((2, 3)) if task.type == TASKS[5] else draw.choice(_COPIES)
    station = _NEEDS.get(task.type, ("", ""))[0]
    for _ in range(copies):
        placer.put(task.object, list(_hosts(room, task.object, (task.receptacle, station))))
    for kind in _movable(room):
        if kind != task.object and draw.random() < _PRESENT:
            for _ in range(draw.choice(_COPIES)):
                placer.put(kind, list(_hosts(room, kind)))
    if task.type == TASKS[1]:
        placer.put(LAMP, _lamp_hosts(room))
    return Household(room=room, things=tuple(placer.things), task=task)


class _Placer:
    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.things: list[Thing] = []

    def put(self, kind: str, hosts: Sequence[Receptacle]) -> None:
        taken = {thing.id for thing in self.things}
        while True:
            x, y, z = (self.draw.uniform(low, high) for low, high in ((-4, 4), (0.1, 1.9), (-4, 4)))
            name = thing_id(kind, (x, y, z))
            if name not in taken:
                break
        self.things.append(Thing(id=name, kind=kind, inside=self.draw.choice(hosts)))


def _movable(room: Room) -> list[str]:
    """Kinds that belong into the room and can be carried."""
    return [
        kind
        for kind in room.object_kinds
        if kind not in affordances().VAL_ACTION_OBJECTS["Toggleable"]
    ]


def _hosts(room: Room, kind: str, away_from: Sequence[str] = ()) -> Iterator[Receptacle]:
    for each in room.receptacles:
        if kind in holdable(each.kind) and each.kind not in away_from:
            yield each


def _lamp_hosts(room: Room) -> list[Receptacle]:
    """Where a desk lamp may stand: on things with no door, in rooms that have lamps at all."""
    return [each for each in room.receptacles if each.kind in _LAMP_HOSTS]
