"""A played game as a recorded one: each step with its probabilities, flow and residual."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from gflowvlm.batch import Row, StepScores, concatenate
from gflowvlm.episode import Ending
from gflowvlm.objectives.balance import balance, terminal_balance
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.report.playback import Move, Playback
from gflowvlm.report.recording import Pictures, RecordedEpisode, RecordedStep
from gflowvlm.rollouts.arrange import arrange, weighted_log_prob
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.reward import RewardMap

Floats = list[float | None]


@dataclass(frozen=True, kw_only=True)
class Bookkeeping:
    """What a run's objective balances."""

    reward: RewardMap
    alpha: float
    beta: float
    thought_weight: float
    flows_at: Literal["nowhere", "starts", "everywhere"]  # where log F is learned
    forward_looking: bool  # the head learns log F less what has accrued
    balances: bool  # whether the objective has a balance at all: supervised ones have none
    rows_per_pass: int


@dataclass(frozen=True)
class Sheet:
    """One game's accounts, nats; T decisions."""

    log_pf: list[float]  # [T]
    log_ref: list[float]  # [T]
    log_flow: Floats  # [T]
    level: Floats  # [T+1]

    def residual(self, first: int, last: int) -> float | None:
        """`a_i - a_j`, None where one of them is not known."""
        i, j = self.level[first], self.level[last]
        return None if i is None or j is None else i - j


def recorded(
    policy: VLMPolicy,
    game: Played,
    playback: Playback,
    books: Bookkeeping,
    pictures: Pictures,
    *,
    method: str,
    solution: Hashable,
) -> RecordedEpisode:
    """A played game with all that the page shows of it."""
    episode, sheet = game.episode, sheet_of(policy, game, books)
    steps = [_step(n, move, sheet, pictures) for n, move in enumerate(playback.moves)]
    cut = episode.ending is Ending.TRUNCATED
    return RecordedEpisode(
        method=method,
        split=episode.split,
        start=episode.group,
        task=episode.decisions[0].observation.task,
        solution=str(solution),
        success=episode.success,
        strict=episode.strict,
        ending=str(episode.ending),
        total_reward=episode.total_reward,
        log_reward=None if cut else books.reward(episode).total,
        end_level=sheet.level[-1],
        residual=sheet.residual(0, -1),
        steps=tuple(steps),
        task_type=episode.task_type,
    )


def _step(number: int, move: Move, sheet: Sheet, pictures: Pictures) -> RecordedStep:
    """One decision as the page shows it."""
    decision = move.decision
    reply, observation = decision.reply, decision.observation
    wrong = {
        name: decision.facts[name]
        for name, value in reply.fields.items()
        if name in decision.facts and value.strip() != decision.facts[name]
    }
    return RecordedStep(
        image=pictures.name_of(observation.image),
        text=observation.text,
        stated=dict(reply.fields),
        wrong=wrong,
        thought=move.thought,
        reply=reply.text,
        action=None if reply.action is None else observation.legal_actions[reply.action],
        problem=None if reply.problem is None else str(reply.problem),
        choices=tuple((choice.word, choice.probability) for choice in move.choices),
        legal_share=move.legal_share,
        reward=decision.reward,
        log_pf=sheet.log_pf[number],
        log_ref=sheet.log_ref[number],
        log_flow=sheet.log_flow[number],
        level=sheet.level[number],
        residual=sheet.residual(number, number + 1),
    )


@torch.no_grad()
def sheet_of(policy: VLMPolicy, game: Played, books: Bookkeeping) -> Sheet:
    """Log-probs, flows and `a_t` of one game, by the very code that training judges it with."""
    scores = _scores(policy.score, game.rows, books.rows_per_pass)
    reference = _scores(policy.score_reference, game.rows, books.rows_per_pass)
    weight, reward, length = books.thought_weight, books.reward(game.episode), len(scores.entropy)
    learns = books.flows_at != "nowhere" and scores.flow is not None
    batch = arrange(
        [game.episode],
        [reward],
        log_pf=weighted_log_prob(scores, weight).cpu(),
        log_ref=weighted_log_prob(reference, weight).cpu(),
        flow=scores.flow.cpu() if learns and scores.flow is not None else None,
        alpha=books.alpha,
        beta=books.beta,
    )
    if batch.log_flow is not None and books.forward_looking:
        assert batch.log_reward_to_date is not None, "arrange gives it"
        accrued = books.beta * batch.log_reward_to_date
        batch = replace(batch, log_flow=batch.log_flow + accrued)
    flow, level = _unknown(length), _unknown(length + 1)
    if batch.log_flow is not None:
        known = 1 if books.flows_at == "starts" else length
        flow[:known] = batch.log_flow[0, :known].tolist()
    if books.balances and game.episode.ending is not Ending.TRUNCATED:
        level[-1] = terminal_balance(batch)[0].item()
        if batch.log_flow is not None:
            known = sum(value is not None for value in flow)
            level[:known] = balance(batch)[0, :known].tolist()
    return Sheet(batch.log_pf[0].tolist(), batch.log_ref[0].tolist(), flow, level)


def _unknown(count: int) -> Floats:
    return [None] * count


def _scores(
    score: Callable[[Sequence[Row]], StepScores], rows: Sequence[Row], per_pass: int
) -> StepScores:
    """Scores of one game, whose rows need not fit one pass."""
    parts = [score(rows[first : first + per_pass]) for first in range(0, len(rows), per_pass)]
    return parts[0] if len(parts) == 1 else concatenate(parts)
