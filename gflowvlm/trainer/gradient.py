"""Exact gradients of a loss over many rows in the memory of a few."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch

from gflowvlm.batch import Row, StepScores, concatenate, rows_of
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Tally, Work
from gflowvlm.policy.base import Policy

_DIFFERENTIABLE = (
    *("thought_log_prob", "action_log_prob", "token_log_prob", "log_p_done"),
    *("flow", "value", "out_flow", "outcome_flow"),
)  # scores that a gradient goes through


def accumulate(policy: Policy, work: Work, rows_per_pass: int) -> Tally:
    """Add the gradient of these rows' part of the loss to the policy's parameters.

    A pass scores at most `rows_per_pass` rows. Where episodes do not couple and each fits into a
    pass, each pass is differentiated by itself and weighted by its share. Elsewhere the loss is
    differentiated with respect to the scores, computed without a graph, and each pass is scored
    again and handed its part. Both equal the direct gradient. Metrics are taken of all rows at
    once, so that they do not depend on the passes either.
    """
    if not work.episodes:
        return Tally(means={}, peaks={})
    passes = whole_episodes(work.episodes, rows_per_pass)
    if passes is None or (work.couples_rows and len(passes) > 1):
        return _two_passes(policy, work, rows_per_pass)
    scored = []
    for part in passes:
        scores = policy.score(rows_of(work.episodes[part]))
        (work.loss(scores, part).loss * work.share(part)).backward()
        scored.append(_detached(scores))
    with torch.no_grad():
        return _tally(work, work.loss(concatenate(scored), slice(0, len(work.episodes))))


@torch.no_grad()
def score_in_passes(
    score: Callable[[Sequence[Row]], StepScores], rows: Sequence[Row], rows_per_pass: int
) -> StepScores:
    """Scores of one row or more without a graph, of at most so many rows at a time."""
    parts = [rows[i : i + rows_per_pass] for i in range(0, len(rows), rows_per_pass)]
    return concatenate([score(part) for part in parts])


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


def _two_passes(policy: Policy, work: Work, rows_per_pass: int) -> Tally:
    rows = rows_of(work.episodes)
    passes = [rows[i : i + rows_per_pass] for i in range(0, len(rows), rows_per_pass)]
    with torch.no_grad():
        scored = [policy.score(part) for part in passes]
    leaves = _leaves(concatenate(scored))
    whole = slice(0, len(work.episodes))
    output = work.loss(leaves, whole)
    (output.loss * work.share(whole)).backward()
    decisions = [len(s.action_log_prob) for s in scored]
    tokens = [len(s.token_log_prob) for s in scored]
    states = [sum(len(row.state_at) for row in part) for part in passes]
    sizes = {"token_log_prob": tokens, "flow": states, "value": states, "out_flow": states}
    shares = {
        name: getattr(leaves, name).grad.split(sizes.get(name, decisions))
        for name in _DIFFERENTIABLE
        if getattr(leaves, name) is not None and getattr(leaves, name).grad is not None
    }
    for index, part in enumerate(passes):
        scores = policy.score(part)
        handed = [(getattr(scores, name), share[index]) for name, share in shares.items()]
        # A pass may hold scores that are constants, as thoughts are of a policy that has none.
        handed = [(output, gradient) for output, gradient in handed if output.requires_grad]
        outputs, gradients = zip(*handed, strict=True)
        torch.autograd.backward(outputs, gradients)
    return _tally(work, output)


def _tally(work: Work, output: ObjectiveOutput) -> Tally:
    share = work.share(slice(0, len(work.episodes)))
    values = {"loss": output.loss.item(), **output.metrics}
    means = {name: share * value for name, value in values.items()}
    return Tally(means=means, peaks=output.peaks)


def _detached(scores: StepScores) -> StepScores:
    """The same numbers without their graph."""
    tensors = {each.name: getattr(scores, each.name) for each in fields(scores)}
    return replace(scores, **{k: t.detach() for k, t in tensors.items() if t is not None})


def _leaves(scores: StepScores) -> StepScores:
    """The same numbers as leaves that collect a gradient."""
    tensors = {name: getattr(scores, name) for name in _DIFFERENTIABLE}
    return replace(scores, **{k: t.requires_grad_() for k, t in tensors.items() if t is not None})
