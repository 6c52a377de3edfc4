"""Which episodes are to be played, named by numbers alone."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An episode to be played."""

    index: int  # number of the episode within the run
    group: int  # episodes of one group share their start
    seed: int  # environment seed of the start, equal within a group
    chance_seed: int | None = None  # of what happens after it; None: goes on with the start's


def plan_groups(
    run_seed: int,
    purpose: str,
    *,
    first_group: int,
    groups: int,
    group_size: int,
    shared_chance: bool = False,
) -> list[Plan]:
    """Plans whose seeds are functions of numbers alone.

    A start's seed is one of (run seed, purpose, group), a chance seed one of (run seed, purpose,
    episode). `purpose` ("train", "evaluate/id") keeps streams apart, so that equal numbers mean
    nothing. With `shared_chance` the episodes of a group have one chance seed.
    """
    plans = []
    for group in range(first_group, first_group + groups):
        seed = _seed(run_seed, purpose, group)
        for index in range(group * group_size, (group + 1) * group_size):
            lot = group * group_size if shared_chance else index
            chance_seed = _seed(run_seed, f"{purpose}/chance", lot)
            plans.append(Plan(index=index, group=group, seed=seed, chance_seed=chance_seed))
    return plans


def _seed(run_seed: int, purpose: str, number: int) -> int:
    stream = np.frombuffer(sha256(purpose.encode()).digest(), dtype=np.uint32).tolist()
    sequence = np.random.SeedSequence([run_seed, number, *stream])
    return int(sequence.generate_state(1)[0]) & 0x7FFFFFFF
