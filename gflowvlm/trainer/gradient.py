"""Exact gradients of a loss over many rows in the memory of a few."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores, concatenate, rows_of
from gflowvlm.objectives.work import Work
from gflowvlm.policy.base import Policy


def accumulate(policy: Policy, work: Work, rows_per_pass: int) -> dict[str, float]:
    """Add the gradient of the whole batch's loss to the policy's parameters; gives metrics.

    A pass scores at most `rows_per_pass` rows. Where episodes do not couple and each fits into a
    pass, each pass is differentiated by itself and weighted by its share. Elsewhere the loss is
    differentiated with respect to the scores, computed without a graph, and each pass is scored
    again and handed its part. Both equal the direct gradient.
    """
    passes = whole_episodes(work.episodes, rows_per_pass)
    if passes is None or (work.couples_rows and len(passes) > 1):
        return _two_passes(policy, work, rows_per_pass)
    totals: dict[str, float] = {}
    for part in passes:
        output = work.loss(policy.score(rows_of(work.episodes[part])), part)
        share = work.share(part)
        (output.loss * share).backward()
        for name, value in {"loss": output.loss.item(), **output.metrics}.items():
            totals[name] = totals.get(name, 0.0) + share * value
    return totals


def whole_episodes(episodes: Sequence[Sequence[Row]], rows_per_pass: int) -> list[slice] | None:
    """Passes of neighbouring episodes of at most so many rows; None if an episode has more."""
    passes, first, rows = [], 0, 0
    for index, episode in enumerate(episodes):
        if len(episode) > rows_per_pass:
            return None
        if rows + len(episode) > rows_per_pass:
            passes.append(slice(first, index))
            first, rows = index, 0
        rows += len(episode)
    return [*passes, slice(first, len(episodes))]


def _two_passes(policy: Policy, work: Work, rows_per_pass: int) -> dict[str, float]:
    rows = rows_of(work.episodes)
    passes = [rows[i : i + rows_per_pass] for i in range(0, len(rows), rows_per_pass)]
    with torch.no_grad():
        scored = [policy.score(part) for part in passes]
    leaves = _leaves(concatenate(scored))
    output = work.loss(leaves, slice(0, len(work.episodes)))
    output.loss.backward()
    decisions = [len(s.action_log_prob) for s in scored]
    tokens = [len(s.token_log_prob) for s in scored]
    states = [0 if s.flow is None else len(s.flow) for s in scored]
    sizes = {
        "thought_log_prob": decisions,
        "action_log_prob": decisions,
        "token_log_prob": tokens,
        "flow": states,
    }
    shares = {
        name: getattr(leaves, name).grad.split(size)
        for name, size in sizes.items()
        if getattr(leaves, name) is not None and getattr(leaves, name).grad is not None
    }
    for index, part in enumerate(passes):
        scores = policy.score(part)
        outputs: list[Tensor] = [getattr(scores, name) for name in shares]
        torch.autograd.backward(outputs, [share[index] for share in shares.values()])
    return {"loss": output.loss.item(), **output.metrics}


def _leaves(scores: StepScores) -> StepScores:
    """The same numbers as leaves that collect a gradient."""
    return replace(
        scores,
        thought_log_prob=scores.thought_log_prob.requires_grad_(),
        action_log_prob=scores.action_log_prob.requires_grad_(),
        token_log_prob=scores.token_log_prob.requires_grad_(),
        flow=None if scores.flow is None else scores.flow.requires_grad_(),
    )
