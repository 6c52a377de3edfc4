"""An update's own episodes: which are played, by which process, and what became of them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gflowvlm.episode import Episode
from gflowvlm.errors import UserError
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Collector, Played, prefixes
from gflowvlm.rollouts.plan import Plan, plan_groups

LOG = logging.getLogger(__name__)
WARNED_AT = (10, 100, 1000)  # updates in a row without the end of an episode; also at the first


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """What was played for an update."""

    whole: Sequence[Played]  # this process's episodes that ended by themselves
    begun: Sequence[Played]  # and the prefixes of those that were cut, where they are of use
    everyone: Sequence[Episode]  # all processes' whole episodes, without images
    owned: int  # episodes of all processes that are of use, prefixes included
    episodes_played: int  # by this process, cut ones included
    environment_steps: int  # its decisions in them
    metrics: dict[str, float]  # how many were cut


@dataclass(kw_only=True)
class GroupPlayer:
    """Plays this process's groups of every update.

    Of several processes each plays `groups_per_update / processes.count` whole groups. Seeds name
    a group and an episode of the run, so that all together play what one alone would. Episodes
    that the collector cut are dropped and counted, unless their prefixes are of use.
    """

    collector: Collector
    groups_per_update: int
    group_size: int
    uses_prefixes: bool
    shared_chance: bool = False  # the episodes of a group meet the same chance
    processes: Processes = ALONE
    _without_end: int = field(default=0, init=False)  # updates in a row in which no episode ended

    def play(self, policy: Policy, update: int, *, temperature: float = 1.0) -> Fresh:
        """Play the update's episodes; `update` counts from 0 and decides all seeds.

        Raises:
            UserError: no process has an episode that is of use.
        """
        played = self.collector.collect(
            policy, self.plans(update), exploration_temperature=temperature
        )
        self.collector.look_ahead(self.plans(update + 1))
        whole = [p for p in played if p.cut is None]
        begun = prefixes(played) if self.uses_prefixes else []
        told = self.processes.gather([(p.episode.without_images(), p.cut) for p in played])
        everyone = [episode for part in told for episode, cut in part if cut is None]
        cuts = [cut for part in told for _, cut in part if cut is not None]
        owned = sum(self.processes.gather(len(whole) + len(begun)))
        self._require_some(update, owned, everyone, cuts)
        counted = {"cut": float(len(cuts))}
        if self.uses_prefixes:
            counted["updates_without_end"] = float(self._without_end)
        return Fresh(
            whole=whole,
            begun=begun,
            everyone=everyone,
            owned=owned,
            episodes_played=len(played),
            environment_steps=sum(len(p.episode.decisions) for p in played),
            metrics=counted,
        )

    def plans(self, update: int) -> list[Plan]:
        """This process's groups of an update."""
        groups = self.groups_per_update // self.processes.count
        return plan_groups(
            self.collector.run_seed,
            "train",
            first_group=update * self.groups_per_update + self.processes.index * groups,
            groups=groups,
            group_size=self.group_size,
            shared_chance=self.shared_chance,
        )

    def _require_some(
        self, update: int, owned: int, everyone: Sequence[Episode], cuts: list[str]
    ) -> None:
        """Stop where nothing is of use, warn where no episode has ended by itself."""
        self._without_end = 0 if everyone else self._without_end + 1
        if everyone:
            return
        reason, count = Counter(cuts).most_common(1)[0]
        found = (
            f"update {update + 1}: none of {len(cuts)} episodes ended by itself, {count} were "
            f"cut by {reason}"
        )
        if not owned:
            raise UserError(found)
        if self.processes.main and (update == 0 or self._without_end in WARNED_AT):
            LOG.warning(f"{found} (updates like this in a row: {self._without_end})")
