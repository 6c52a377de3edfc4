"""Where to look for a thing that has not been seen."""

from gflowvlm_envs.alfworld.expert import Intention
from gflowvlm_envs.alfworld.memory import Memory
from gflowvlm_envs.alfworld.world import Goal, Situation


def search(goal: Goal, memory: Memory, now: Situation) -> Intention | None:
    """Go to, or open, the next receptacle not yet looked into; None where all have been.

    Those that show what they hold come first, in the order in which they were named; then those
    with a door that may hold a thing of the kind, then the rest. So the next is mostly the one
    named next, and as the order does not change on the way, a search goes on where it was left: the
    reason names the place up to which all have been looked into.
    """
    house = memory.house
    missing = goal.lamp if memory.held and goal.lamp else goal.object

    def late(place: str) -> tuple[bool, bool]:
        has_door = place in house.openable
        may_hold = (house.kinds[place], missing) in house.holds_kind
        return has_door, has_door and not may_hold

    done, reason = None, f"find the {missing}"
    for place in sorted(house.receptacles, key=late):
        if place in memory.contents:
            done = place
            continue
        if house.location[place] != now.at:
            action = "gotolocation"
        else:  # closed, or beside the one that was asked for
            action = "openobject" if place in house.openable else "examinereceptacle"
        reason += f" from {house.names[done]}" if done else ""
        return Intention(action=action, arguments={"r": place}, reason=reason)
    return None
