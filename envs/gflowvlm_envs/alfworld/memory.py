"""What the player knows: that which the engine's words have told so far, and nothing else."""

from dataclasses import dataclass, field

from gflowvlm_envs.alfworld.move import Move
from gflowvlm_envs.alfworld.world import House, Situation

CLEAN, HOT, COLD, LIT, SLICED = "clean", "hot", "cold", "on", "sliced"


@dataclass(kw_only=True)
class Memory:
    """Everything by ids. The first words of a game name all receptacles and no object."""

    house: House
    here: str | None = None  # the receptacle that was last dealt with; None in mid-room
    open: dict[str, bool] = field(default_factory=dict)  # openable receptacle -> as last told
    contents: dict[str, list[str]] = field(default_factory=dict)  # of those looked into
    held: str | None = None
    marks: dict[str, frozenset[str]] = field(default_factory=dict)  # object -> CLEAN, HOT, ...

    def learn(self, move: Move, now: Situation) -> None:
        """Take in the answer to a move; `now` is what is true after it.

        The text tells the contents of the one receptacle that the move names, when that stands
        open or cannot be closed: also where several receptacles share a place.
        """
        thing, place = move.arguments.get("o", ""), move.arguments.get("r", "")
        self.here = place or self.here
        match move.action:
            case "gotolocation" | "openobject" | "examinereceptacle":
                self._look_into(place, now)
            case "closeobject":
                self.open[place] = False
            case "pickupobject":
                self.held = thing
                self._leave(thing)
            case "putobject":
                self.held = None
                self._leave(thing)
                self.contents.setdefault(place, []).append(thing)
            case "cleanobject":
                self._mark(thing, CLEAN)
            case "heatobject":
                self._mark(thing, HOT, unlike=COLD)
            case "coolobject":
                self._mark(thing, COLD, unlike=HOT)
            case "toggleobject" if thing in now.lit:
                self._mark(thing, LIT)
            case "sliceobject":
                self._mark(move.arguments["co"], SLICED)
            case "examineobject" if thing not in self.house.holders:
                self.marks[thing] = _true_marks(thing, now) | (self.marks_of(thing) & {SLICED})

    def marks_of(self, thing: str) -> frozenset[str]:
        """What is known of an object's state."""
        return self.marks.get(thing, frozenset())

    def known(self) -> set[str]:
        """The objects that have been named."""
        held = {self.held} if self.held else set()
        return held.union(*self.contents.values())

    def belief(self, at: str) -> Situation:
        """What would be true if there were no more than is known, with the agent at a location."""

        def marked(mark: str) -> frozenset[str]:
            return frozenset(thing for thing, marks in self.marks.items() if mark in marks)

        return Situation(
            at=at,
            held=self.held,
            inside={thing: place for place, things in self.contents.items() for thing in things},
            opened=frozenset(place for place, is_open in self.open.items() if is_open),
            hot=marked(HOT),
            cold=marked(COLD),
            clean=marked(CLEAN),
            lit=marked(LIT),
        )

    def _look_into(self, place: str, now: Situation) -> None:
        if place in self.house.openable:
            self.open[place] = place in now.opened
            if not self.open[place]:
                return
        found = [thing for thing in self.house.objects if now.inside.get(thing) == place]
        for thing in found:
            self._leave(thing)
        self.contents[place] = found

    def _leave(self, thing: str) -> None:
        """Forget where a thing was."""
        for things in self.contents.values():
            if thing in things:
                things.remove(thing)

    def _mark(self, thing: str, mark: str, unlike: str = "") -> None:
        self.marks[thing] = (self.marks_of(thing) | {mark}) - {unlike}


def _true_marks(thing: str, now: Situation) -> frozenset[str]:
    states = ((CLEAN, now.clean), (HOT, now.hot), (COLD, now.cold), (LIT, now.lit))
    return frozenset(mark for mark, things in states if thing in things)
