"""Who knows how to play: a way to the goal from any moment of a game, one move at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gflowvlm_envs.alfworld.move import Move
from gflowvlm_envs.alfworld.world import TASKS, Goal, House, Situation, treatments

STATIONS: Mapping[str, tuple[str, str, str]] = {
    TASKS[2]: ("cleanobject", "sinkbasin", "clean"),
    TASKS[3]: ("heatobject", "microwave", "heat"),
    TASKS[4]: ("coolobject", "fridge", "cool"),
}
"""Task -> (action, kind of receptacle where it is done, the word for it)."""


@dataclass(frozen=True, kw_only=True)
class Intention:
    """What is to be done next, and why."""

    action: str  # of the PDDL domain
    arguments: Mapping[str, str]  # those that tell it from the others
    reason: str

    def chosen(self, moves: Iterable[Move]) -> int | None:
        """Index of the move that does it."""
        wanted = self.arguments.items()
        for index, move in enumerate(moves):
            if move.action == self.action and wanted <= move.arguments.items():
                return index
        return None


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Takes what is true, or what is believed to be, and says what to do.

    It plans anew at each step, so that it goes on from wherever a mistake has led. Receptacles have
    room for everything, and clean, heat and cool work on closed appliances: such are ALFWorld's
    rules.
    """

    goal: Goal
    house: House
    now: Situation

    def next(self) -> Intention | None:
        """What brings the goal nearer; None where no object of the wanted kind is known."""
        held = self.now.held
        if held is not None and not self._holds_wanted:
            return self._free_hands(held)
        if self.goal.task == TASKS[1]:
            return self._carry_to_lamp(held) if held else self._fetch()
        return self._carry(held) if held else self._fetch()

    def sought(self) -> str:
        """The kind that is looked for: the object's until one is held, then the lamp's, if any."""
        return self.goal.lamp if self._holds_wanted else self.goal.object

    def wanted(self) -> list[str]:
        """Which of that kind are looked for, the nearest first."""
        return sorted(self._wanted(), key=lambda thing: self._moves_to(self.now.inside[thing]))

    def _wanted(self) -> list[str]:
        things = [t for t in self.house.of_kind(self.sought()) if t in self.now.inside]
        if self._holds_wanted:
            return things
        if self.goal.task in STATIONS:
            treated = treatments(self.now)[self.goal.task]
            return [t for t in things if t in treated] or things
        if self.goal.task != TASKS[1]:
            target = self._target()
            return [t for t in things if self.now.inside[t] != target]
        return things

    @property
    def untreated(self) -> bool:
        """Whether what is held is wanted clean, hot or cold, and is not so yet."""
        held, task = self.now.held, self.goal.task
        return self._holds_wanted and task in STATIONS and held not in treatments(self.now)[task]

    @property
    def _holds_wanted(self) -> bool:
        held = self.now.held
        return held is not None and self.house.kinds[held] == self.goal.object

    def _carry(self, held: str) -> Intention | None:
        if self.untreated:
            action, kind, word = STATIONS[self.goal.task]
            where = self._nearest(self.house.of_kind(kind))
            reason = f"{word} the {self.goal.object}"
            if where is None:
                return None
            return self._go(where, reason) or _do(action, reason, o=held, r=where)
        where = self._target()
        return self._put(held, where, f"place the {self.goal.object}")

    def _carry_to_lamp(self, held: str) -> Intention | None:
        lamp = next(iter(self.wanted()), None)
        if lamp is None:
            return None
        where, reason = self.now.inside[lamp], f"light the {self.goal.object}"
        return self._go(where, reason) or _do("toggleobject", reason, o=lamp, r=where)

    def _fetch(self) -> Intention | None:
        """Take the object that is nearest, one already treated before all others."""
        thing = next(iter(self.wanted()), None)
        if thing is None:
            return None
        where, reason = self.now.inside[thing], f"take the {self.goal.object}"
        return self._reach(where, reason) or _do("pickupobject", reason, o=thing, r=where)

    def _free_hands(self, held: str) -> Intention | None:
        """Put a thing that is not wanted where it may be, as near as possible."""
        kind = self.house.kinds[held]
        places = [r for r in self.house.receptacles if self._admits(r, kind)]
        where = self._nearest(places)
        return self._put(held, where, f"put the {kind} away")

    def _target(self) -> str | None:
        """Where the object is to be; with two of them, where the first one is already."""
        places = self.house.of_kind(self.goal.receptacle)
        inside = [self.now.inside.get(thing) for thing in self.house.of_kind(self.goal.object)]
        most = max((inside.count(place) for place in places), default=0)
        return self._nearest([place for place in places if inside.count(place) == most])

    def _put(self, held: str, where: str | None, reason: str) -> Intention | None:
        if where is None:
            return None
        return self._reach(where, reason) or _do("putobject", reason, o=held, r=where)

    def _reach(self, where: str, reason: str) -> Intention | None:
        """Go there and open it; None where both are done."""
        going = self._go(where, reason)
        if going or where not in self.house.openable or where in self.now.opened:
            return going
        return _do("openobject", reason, r=where)

    def _go(self, where: str, reason: str) -> Intention | None:
        if self.house.location[where] == self.now.at:
            return None
        return _do("gotolocation", reason, r=where)

    def _admits(self, place: str, kind: str) -> bool:
        return (self.house.kinds[place], kind) in self.house.holds_kind

    def _nearest(self, places: Iterable[str]) -> str | None:
        """The place that takes the fewest moves to deal with, the first by name among equals."""
        return min(places, key=self._moves_to, default=None)

    def _moves_to(self, place: str) -> int:
        closed = place in self.house.openable and place not in self.now.opened
        return (self.house.location[place] != self.now.at) + closed


def _do(action: str, reason: str, **arguments: str) -> Intention:
    return Intention(action=action, arguments=arguments, reason=reason)
