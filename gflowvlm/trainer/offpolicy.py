"""What joins an update's own episodes: an expert's games on its starts, and replayed ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from gflowvlm.baselines.expert import ExpertPlayer
from gflowvlm.episode import Ending, Episode, Reply
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.replay import REPLAY_FILE, Replay, Trajectory

_STREAM = 13  # keeps the replay's draws apart from the run's other ones
_TAKEN_OVER = 17  # and those of the steps at which the expert takes over


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Episodes from other laws than the policy's; without sources there are none.

    Every process holds the whole replay and makes the same draw from it. Of what is added to an
    update each takes the groups it has episodes of, and an even share of the new ones.
    """

    run_seed: int
    replay: Replay | None = None
    replayed: int = 0  # episodes drawn for an update, once the replay holds as many
    expert: ExpertPlayer | None = None
    taught: int = 0  # expert's episodes for an update, at most one a group
    takes_over: bool = False  # it goes on in lost games instead, at most once in each
    processes: Processes = ALONE

    def teach(
        self, policy: Policy, everyone: Sequence[Episode], own: Sequence[Played]
    ) -> list[Played]:
        """The expert's episodes on starts of `own`, as members of their groups.

        Groups with fewest successes come first: there the policy has most to learn.

        Args:
            policy: whose tokens the expert's words become.
            everyone: all processes' episodes.
            own: this process's.
        """
        if self.expert is None:
            return []
        successes = Counter(episode.group for episode in everyone if episode.success)
        if self.takes_over:
            lost = [episode for episode in everyone if not episode.success]
            lost.sort(key=lambda episode: successes[episode.group])
            chosen = {episode.index for episode in lost[: self.taught]}
            episodes = [p.episode for p in own if p.episode.index in chosen]
            begun = [self._beginning(episode) for episode in episodes]
        else:
            groups = dict.fromkeys(episode.group for episode in everyone)
            needy = set(sorted(groups, key=lambda group: successes[group])[: self.taught])
            of_groups = {p.episode.group: p.episode for p in own if p.episode.group in needy}
            episodes, begun = list(of_groups.values()), None
        plans = [Plan(index=each.index, group=each.group, seed=each.seed) for each in episodes]
        taught = self.expert.play(policy, plans, begun)
        return [played for played in taught if played.cut is None]  # one cut has no reward

    def _beginning(self, episode: Episode) -> Sequence[Reply]:
        """Its replies up to a step of its first half, so that there is time to mend what it was."""
        draw = np.random.default_rng([self.run_seed, _TAKEN_OVER, episode.index])
        steps = int(draw.integers((len(episode.decisions) + 1) // 2))
        return [decision.reply for decision in episode.decisions[:steps]]

    def recall(
        self, update: int, own: Sequence[Trajectory], *, group_size: int, couples_rows: bool
    ) -> list[Trajectory]:
        """Trajectories of earlier updates; all processes' own ended ones are kept for later ones.

        A group stays one of one h_0: a replayed episode joins the first group of an own one with
        its start, or forms one of a new number with the others of its start. Where rows couple,
        none is drawn that would be alone in its group.
        """
        if self.replay is None:
            return []
        played = self.processes.gather([self.replay.shared(trajectory) for trajectory in own])
        groups: dict[str, int] = {}
        everyones = list(chain.from_iterable(played))
        for trajectory in everyones:
            groups.setdefault(trajectory.start, trajectory.episode.group)
        drawn = self.replay.draw(
            self.replayed,
            np.random.default_rng([self.run_seed, _STREAM, update]),
            own=list(groups),
            most=group_size,
            least=2 if couples_rows else 1,
        )
        for trajectory in everyones:
            if trajectory.episode.ending is not Ending.TRUNCATED:
                self.replay.add(trajectory)
        first_new = 1 + max(trajectory.episode.group for trajectory in everyones)
        regrouped = []
        for trajectory in drawn:
            group = groups.setdefault(trajectory.start, first_new + len(groups))
            regrouped.append(replace(trajectory, episode=replace(trajectory.episode, group=group)))
        new = dict.fromkeys(t.episode.group for t in regrouped if t.episode.group >= first_new)
        mine = {t.episode.group for t in own} | set(self.processes.deal(list(new)))
        return [trajectory for trajectory in regrouped if trajectory.episode.group in mine]

    def metrics(
        self, own: int, taught: Sequence[Trajectory], replayed: Sequence[Trajectory]
    ) -> dict[str, float]:
        """Shares of the update's episodes, what is held, and the mean log R of what was added.

        Args:
            own: number of all processes' own episodes.
            taught: this process's.
            replayed: this process's.
        """
        values: dict[str, float] = {}
        if self.replay is not None:
            values["replay/size"] = float(len(self.replay))
            values["replay/solutions"] = float(self.replay.solutions)
        rewards = {
            "replay": self._everyones(self.replay, replayed),
            "expert": self._everyones(self.expert, taught),
        }
        total = own + sum(len(added) for added in rewards.values() if added is not None)
        for name, added in rewards.items():
            if added is not None:
                values[f"{name}/share"] = len(added) / total
            if added:
                values[f"{name}/log_reward"] = sum(added) / len(added)
        return values

    def _everyones(self, source: object | None, added: Sequence[Trajectory]) -> list[float] | None:
        """Log R of what all processes added from a source, None without one."""
        if source is None:
            return None
        told = self.processes.gather([trajectory.reward.total for trajectory in added])
        return [log_reward for part in told for log_reward in part]

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates."""
        if self.replay is not None:
            self.replay.save(folder / REPLAY_FILE)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if self.replay is not None:
            self.replay.load(folder / REPLAY_FILE)
