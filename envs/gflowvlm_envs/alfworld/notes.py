"""Notes that an environment may keep for players who forget: of what has been told, and no more."""

from collections.abc import Iterable, Mapping

from gflowvlm_envs.alfworld.expert import Planner
from gflowvlm_envs.alfworld.memory import CLEAN, COLD, HOT, SLICED, Memory
from gflowvlm_envs.alfworld.search import likeliest
from gflowvlm_envs.alfworld.world import TASKS

MIDDLE = "the middle of the room"
_TREATED = {TASKS[2]: CLEAN, TASKS[3]: HOT, TASKS[4]: COLD}


def notes(memory: Memory, planner: Planner) -> str:
    """Where the player is, what it carries, what of use it knows, and where to look next.

    "You are at shelf 2, carrying nothing; a mug: mug 1 at shelf 2; to look into: drawer 1." Once
    all that the task needs is in hand there is nothing to look for: "You are at sinkbasin 1,
    carrying mug 1, not clean.", and a step later "carrying clean mug 1."

    Args:
        memory: what has been told.
        planner: plans on that alone.
    """
    names, sought = memory.house.names, planner.sought()
    here = names[memory.here] if memory.here else MIDDLE
    told = [f"You are at {here}, carrying {_carried(memory, planner)}"]
    if sought:
        wanted = planner.wanted()
        told.append(f"a {sought}: {_placed(names, wanted, planner)}")
        known = [thing for thing in memory.house.of_kind(sought) if thing in planner.now.inside]
        brought = [thing for thing in known if thing not in wanted]
        if brought and planner.goal.task == TASKS[5]:
            told.append(f"placed: {_placed(names, brought, planner)}")
        left = ", ".join(names[place] for place in likeliest(sought, memory))
        told.append(f"to look into: {left or 'nothing'}")
    return "; ".join(told) + "."


def _carried(memory: Memory, planner: Planner) -> str:
    """Its name, with what is known of its state and what it lacks of the one asked for."""
    if memory.held is None:
        return "nothing"
    marks = [mark for mark in (CLEAN, HOT, COLD, SLICED) if mark in memory.marks_of(memory.held)]
    told = " ".join((*marks, memory.house.names[memory.held]))
    return f"{told}, not {_TREATED[planner.goal.task]}" if planner.untreated else told


def _placed(names: Mapping[str, str], things: Iterable[str], planner: Planner) -> str:
    places = planner.now.inside
    return ", ".join(f"{names[thing]} at {names[places[thing]]}" for thing in things) or "nothing"
