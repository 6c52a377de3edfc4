"""The policy's own successes, played anew every round: what rejection sampling keeps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from gflowvlm.batch import Row
from gflowvlm.episode import Decision, Episode, Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Collector, Played
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.rollouts.sharing import ImageStore, start_of
from gflowvlm.rollouts.storage import read_values, write_values

KEPT_FILE = "kept_games.pt"
_KINDS = (Played, Row, Episode, Decision, Observation, Reply)


@dataclass(kw_only=True)
class KeptGames:
    """Games of the newest rounds that reached their goal.

    A round plays at once what an on-policy method plays in its updates, on the same starts. Of
    several processes each plays its share; all hold everything that is kept.
    """

    policy: Policy
    collector: Collector
    reward: RewardMap
    groups_per_update: int
    group_size: int
    round_updates: int
    max_updates: int  # the last round may be shorter
    min_log_reward: float | None = None  # nats; games of less are not kept
    keep: Literal["all", "distinct"] = "all"
    rounds_kept: int = 1
    shared_chance: bool = False  # the episodes of a group meet the same chance
    processes: Processes = ALONE
    games: list[Played] = field(default_factory=list, init=False)  # oldest round first
    _sizes: list[int] = field(default_factory=list, init=False)  # games kept of each round
    _cost: list[int] = field(default_factory=lambda: [0, 0], init=False)
    # of the newest round, all processes': episodes played and environment steps

    def play(self, update: int) -> dict[str, float]:
        """Play the round that begins at an update; gives its metrics.

        Raises:
            UserError: nothing was kept of it.
        """
        played = self._played(update)
        mine = [game for game in played if self._worth(game.episode)]
        told = [game.episode.without_images() for game in played]
        everyone = list(chain.from_iterable(self.processes.gather(told)))
        fresh = list(chain.from_iterable(self.processes.gather(mine)))
        if not fresh:
            raise UserError(
                f"update {update + 1}: found no success worth keeping in {len(everyone)} games, "
                "expected some to imitate: start from a better adapter (policy.start), play more "
                "(trainer.group_size), or lower objective.min_log_reward"
            )
        self._take_in(fresh)
        self._cost = [len(everyone), sum(len(episode.decisions) for episode in everyone)]
        return {
            "played": float(len(everyone)),
            "reach": sum(episode.success for episode in everyone) / len(everyone),
            "kept": len(fresh) / len(everyone),
            "kept_games": float(len(self.games)),
            "kept_starts": float(len({start_of_game(game) for game in self.games})),
        }

    def weights(self) -> list[float]:
        """Of each game, so that all starts weigh the same; their mean is 1."""
        starts = [start_of_game(game) for game in self.games]
        count = Counter(starts)
        return [len(starts) / (len(count) * count[start]) for start in starts]

    def cost(self, update: int) -> tuple[int, int]:
        """(episodes, environment steps) of an update's share of its round, told by one process.

        A round's cost is spread over its updates, so that a budget does not end a run before it
        has learned from what it paid for.
        """
        if not self.processes.main:
            return 0, 0
        place = update % self.round_updates
        updates = min(self.round_updates, self.max_updates - (update - place))
        episodes, steps = (
            whole * (place + 1) // updates - whole * place // updates for whole in self._cost
        )
        return episodes, steps

    def save(self, folder: Path) -> None:
        """Write all games held."""
        write_values(folder / KEPT_FILE, [self.games, self._sizes, self._cost], kinds=_KINDS)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.games, self._sizes, self._cost = read_values(
            folder / KEPT_FILE, kinds=_KINDS, what="kept games", otherwise="from update 0"
        )

    def _played(self, update: int) -> list[Played]:
        updates = min(self.round_updates, self.max_updates - update)
        every = range(updates * self.groups_per_update)
        mine = self.processes.deal(every)
        plans = plan_groups(
            self.collector.run_seed,
            "train",
            first_group=update * self.groups_per_update + (mine[0] if mine else 0),
            groups=len(mine),
            group_size=self.group_size,
            shared_chance=self.shared_chance,
        )
        played = self.collector.collect(self.policy, plans)
        images = ImageStore()
        return [
            replace(
                game,
                episode=images.episode(game.episode),
                rows=tuple(images.row(row) for row in game.rows),
            )
            for game in played
        ]

    def _worth(self, episode: Episode) -> bool:
        if not episode.success:
            return False
        return self.min_log_reward is None or (
            self.reward(episode).total >= self.min_log_reward - 1e-9
        )

    def _take_in(self, fresh: Sequence[Played]) -> None:
        """Add a round; give up the oldest one beyond `rounds_kept`, and doubles where asked."""
        while len(self._sizes) >= self.rounds_kept:
            del self.games[: self._sizes.pop(0)]
        rounds = [*self._rounds(), list(fresh)]
        if self.keep == "distinct":
            newest = {_solution(game): id(game) for each in rounds for game in each}
            kept = set(newest.values())
            rounds = [[game for game in each if id(game) in kept] for each in rounds]
        self.games, self._sizes = list(chain.from_iterable(rounds)), [len(each) for each in rounds]

    def _rounds(self) -> list[list[Played]]:
        rounds, first = [], 0
        for size in self._sizes:
            rounds.append(self.games[first : first + size])
            first += size
        return rounds


def start_of_game(game: Played) -> str:
    """Names h_0; equal for games that begin with the same text and pixels."""
    return start_of(game.episode.decisions[0].observation)


def _solution(game: Played) -> tuple[str, ...]:
    return start_of_game(game), *game.episode.actions
