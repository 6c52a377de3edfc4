"""What joins an update's own episodes: an expert's games on its starts, and replayed ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gflowvlm.baselines.expert import ExpertPlayer
from gflowvlm.policy.base import Policy
from gflowvlm.rollouts.collect import Plan, Played
from gflowvlm.rollouts.replay import REPLAY_FILE, Replay, Trajectory

_STREAM = 13  # keeps the replay's draws apart from the run's other ones


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Episodes from other laws than the policy's; without sources there are none."""

    run_seed: int
    replay: Replay | None = None
    replayed: int = 0  # episodes drawn for an update, once the replay holds as many
    expert: ExpertPlayer | None = None
    taught: int = 0  # expert's episodes for an update, at most one a group

    def teach(self, policy: Policy, own: Sequence[Played]) -> list[Played]:
        """The expert's episodes on starts of `own`, as members of their groups.

        Groups with fewest successes come first: there the policy has most to learn.
        """
        if self.expert is None:
            return []
        successes = Counter(p.episode.group for p in own if p.episode.success)
        plans = {
            p.episode.group: Plan(index=p.episode.index, group=p.episode.group, seed=p.episode.seed)
            for p in own
        }
        needy = sorted(plans, key=lambda group: successes[group])
        return self.expert.play(policy, [plans[group] for group in needy[: self.taught]])

    def recall(
        self, update: int, own: Sequence[Trajectory], *, group_size: int, couples_rows: bool
    ) -> list[Trajectory]:
        """Trajectories of earlier updates; `own`, kept from now on, are not among them.

        A group stays one of one h_0: a replayed episode joins the first group of `own` with its
        start, or forms one of a new number with the others of its start. Where rows couple, none
        is drawn that would be alone in its group.
        """
        if self.replay is None:
            return []
        groups: dict[str, int] = {}
        for trajectory in own:
            groups.setdefault(trajectory.start, trajectory.episode.group)
        drawn = self.replay.draw(
            self.replayed,
            np.random.default_rng([self.run_seed, _STREAM, update]),
            own=list(groups),
            most=group_size,
            least=2 if couples_rows else 1,
        )
        for trajectory in own:
            self.replay.add(trajectory)
        new = 1 + max(trajectory.episode.group for trajectory in own)
        regrouped = []
        for trajectory in drawn:
            group = groups.setdefault(trajectory.start, new)
            new += group == new
            regrouped.append(replace(trajectory, episode=replace(trajectory.episode, group=group)))
        return regrouped

    def metrics(
        self, own: int, taught: Sequence[Trajectory], replayed: Sequence[Trajectory]
    ) -> dict[str, float]:
        """Shares of the update's episodes, what is held, and the mean log R of what was added."""
        total = own + len(taught) + len(replayed)
        values: dict[str, float] = {}
        if self.replay is not None:
            values["replay/size"] = float(len(self.replay))
            values["replay/solutions"] = float(self.replay.solutions)
        for name, used, added in (
            ("replay", self.replay, replayed),
            ("expert", self.expert, taught),
        ):
            if used is not None:
                values[f"{name}/share"] = len(added) / total
            if added:
                values[f"{name}/log_reward"] = sum(t.reward.total for t in added) / len(added)
        return values

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates."""
        if self.replay is not None:
            self.replay.save(folder / REPLAY_FILE)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if self.replay is not None:
            self.replay.load(folder / REPLAY_FILE)
