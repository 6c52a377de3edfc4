"""Where to look for a thing that has not been seen."""

from gflowvlm_envs.alfworld.expert import Intention
from gflowvlm_envs.alfworld.memory import Memory
from gflowvlm_envs.alfworld.world import Goal, Situation


def search(goal: Goal, memory: Memory, now: Situation) -> Intention | None:
    """Go to, or open, the likeliest receptacle not yet looked into; None where all have been.

    Likelier are those that may hold a thing of the kind, then those that show it without opening.
    """
    house = memory.house
    missing = goal.lamp if memory.held and goal.lamp else goal.object
    left = [place for place in house.receptacles if place not in memory.contents]

    def effort(place: str) -> tuple[bool, int]:
        closed = place in house.openable and place not in now.opened
        away = house.location[place] != now.at
        return (house.kinds[place], missing) not in house.holds_kind, 2 * away + closed

    place = min(left, key=effort, default=None)
    if place is None:
        return None
    if house.location[place] != now.at:
        action = "gotolocation"
    else:  # closed, or beside the one that was asked for
        action = "openobject" if place in house.openable else "examinereceptacle"
    return Intention(action=action, arguments={"r": place}, reason=f"find the {missing}")
