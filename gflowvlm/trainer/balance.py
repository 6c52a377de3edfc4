"""GFlowNet training: play groups of episodes, score them, judge their balance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores, rows_of
from gflowvlm.config.training import Schedule
from gflowvlm.episode import Episode, Segment
from gflowvlm.errors import UserError
from gflowvlm.evaluation import metrics
from gflowvlm.objectives.balance import terminal_balance
from gflowvlm.objectives.base import Objective, ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.policy.base import Policy
from gflowvlm.rollouts.arrange import arrange, weighted_log_prob
from gflowvlm.rollouts.collect import Collector, plan_groups
from gflowvlm.rollouts.reward import LogReward, RewardMap


@dataclass(kw_only=True)
class BalanceTraining:
    """On-policy episodes under the target `R^beta * p_ref^alpha`."""

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
    exploration_temperature: float
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run

    def prepare(self, update: int) -> Work:
        """Play the update's episodes; `update` counts from 0 and decides all seeds."""
        plans = plan_groups(
            self.collector.run_seed,
            "train",
            first_group=update * self.groups_per_update,
            groups=self.groups_per_update,
            group_size=self.group_size,
        )
        played = self.collector.collect(
            self.policy, plans, exploration_temperature=self.exploration_temperature
        )
        whole = [p for p in played if p.episode.ending != "truncated"]
        if not whole:
            raise UserError(
                f"update {update + 1}: the context was full before any episode ended; expected "
                "room for a whole one: shorten the task's limit or policy.max_reply_tokens"
            )
        episodes = [p.episode for p in whole]
        rows = [p.rows for p in whole]
        rewards = [self.reward(episode) for episode in episodes]
        beta = self.beta.at(update)
        log_ref = self._reference(rows)
        if update == 0:
            # log_pf equals log_ref where training begins at the reference: a_T is beta log R then.
            self._initialise_flow(episodes, rewards, log_ref, beta)
        judge = _Judge(self, episodes, rewards, log_ref, beta)
        return Work(
            episodes=rows,
            loss=judge,
            couples_rows=self.objective.couples_rows,
            share=lambda part: (part.stop - part.start) / len(episodes),
            metrics={**_outcomes(episodes, rewards), "cut": float(len(played) - len(whole))},
        )

    def _reference(self, episodes: Sequence[Sequence[Row]]) -> list[Tensor]:
        """Per episode, [T] log-prob of its decisions under the frozen reference."""
        lengths = [sum(row.num_decisions for row in rows) for rows in episodes]
        if self.alpha == 0:
            return [torch.zeros(length) for length in lengths]
        rows = rows_of(episodes)
        parts = [
            weighted_log_prob(
                self.policy.score_reference(rows[first : first + self.rows_per_pass]),
                self.thought_weight,
            )
            for first in range(0, len(rows), self.rows_per_pass)
        ]
        return list(torch.cat(parts).split(lengths))

    def _initialise_flow(
        self,
        episodes: Sequence[Episode],
        rewards: Sequence[LogReward],
        log_ref: Sequence[Tensor],
        beta: float,
    ) -> None:
        log_pf = [_behaviour(episode, self.thought_weight) for episode in episodes]
        batch = arrange(
            episodes,
            rewards,
            log_pf=torch.cat(log_pf),
            log_ref=torch.cat([part.cpu() for part in log_ref]),
            flow=None,
            alpha=self.alpha,
            beta=beta,
        )
        self.policy.initialise_flow(float(terminal_balance(batch).mean()))


@dataclass(frozen=True)
class _Judge:
    """The loss of a slice of one update's episodes."""

    method: BalanceTraining
    episodes: Sequence[Episode]
    rewards: Sequence[LogReward]
    log_ref: Sequence[Tensor]
    beta: float

    def __call__(self, scores: StepScores, part: slice) -> ObjectiveOutput:
        method = self.method
        gap = self._rescore_gap(scores, part)
        batch = arrange(
            self.episodes[part],
            self.rewards[part],
            log_pf=weighted_log_prob(scores, method.thought_weight),
            log_ref=torch.cat(list(self.log_ref[part])).to(scores.action_log_prob.device),
            flow=scores.flow if method.objective.needs_flow else None,
            alpha=method.alpha,
            beta=self.beta,
        )
        output = method.objective(batch)
        moved = torch.where(batch.valid, batch.log_pf - batch.log_ref, 0.0).sum(1).mean()
        extra = {
            "rescore_gap": gap,
            "kl_to_reference": moved.item(),
            "entropy": scores.entropy.mean().item(),
        }
        return ObjectiveOutput(loss=output.loss, metrics={**output.metrics, **extra})

    def _rescore_gap(self, scores: StepScores, part: slice) -> float:
        """Largest difference of a token's log-prob between sampling and scoring, nats."""
        sampled = [
            log_prob
            for episode in self.episodes[part]
            for decision in episode.decisions
            for log_prob, segment in zip(
                decision.reply.log_probs, decision.reply.segment, strict=True
            )
            if segment is not Segment.CONTEXT
        ]
        if self.method.exploration_temperature != 1.0:
            return 0.0  # sampled under another law on purpose
        now = scores.token_log_prob.detach()
        gap = (now - torch.tensor(sampled, dtype=now.dtype, device=now.device)).abs().max().item()
        if gap > self.method.rescore_tolerance:
            raise UserError(
                f"found sampled and re-scored log-probs {gap:.3g} nats apart, expected at most "
                f"{self.method.rescore_tolerance:g}: this model's cache and its one-pass scores "
                "disagree, try policy.attention: eager or policy.dtype: float32"
            )
        return gap


def _behaviour(episode: Episode, thought_weight: float) -> Tensor:
    """[T] log-prob of each decision as it was sampled."""
    totals = []
    for decision in episode.decisions:
        reply = decision.reply
        weights = {Segment.THOUGHT: thought_weight, Segment.ACTION: 1.0, Segment.CONTEXT: 0.0}
        totals.append(
            sum(weights[s] * p for s, p in zip(reply.segment, reply.log_probs, strict=True))
        )
    return torch.tensor(totals, dtype=torch.float64)


def _outcomes(episodes: Sequence[Episode], rewards: Sequence[LogReward]) -> dict[str, float]:
    """What the update's own episodes amount to; training averages, not an evaluation."""
    values = {
        "reach": metrics.reach(episodes),
        "strict": metrics.strict(episodes),
        "log_reward": sum(r.total for r in rewards) / len(rewards),
        "length": metrics.mean_length(episodes),
        "invalid_replies": metrics.invalid_replies(episodes),
    }
    for name, value in (
        ("right_moves", metrics.right_moves(episodes)),
        ("reading", metrics.reading_accuracy(episodes)),
    ):
        if value is not None:
            values[name] = value
    return values
