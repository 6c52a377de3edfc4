"""Success by kind of task, where the environment says which an episode is."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gflowvlm.episode import Episode
from gflowvlm.evaluation import metrics
from gflowvlm.evaluation.share import Share, mean_share, share_of


@dataclass(frozen=True, kw_only=True)
class TypeScore:
    """The games of one kind of task."""

    games: int
    reach: Share

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(games=values["games"], reach=Share(**values["reach"]))


ByType = dict[str, TypeScore]
"""Kind of task -> its games, in alphabetical order; empty where nobody says."""


def by_task_type(episodes: Sequence[Episode]) -> ByType:
    """Each kind's games; those of no kind are left out."""
    groups: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.task_type is not None:
            groups[episode.task_type].append(episode)
    return {
        name: TypeScore(games=len(games), reach=share_of(games, metrics.reach(games)))
        for name, games in sorted(groups.items())
    }


def macro_reach(by_type: ByType) -> Share | None:
    """Mean over kinds of their reach, each kind counting alike; None where there are none.

    Its interval holds for these kinds, which are no sample of others, and takes games to be
    independent, as those of the kinds do.
    """
    return mean_share([each.reach for each in by_type.values()]) if by_type else None


def types_from_dict(values: Mapping[str, Any]) -> ByType:
    """What `dataclasses.asdict` makes of them, read back."""
    return {name: TypeScore.from_dict(each) for name, each in values.items()}
