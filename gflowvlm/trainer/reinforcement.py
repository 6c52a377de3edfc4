"""Reinforcement learning: play groups of episodes, then go through them several times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gflowvlm.baselines.advantage import EPSILON, discounted_sum
from gflowvlm.baselines.experience import Experience, Lesson, PolicyGradient, decision_rewards
from gflowvlm.batch import StepScores, rows_of
from gflowvlm.config.schedule import Schedule
from gflowvlm.objectives.work import Sample, Work
from gflowvlm.policy.base import Policy
from gflowvlm.rollouts.arrange import weighted_log_prob
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.reward import RewardMap
from gflowvlm.trainer.gradient import score_in_passes
from gflowvlm.trainer.judge import SAMPLED_EPISODES, rescore_gap, samples_of
from gflowvlm.trainer.outcomes import outcomes
from gflowvlm.trainer.player import GroupPlayer

_STREAM = 17  # keeps the draws of minibatches apart from the run's other ones


@dataclass(kw_only=True)
class ReinforcementTraining:
    """Episodes of the policy itself under the reward `log R - c (log p - alpha log p_ref)`.

    What was sampled is scored once before the first step, on its very tokens: those are the old
    log-probs, and they must agree with those of sampling. Nothing is remembered between updates.
    """

    policy: Policy
    player: GroupPlayer  # of the policy's own episodes
    reward: RewardMap
    method: PolicyGradient
    epochs: int
    minibatches: int  # of an epoch; divide `player.groups_per_update`
    kl_coefficient: float | None  # c, nats of log R a nat; None for 1 / beta
    alpha: float
    beta: Schedule
    thought_weight: float
    rows_per_pass: int
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run

    def prepare(self, update: int) -> Iterator[Work]:
        """Play the update's episodes, then give `epochs * minibatches` steps on them.

        Minibatches in which all episodes were cut are left out.
        """
        beta = self.beta.at(update)
        kl = 1 / beta if self.kl_coefficient is None else self.kl_coefficient
        fresh = self.player.play(self.policy, update)
        old, measured = self._experiences([*fresh.whole, *fresh.begun], kl)
        if update == 0 and self.method.needs_value:
            old = self._initialise_value(old)
        lessons, estimated = self._lessons(old)
        known = {
            **outcomes(fresh.everyone, [self.reward(e).total for e in fresh.everyone]),
            **fresh.metrics,
            **measured,
            **estimated,
            "beta": beta,
            "kl_coefficient": kl,
        }
        samples = _samples(old)
        cost = fresh.episodes_played, fresh.environment_steps
        for part, units in self._parts(update, lessons):
            work = self._work(part, units, kl, known, samples)
            yield replace(work, episodes_played=cost[0], environment_steps=cost[1])
            known, samples, cost = {}, [], (0, 0)

    def save(self, folder: Path) -> None:
        """Nothing is remembered: an update's episodes are a function of its number."""

    def load(self, folder: Path) -> None:
        """See `save`."""

    def _work(
        self,
        lessons: Sequence[Lesson],
        units: int,
        kl: float,
        known: dict[str, float],
        samples: list[Sample],
    ) -> Work:
        """One step on this process's part of a minibatch of so many units."""
        weights = [self.method.units(each.experience) for each in lessons]
        return Work(
            episodes=[each.experience.rows for each in lessons],
            loss=lambda scores, part: self.method.loss(scores, lessons[part], kl),
            couples_rows=False,
            share=lambda part: sum(weights[part]) / units,
            metrics=known,
            samples=samples,
        )

    def _parts(self, update: int, lessons: Sequence[Lesson]) -> list[tuple[list[Lesson], int]]:
        """This process's share of each minibatch of each epoch, and all processes' units in it.

        Groups are dealt at random, one of as many neighbours as there are minibatches to each, so
        that processes, which have neighbouring groups, have about equal shares of every one.
        """
        rng = np.random.default_rng([self.player.collector.run_seed, _STREAM, update])
        rows = (self.player.groups_per_update // self.minibatches, 1)
        first = update * self.player.groups_per_update
        parts: list[list[Lesson]] = []
        for _ in range(self.epochs):
            dealt = rng.permuted(np.tile(np.arange(self.minibatches), rows), axis=1).ravel()
            for number in range(self.minibatches):
                parts.append(
                    [x for x in lessons if dealt[x.experience.episode.group - first] == number]
                )
        own = [sum(self.method.units(each.experience) for each in part) for part in parts]
        units = [sum(told) for told in zip(*self.player.processes.gather(own), strict=True)]
        return [(part, total) for part, total in zip(parts, units, strict=True) if total]

    def _experiences(
        self, played: Sequence[Played], kl: float
    ) -> tuple[list[Experience], dict[str, float]]:
        """This process's episodes as they are before the first step, and means over everyone's."""
        old: list[Experience] = []
        gap, entropy = 0.0, list[float]()
        if played:
            rows = rows_of(each.rows for each in played)
            scores = score_in_passes(self.policy.score, rows, self.rows_per_pass)
            gap = rescore_gap([p.episode for p in played], scores, self.rescore_tolerance)
            reference = _silent(scores)
            if self.alpha:
                reference = score_in_passes(self.policy.score_reference, rows, self.rows_per_pass)
            old, entropy = self._split(played, scores, reference, kl), scores.entropy.tolist()
        divergence = [(each.log_prob - each.log_ref).sum().item() for each in old]
        told = self.player.processes.gather((gap, divergence, entropy))
        gaps, divergences, entropies = zip(*told, strict=True)
        metrics = {"rescore_gap": max(gaps), "entropy": _mean(entropies)}
        if self.alpha:  # else the reference was not asked
            metrics["kl_to_reference"] = _mean(divergences)
        return old, metrics

    def _split(
        self, played: Sequence[Played], scores: StepScores, reference: StepScores, kl: float
    ) -> list[Experience]:
        """Scores of all rows, episode by episode."""
        lengths = [len(each.episode.decisions) for each in played]
        tokens = [sum(x >= 0 for row in each.rows for x in row.decision_of) for each in played]
        log_prob = _apart(weighted_log_prob(scores, self.thought_weight), lengths)
        log_ref = _apart(weighted_log_prob(reference, self.thought_weight), lengths)
        token_log_prob = _apart(scores.token_log_prob, tokens)
        token_log_ref = _apart(reference.token_log_prob, tokens)
        values: Sequence[Tensor | None] = [None] * len(played)
        if self.method.needs_value:
            assert scores.value is not None, "a policy with a value head says values"
            values = _apart(scores.value, [length + 1 for length in lengths])
        found = []
        for i, each in enumerate(played):
            log_reward = self.reward(each.episode)
            reward = decision_rewards(
                log_reward.to_date,
                log_prob[i],
                log_ref[i],
                kl_coefficient=kl if self.method.kl_in_reward else 0.0,
                alpha=self.alpha,
            )
            found.append(
                Experience(
                    episode=each.episode,
                    rows=each.rows,
                    log_reward=log_reward.total,
                    reward=reward,
                    log_prob=log_prob[i],
                    log_ref=log_ref[i],
                    token_log_prob=token_log_prob[i],
                    token_log_ref=token_log_ref[i],
                    value=values[i],
                )
            )
        return found

    def _initialise_value(self, old: Sequence[Experience]) -> list[Experience]:
        """Let V begin at the mean of what all processes' first decisions earned from there on."""
        to_go = [value for each in old for value in discounted_sum(each.reward, 1.0).tolist()]
        mean = _mean(self.player.processes.gather(to_go))
        self.policy.initialise_value(mean)
        return [
            replace(each, value=torch.full((each.length + 1,), mean, dtype=torch.float64))
            for each in old
        ]

    def _lessons(self, old: Sequence[Experience]) -> tuple[list[Lesson], dict[str, float]]:
        """What the episodes teach, and what that is like over all processes' decisions."""
        estimates = self.method.estimate(old) if old else []
        told = self.player.processes.gather(
            (
                [value for each in estimates for value in each.advantage.tolist()],
                [v for e in estimates if e.target is not None for v in e.target.tolist()],
                [v for e in old if e.value is not None for v in e.value[:-1].tolist()],
                [each.reward.sum().item() for each in old],
            )
        )
        advantages, targets, values, returns = (
            np.array([value for part in parts for value in part])
            for parts in zip(*told, strict=True)
        )
        mean, deviation = float(advantages.mean()), float(advantages.std())
        metrics = {
            "return": float(returns.mean()),
            "advantage_mean": mean,
            "advantage_std": deviation,
            "advantage_max": float(np.abs(advantages).max()),
        }
        if targets.size and targets.var() > 0:
            metrics["explained_variance"] = float(1 - (targets - values).var() / targets.var())
        if self.method.normalises:
            estimates = [
                replace(each, advantage=(each.advantage - mean) / (deviation + EPSILON))
                for each in estimates
            ]
        pairs = zip(old, estimates, strict=True)
        return [Lesson(experience=each, estimate=estimate) for each, estimate in pairs], metrics


def _silent(scores: StepScores) -> StepScores:
    """A reference that says nothing of anything: log-probs of 0."""
    names = ("thought_log_prob", "action_log_prob", "token_log_prob")
    return replace(scores, **{name: torch.zeros_like(getattr(scores, name)) for name in names})


def _apart(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Values of all episodes as those of each, in float64."""
    return list(values.double().cpu().split(list(sizes)))


def _mean(parts: Sequence[Sequence[float]]) -> float:
    """Of all that processes told."""
    values = [value for part in parts for value in part]
    return sum(values) / len(values)


def _samples(old: Sequence[Experience]) -> list[Sample]:
    """A few games' replies, for people to read."""
    return [
        sample
        for each in old[:SAMPLED_EPISODES]
        for sample in samples_of(
            each.episode, each.log_prob.tolist(), each.log_ref.tolist(), each.log_reward
        )
    ]
