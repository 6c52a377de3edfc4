"""Figures of each start by itself: what intervals over starts are made of."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium

from gflowvlm.episode import Episode
from gflowvlm.evaluation import metrics
from gflowvlm.evaluation.coverage import coverage

ByStart = dict[str, list[float | None]]
"""Metric -> its value at each start (group of games), None where the start has none."""


def powers_up_to(samples: int) -> list[int]:
    """1, 2, 4, ... and `samples` itself: the k of pass@k."""
    return sorted({2**i for i in range(samples.bit_length())} | {samples})


def pass_name(k: int) -> str:
    """What pass@k is called among metrics."""
    return f"pass@{k}"


def by_start(
    episodes: Sequence[Episode], make: Callable[[], gymnasium.Env[Any, Any]], *, covered: bool
) -> ByStart:
    """Every metric that is a mean over starts, start by start.

    Args:
        episodes: games of one split, equally many from each start.
        make: builds the environment they were played in.
        covered: whether it knows its solutions, so that coverage can be told.
    """
    groups: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        groups[episode.group].append(episode)
    found: ByStart = defaultdict(list)
    for games in groups.values():
        figures: dict[str, float | None] = {
            "reach": metrics.reach(games),
            "strict": metrics.strict(games),
            "diversity": metrics.diversity(games),
            "reply_entropy": metrics.reply_entropy(games),
        }
        for k in powers_up_to(len(games)):
            figures[pass_name(k)] = metrics.pass_at(games, k)
        if covered:
            solved = coverage(games, make)
            figures["solutions"] = None if solved is None else solved.solutions
            figures["classes"] = None if solved is None else solved.classes
            figures["diversity_classes"] = None if solved is None else solved.diversity
        for name, value in figures.items():
            found[name].append(value)
    return dict(found)
