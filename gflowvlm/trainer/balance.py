"""GFlowNet training: play groups of episodes, score them, judge their balance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores, TrajectoryBatch
from gflowvlm.config.training import Schedule
from gflowvlm.episode import Episode, Segment
from gflowvlm.errors import UserError
from gflowvlm.evaluation import metrics
from gflowvlm.objectives.balance import terminal_balance
from gflowvlm.objectives.base import Objective, ObjectiveOutput
from gflowvlm.objectives.work import Sample, Work
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.arrange import arrange, pad_by_episode, weighted_log_prob
from gflowvlm.rollouts.collect import Collector, Plan, Played, plan_groups
from gflowvlm.rollouts.reward import LogReward, RewardMap

SAMPLED_EPISODES = 2  # of an update, whose replies are kept for people to read


@dataclass(kw_only=True)
class BalanceTraining:
    """On-policy episodes under the target `R^beta * p_ref^alpha`.

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
    exploration_temperature: float
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run
    processes: Processes = ALONE

    def prepare(self, update: int) -> Work:
        """Play the update's episodes; `update` counts from 0 and decides all seeds."""
        played = self.collector.collect(
            self.policy, self._plans(update), exploration_temperature=self.exploration_temperature
        )
        whole = [p for p in played if p.cut is None]
        everyone, cut = self._everyone(update, played)
        episodes, rows = [p.episode for p in whole], [p.row for p in whole]
        rewards = [self.reward(episode) for episode in episodes]
        beta = self.beta.at(update)
        log_ref = self._reference(rows)
        if update == 0:
            # log_pf equals log_ref where training begins at the reference: a_T is beta log R then.
            self._initialise_flow(episodes, rewards, log_ref, beta)
        judge = _Judge(self, episodes, rewards, log_ref, beta)
        return Work(
            rows=rows,
            loss=judge,
            couples_rows=self.objective.couples_rows,
            share=lambda part: (part.stop - part.start) / len(everyone),
            metrics={**_outcomes(everyone, [self.reward(e) for e in everyone]), "cut": float(cut)},
            samples=judge.samples,
        )

    def _plans(self, update: int) -> list[Plan]:
        """This process's groups of an update."""
        groups = self.groups_per_update // self.processes.count
        return plan_groups(
            self.collector.run_seed,
            "train",
            first_group=update * self.groups_per_update + self.processes.index * groups,
            groups=groups,
            group_size=self.group_size,
        )

    def _everyone(self, update: int, played: Sequence[Played]) -> tuple[list[Episode], int]:
        """All processes' whole episodes, without images, and the number of those cut.

        Raises:
            UserError: not one came to its end.
        """
        told = self.processes.gather([(p.episode.without_images(), p.cut) for p in played])
        episodes = [episode for part in told for episode, cut in part if cut is None]
        cuts = [cut for part in told for _, cut in part if cut is not None]
        if not episodes:
            reason, count = Counter(cuts).most_common(1)[0]
            raise UserError(
                f"update {update + 1}: none of {len(cuts)} episodes ended by itself, {count} were "
                f"cut by {reason}"
            )
        return episodes, len(cuts)

    def _reference(self, rows: Sequence[Row]) -> list[Tensor]:
        """Per row, [T] log-prob of its decisions under the frozen reference."""
        if self.alpha == 0:
            return [torch.zeros(row.num_decisions) for row in rows]
        parts: list[Tensor] = []
        for first in range(0, len(rows), self.rows_per_pass):
            chunk = rows[first : first + self.rows_per_pass]
            scores = self.policy.score_reference(chunk)
            log_ref = weighted_log_prob(scores, self.thought_weight)
            parts += log_ref.split([row.num_decisions for row in chunk])
        return parts

    def _initialise_flow(
        self,
        episodes: Sequence[Episode],
        rewards: Sequence[LogReward],
        log_ref: Sequence[Tensor],
        beta: float,
    ) -> None:
        implied: list[float] = []
        if episodes:
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
            implied = terminal_balance(batch).tolist()
        everyones = [value for part in self.processes.gather(implied) for value in part]
        self.policy.initialise_flow(sum(everyones) / len(everyones))


@dataclass(frozen=True)
class _Judge:
    """The loss of a slice of one update's episodes."""

    method: BalanceTraining
    episodes: Sequence[Episode]
    rewards: Sequence[LogReward]
    log_ref: Sequence[Tensor]
    beta: float
    samples: list[Sample] = field(default_factory=list)

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
        for row, index in enumerate(range(len(self.episodes))[part][:SAMPLED_EPISODES]):
            # A loss is asked for in every pass and once more for all rows together.
            known = {sample.episode for sample in self.samples}
            if index < SAMPLED_EPISODES and self.episodes[index].index not in known:
                self.samples.extend(_samples(self.episodes[index], batch, row))
        moved = torch.where(batch.valid, batch.log_pf - batch.log_ref, 0.0).sum(1).mean()
        entropy = pad_by_episode(scores.entropy.double(), batch.length.tolist()).sum(1)
        extra = {
            "kl_to_reference": moved.item(),
            "entropy": (entropy / batch.length).mean().item(),
        }
        return ObjectiveOutput(
            loss=output.loss,
            metrics={**output.metrics, **extra},
            peaks={**output.peaks, "rescore_gap": gap},
        )

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


def _samples(episode: Episode, batch: TrajectoryBatch, row: int) -> list[Sample]:
    """The replies of an episode, which is a row of the batch."""
    return [
        Sample(
            episode=episode.index,
            decision=number,
            reply=decision.reply.text,
            action=None
            if decision.reply.action is None
            else decision.observation.legal_actions[decision.reply.action],
            reward=decision.reward,
            log_pf=batch.log_pf[row, number].item(),
            log_ref=batch.log_ref[row, number].item(),
            log_reward=batch.log_reward[row].item(),
        )
        for number, decision in enumerate(episode.decisions)
    ]


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
