"""Notes that an environment may keep for players who forget: of what has been told, and no more."""

from collections.abc import Iterable, Mapping

from gflowvlm_envs.alfworld.expert import Planner
from gflowvlm_envs.alfworld.memory import CLEAN, COLD, HOT, SLICED, Memory
from gflowvlm_envs.alfworld.search import likeliest
from gflowvlm_envs.alfworld.world import TASKS

MIDDLE = "the middle of the room"


def notes(memory: Memory, planner: Planner) -> str:
    """Where the player is, what it carries, what of use it knows, and where to look next.

    "You are at shelf 2, carrying nothing; a mug: clean mug 1 at shelf 2; to look into: drawer 1."
    Once all that the task needs is in hand there is nothing to look for, and the last two are gone.

    Args:
        memory: what has been told.
        planner: plans on that alone.
    """
    names, sought = memory.house.names, planner.sought()
    held = _called(names, memory, memory.held) if memory.held else "nothing"
    here = names[memory.here] if memory.here else MIDDLE
    told = [f"You are at {here}, carrying {held}"]
    if sought:
        inside = planner.now.inside
        wanted = planner.wanted()
        told.append(f"a {sought}: {_placed(names, memory, wanted, inside)}")
        brought = [t for t in memory.house.of_kind(sought) if t in inside and t not in wanted]
        if brought and planner.goal.task == TASKS[5]:
            told.append(f"placed: {_placed(names, memory, brought, inside)}")
        left = ", ".join(names[place] for place in likeliest(sought, memory))
        told.append(f"to look into: {left or 'nothing'}")
    return "; ".join(told) + "."


def _placed(
    names: Mapping[str, str], memory: Memory, things: Iterable[str], inside: Mapping[str, str]
) -> str:
    known = [f"{_called(names, memory, thing)} at {names[inside[thing]]}" for thing in things]
    return ", ".join(known) or "nothing"


def _called(names: Mapping[str, str], memory: Memory, thing: str) -> str:
    """Its name after what is known of its state: "clean mug 2"."""
    marks = [mark for mark in (CLEAN, HOT, COLD, SLICED) if mark in memory.marks_of(thing)]
    return " ".join((*marks, names[thing]))
