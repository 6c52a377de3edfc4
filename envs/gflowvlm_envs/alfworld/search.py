"""Where to look for a thing that has not been seen."""

import numpy as np

from gflowvlm_envs.alfworld.expert import Intention
from gflowvlm_envs.alfworld.memory import Memory
from gflowvlm_envs.alfworld.world import Situation

CONSIDERED = 3


def likeliest(missing: str, memory: Memory) -> list[str]:
    """The receptacles to look into next for a kind of thing: `CONSIDERED`, or all that are left.

    Likelier are those that may hold a thing of the kind, then those that show it without opening,
    then those that were named first: an order that does not change on the way, so that a search
    goes on where it was left.
    """
    house = memory.house
    left = [place for place in house.receptacles if place not in memory.contents]

    def unlikely(place: str) -> tuple[bool, bool]:
        may_hold = (house.kinds[place], missing) in house.holds_kind
        return not may_hold, place in house.openable

    return sorted(left, key=unlikely)[:CONSIDERED]


def search(
    missing: str, memory: Memory, now: Situation, np_random: np.random.Generator
) -> Intention | None:
    """Go to, or open, one of the likeliest receptacles; None where all have been looked into.

    One that is at hand comes first. Otherwise any of them does, uniformly: none is the better
    choice, and there is more than one way to play well.
    """
    house, places = memory.house, likeliest(missing, memory)
    if not places:
        return None
    at_hand = [place for place in places if house.location[place] == now.at]
    if at_hand:  # closed, or beside the one that was asked for
        place = at_hand[0]
        action = "openobject" if place in house.openable else "examinereceptacle"
    else:
        place, action = places[np_random.integers(len(places))], "gotolocation"
    return Intention(action=action, arguments={"r": place}, reason=f"find the {missing}")
