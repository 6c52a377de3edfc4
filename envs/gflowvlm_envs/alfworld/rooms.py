"""The rooms that come with the `alfworld` package: AI2-THOR's 120 floor plans.

A plan gives the receptacles that can be opened with their coordinates, the kinds of things that are
there, and the points where one can stand. What it leaves out (how many counters, and where) is
drawn once per room, so that a room is the same in all its games.
"""

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STEP = 0.25  # metres; one unit of a location
_FIRST = {"Kitchen": 1, "LivingRoom": 201, "Bedroom": 301, "Bathroom": 401}
_COPIES = {"CounterTop": (1, 3), "StoveBurner": (4, 4), "Shelf": (2, 4), "SideTable": (1, 2)}
_BASINS = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}


class Location(NamedTuple):
    """Where one stands and how one looks to deal with a receptacle, as ALFRED writes it."""

    x: int  # STEPs
    z: int  # STEPs
    rotation: int  # quarter turns
    horizon: int  # degrees

    def __str__(self) -> str:
        return "|".join(("loc", *map(str, self)))


@dataclass(frozen=True, kw_only=True)
class Receptacle:
    """A piece of furniture that holds things."""

    id: str  # AI2-THOR's: Cabinet|+00.68|+00.50|-02.20
    kind: str  # Cabinet
    location: Location


@dataclass(frozen=True, kw_only=True)
class Room:
    """A floor plan with its furniture, without loose things."""

    scene: int
    kind: str  # Kitchen, LivingRoom, Bedroom or Bathroom
    start: Location
    receptacles: tuple[Receptacle, ...]
    object_kinds: tuple[str, ...]  # loose things that belong here

    @property
    def receptacle_kinds(self) -> list[str]:
        """Without repetition, in alphabetical order."""
        return sorted({each.kind for each in self.receptacles})


def package_folder() -> Path:
    """Where `alfworld` is installed; found without importing it."""
    spec = find_spec("alfworld")
    origin = None if spec is None else spec.origin
    assert origin is not None, "asked for after require_packages()"
    return Path(origin).parent


def affordances() -> Any:
    """The tables of alfworld: what may hold, heat, cool and clean what."""
    import alfworld.gen.constants  # pyright: ignore[reportMissingImports]

    return alfworld.gen.constants


def holdable(receptacle_kind: str) -> frozenset[str]:
    """Kinds of loose things that a kind of receptacle may hold, slices left out."""
    kinds = affordances().VAL_RECEPTACLE_OBJECTS.get(receptacle_kind, ())
    return frozenset(kind for kind in kinds if not kind.endswith("Sliced"))


def kind_of_room(scene: int) -> str:
    """Kitchen, LivingRoom, Bedroom or Bathroom, by the number of a floor plan."""
    return max((kind for kind in _FIRST if _FIRST[kind] <= scene), key=lambda kind: _FIRST[kind])


@lru_cache(maxsize=128)
def room(scene: int) -> Room:
    """The room of a floor plan; always the same."""
    draw = random.Random(scene)
    base = package_folder() / "gen" / "layouts" / f"FloorPlan{scene}"
    fixed = set(affordances().VAL_RECEPTACLE_OBJECTS) - set(affordances().MOVABLE_RECEPTACLES)
    present = set(json.loads(Path(f"{base}-objects.json").read_text(encoding="utf-8")))
    placed = json.loads(Path(f"{base}-openable.json").read_text(encoding="utf-8"))
    points = [(round(x / STEP), round(z / STEP)) for x, z in np.load(f"{base}-layout.npy")]

    taken = {start := Location(*draw.choice(points), 0, 30)}
    receptacles = []
    for name, (x, z, rotation, horizon) in sorted(placed.items()):
        kind = name.split("|")[-1 if name.endswith("Basin") else 0]
        if kind in fixed:
            where = Location(
                round(x / STEP), round(z / STEP), round(rotation) // 90 % 4, round(horizon)
            )
            receptacles.append(Receptacle(id=name, kind=kind, location=_alone(where, taken)))
    for kind in sorted((present & fixed) - {each.kind for each in receptacles}):
        for _ in range(draw.randint(*_COPIES.get(kind, (1, 1)))):
            x, z = draw.choice(points)
            where = Location(x, z, draw.randrange(4), draw.choice((0, 15, 30)))
            name = thing_id(kind, (x * STEP, draw.uniform(0.2, 1.6), z * STEP))
            receptacles.append(Receptacle(id=name, kind=kind, location=_alone(where, taken)))
    kinds = {kind for each in receptacles for kind in holdable(each.kind)}
    return Room(
        scene=scene,
        kind=kind_of_room(scene),
        start=start,
        receptacles=tuple(receptacles),
        object_kinds=tuple(sorted(present & kinds)),
    )


def thing_id(kind: str, position: tuple[float, float, float]) -> str:
    """AI2-THOR's name of a thing at (x, y, z) in metres."""
    base = "|".join([_BASINS.get(kind, kind), *(f"{value:+06.2f}" for value in position)])
    return f"{base}|{kind}" if kind in _BASINS else base


def _alone(where: Location, taken: set[Location]) -> Location:
    """The location, with another horizon where it is taken: text names what one faces."""
    while where in taken:
        where = where._replace(horizon=where.horizon + 15)
    taken.add(where)
    return where
