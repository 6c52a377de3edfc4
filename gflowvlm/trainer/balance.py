"""GFlowNet training: play groups of episodes, score them, judge their balance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores, rows_of
from gflowvlm.config.schedule import Schedule
from gflowvlm.objectives.balance import terminal_balance
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.work import Work
from gflowvlm.policy.base import Policy
from gflowvlm.rollouts.arrange import arrange, weighted_log_prob
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.replay import Trajectory
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.trainer.judge import Judge
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.outcomes import outcomes
from gflowvlm.trainer.player import GroupPlayer


@dataclass(kw_only=True)
class BalanceTraining:
    """Episodes under the target `R^beta * p_ref^alpha`: the policy's own, and those that join them.

    `log_pf` of every episode is scored by the policy as it is, whoever sampled it. Own episodes are
    played, dealt to several processes and dropped as `GroupPlayer` says.
    """

    policy: Policy
    player: GroupPlayer  # of the policy's own episodes
    reward: RewardMap
    objective: Objective
    alpha: float
    beta: Schedule
    thought_weight: float
    rows_per_pass: int
    exploration_temperature: Schedule
    off_policy: OffPolicy
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run

    def prepare(self, update: int) -> list[Work]:
        """Play the update's episodes; `update` counts from 0 and decides all seeds."""
        temperature, beta = self.exploration_temperature.at(update), self.beta.at(update)
        played = self.player.play(self.policy, update, temperature=temperature)
        whole, begun = played.whole, played.begun
        taught = self.off_policy.teach(self.policy, played.everyone, whole)
        fresh = self._judged([*whole, *begun, *taught])
        own, taught = fresh[: len(whole) + len(begun)], fresh[len(whole) + len(begun) :]
        if update == 0:
            self._initialise_flow(own[: len(whole)], beta)
        replayed = self.off_policy.recall(
            update,
            own,
            group_size=self.player.group_size,
            couples_rows=self.objective.couples_rows,
        )
        batch = [*fresh, *replayed]
        added = self.off_policy.metrics(played.owned, taught, replayed)
        total = sum(self.player.processes.gather(len(batch)))
        judge = Judge(
            objective=self.objective,
            alpha=self.alpha,
            thought_weight=self.thought_weight,
            rescore_tolerance=self.rescore_tolerance,
            trajectories=batch,
            own=len(own),
            own_share=played.owned / total,
            temperature=temperature,
            beta=beta,
        )
        work = Work(
            episodes=[t.rows for t in batch],
            loss=judge,
            couples_rows=self.objective.couples_rows,
            share=lambda part: (part.stop - part.start) / total,
            metrics={
                **outcomes(played.everyone, [self.reward(e).total for e in played.everyone]),
                **added,
                **played.metrics,
                "beta": beta,
                "exploration_temperature": temperature,
            },
            episodes_played=played.episodes_played,
            environment_steps=played.environment_steps,
            samples=judge.samples,
        )
        return [work]

    def save(self, folder: Path) -> None:
        """Write what is remembered between updates: the replay, if there is one."""
        self.off_policy.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.off_policy.load(folder)

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
        everyones = [value for part in self.player.processes.gather(implied) for value in part]
        if everyones:
            self.policy.initialise_flow(sum(everyones) / len(everyones))
