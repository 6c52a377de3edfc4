"""Where to look for a thing that has not been seen."""

from gflowvlm_envs.alfworld.expert import Intention
from gflowvlm_envs.alfworld.memory import Memory
from gflowvlm_envs.alfworld.world import Goal, Situation


def search(goal: Goal, memory: Memory, now: Situation) -> Intention | None:
    """Go to, or open, the likeliest receptacle not yet looked into; None where all have been.

    Likelier are those that may hold a thing of the kind, then those that show it without opening,
    then those that were named first: an order that does not change on the way, so that a search
    goes on where it was left.
    """
    house = memory.house
    missing = goal.lamp if memory.held and goal.lamp else goal.object
    left = [place for place in house.receptacles if place not in memory.contents]

    def unlikely(place: str) -> tuple[bool, bool]:
        may_hold = (house.kinds[place], missing) in house.holds_kind
        return not may_hold, place in house.openable

    place = min(left, key=unlikely, default=None)
    if place is None:
        return None
    if house.location[place] != now.at:
        action = "gotolocation"
    else:  # closed, or beside the one that was asked for
        action = "openobject" if place in house.openable else "examinereceptacle"
    return Intention(action=action, arguments={"r": place}, reason=f"find the {missing}")
