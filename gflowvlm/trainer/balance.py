"""GFlowNet training: play groups of episodes, score them, judge their balance."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores, rows_of
from gflowvlm.config.schedule import Schedule
from gflowvlm.episode import Episode
from gflowvlm.errors import UserError
from gflowvlm.objectives.balance import terminal_balance
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.work import Work
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.arrange import arrange, weighted_log_prob
from gflowvlm.rollouts.collect import Collector, Plan, Played, plan_groups, prefixes
from gflowvlm.rollouts.replay import Trajectory
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.trainer.judge import Judge
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.outcomes import outcomes

LOG = logging.getLogger(__name__)
WARNED_AT = (10, 100, 1000)  # updates in a row without the end of an episode; also at the first


@dataclass(kw_only=True)
class BalanceTraining:
    """Episodes under the target `R^beta * p_ref^alpha`: the policy's own, and those that join them.

    `log_pf` of every episode is scored by the policy as it is, whoever sampled it. Episodes that
    the collector cut are dropped and counted, unless the objective uses their prefixes.

    Of several processes each plays `groups_per_update / processes.count` whole groups. Seeds name
    a group and an episode of the run, so that all together play what one alone would.
    """

    policy: Policy
    collector: Collector
    reward: RewardMap
    objective: Objective
    alpha: float
    beta: Schedule
    thought_weight: float
    groups_per_update: int
    group_size: int
    rows_per_pass: int
    exploration_temperature: Schedule
    off_policy: OffPolicy
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run
    shared_chance: bool = False  # the episodes of a group meet the same chance
    processes: Processes = ALONE
    _without_end: int = field(default=0, init=False)  # updates in a row in which no episode ended

    def prepare(self, update: int) -> Work:
        """Play the update's episodes; `update` counts from 0 and decides all seeds."""
        temperature, beta = self.exploration_temperature.at(update), self.beta.at(update)
        played = self.collector.collect(
            self.policy, self._plans(update), exploration_temperature=temperature
        )
        whole = [p for p in played if p.cut is None]
        begun = prefixes(played) if self.objective.uses_prefixes else []
        everyone, cuts = self._everyone(played)
        owned = self._owned(update, len(whole) + len(begun), everyone, cuts)
        fresh = self._judged([*whole, *begun, *self.off_policy.teach(self.policy, everyone, whole)])
        own, taught = fresh[: len(whole) + len(begun)], fresh[len(whole) + len(begun) :]
        if update == 0:
            self._initialise_flow(own[: len(whole)], beta)
        replayed = self.off_policy.recall(
            update,
            own,
            group_size=self.group_size,
            couples_rows=self.objective.couples_rows,
        )
        batch = [*fresh, *replayed]
        added = self.off_policy.metrics(owned, taught, replayed)
        total = sum(self.processes.gather(len(batch)))
        judge = Judge(
            objective=self.objective,
            alpha=self.alpha,
            thought_weight=self.thought_weight,
            rescore_tolerance=self.rescore_tolerance,
            trajectories=batch,
            own=len(own),
            own_share=owned / total,
            temperature=temperature,
            beta=beta,
        )
        return Work(
            episodes=[t.rows for t in batch],
            loss=judge,
            couples_rows=self.objective.couples_rows,
            share=lambda part: (part.stop - part.start) / total,
            metrics={
                **outcomes(everyone, [self.reward(e).total for e in everyone]),
                **added,
                **self._of_cut(cuts),
                "beta": beta,
                "exploration_temperature": temperature,
            },
            episodes_played=len(played),
            environment_steps=sum(len(p.episode.decisions) for p in played),
            samples=judge.samples,
        )

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates: the replay, if there is one."""
        self.off_policy.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.off_policy.load(folder)

    def _plans(self, update: int) -> list[Plan]:
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

    def _everyone(self, played: Sequence[Played]) -> tuple[list[Episode], list[str]]:
        """All processes' whole episodes, without images, and what cut the others."""
        told = self.processes.gather([(p.episode.without_images(), p.cut) for p in played])
        episodes = [episode for part in told for episode, cut in part if cut is None]
        return episodes, [cut for part in told for _, cut in part if cut is not None]

    def _owned(self, update: int, own: int, everyone: Sequence[Episode], cuts: list[str]) -> int:
        """How many own episodes all processes can use, prefixes included.

        Raises:
            UserError: there are none.
        """
        owned = sum(self.processes.gather(own))
        self._without_end = 0 if everyone else self._without_end + 1
        if everyone:
            return owned
        reason, count = Counter(cuts).most_common(1)[0]
        found = (
            f"update {update + 1}: none of {len(cuts)} episodes ended by itself, {count} were "
            f"cut by {reason}"
        )
        if not owned:
            raise UserError(found)
        if self.processes.main and (update == 0 or self._without_end in WARNED_AT):
            LOG.warning(f"{found} (updates like this in a row: {self._without_end})")
        return owned

    def _of_cut(self, cuts: Sequence[str]) -> dict[str, float]:
        """How many episodes were cut; where prefixes are used, how long none has ended."""
        counted = {"cut": float(len(cuts))}
        if self.objective.uses_prefixes:
            counted["updates_without_end"] = float(self._without_end)
        return counted

    def _judged(self, played: Sequence[Played]) -> list[Trajectory]:
        """Episodes with their log R and log p_ref, neither of which changes from now on."""
        lengths = [len(p.episode.decisions) for p in played]
        log_ref = log_ref_done = [torch.zeros(length) for length in lengths]
        if self.alpha:
            log_ref, log_ref_done = self._log_prob(self.policy.score_reference, played)
        return [
            Trajectory(
                episode=p.episode,
                rows=p.rows,
                reward=self.reward(p.episode),
                log_ref=log_ref[i],
                log_ref_done=log_ref_done[i],
            )
            for i, p in enumerate(played)
        ]

    @torch.no_grad()
    def _log_prob(
        self,
        score: Callable[[Sequence[Row]], StepScores],
        episodes: Sequence[Played | Trajectory],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per episode, [T] log-prob of its decisions and [T] of DONE in their place.

        The second list is zeros where DONE is forbidden.
        """
        rows = rows_of(each.rows for each in episodes)
        parts: list[Tensor] = []
        done: list[Tensor] = []
        for first in range(0, len(rows), self.rows_per_pass):
            scores = score(rows[first : first + self.rows_per_pass])
            log_prob = weighted_log_prob(scores, self.thought_weight)
            stop = torch.zeros_like(log_prob) if scores.log_p_done is None else scores.log_p_done
            parts.append(log_prob.cpu())
            done.append(stop.cpu())
        if not rows:
            return [], []
        lengths = [len(each.episode.decisions) for each in episodes]
        return list(torch.cat(parts).split(lengths)), list(torch.cat(done).split(lengths))

    def _initialise_flow(self, own: Sequence[Trajectory], beta: float) -> None:
        """Let log F begin at the mean log Z that all first own episodes with an end imply."""
        implied: list[float] = []
        if own:
            batch = arrange(
                [t.episode for t in own],
                [t.reward for t in own],
                log_pf=torch.cat(self._log_prob(self.policy.score, own)[0]),
                log_ref=torch.cat([t.log_ref for t in own]),
                flow=None,
                alpha=self.alpha,
                beta=beta,
            )
            implied = terminal_balance(batch).tolist()
        everyones = [value for part in self.processes.gather(implied) for value in part]
        if everyones:
            self.policy.initialise_flow(sum(everyones) / len(everyones))
