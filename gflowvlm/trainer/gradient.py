"""Exact gradients of a loss over many rows in the memory of a few."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch

from gflowvlm.batch import StepScores, concatenate
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Tally, Work
from gflowvlm.policy.base import Policy


def accumulate(policy: Policy, work: Work, rows_per_pass: int) -> Tally:
    """Add the gradient of these rows' part of the loss to the policy's parameters.

    Where rows do not couple, each pass is differentiated by itself and weighted by its share.
    Where they do, the loss is differentiated with respect to the scores, computed without a graph,
    and each pass is scored again and handed its part. Both equal the direct gradient. Metrics are
    taken of all rows at once, so that they do not depend on the passes either.
    """
    if not work.rows:
        return Tally(means={}, peaks={})
    starts = range(0, len(work.rows), rows_per_pass)
    passes = [slice(i, min(i + rows_per_pass, len(work.rows))) for i in starts]
    if work.couples_rows and len(passes) > 1:
        return _two_passes(policy, work, passes)
    scored = []
    for part in passes:
        scores = policy.score(work.rows[part])
        (work.loss(scores, part).loss * work.share(part)).backward()
        scored.append(_detached(scores))
    with torch.no_grad():
        return _tally(work, work.loss(concatenate(scored), slice(0, len(work.rows))))


def _two_passes(policy: Policy, work: Work, passes: Sequence[slice]) -> Tally:
    whole = slice(0, len(work.rows))
    with torch.no_grad():
        scored = [policy.score(work.rows[part]) for part in passes]
    leaves = _leaves(concatenate(scored))
    output = work.loss(leaves, whole)
    (output.loss * work.share(whole)).backward()
    decisions = [len(s.action_log_prob) for s in scored]
    tokens = [len(s.token_log_prob) for s in scored]
    states = [0 if s.flow is None else len(s.flow) for s in scored]
    sizes = {
        "thought_log_prob": decisions,
        "action_log_prob": decisions,
        "token_log_prob": tokens,
        "flow": states,
        "log_p_done": decisions,
    }
    shares = {
        name: getattr(leaves, name).grad.split(size)
        for name, size in sizes.items()
        if getattr(leaves, name) is not None and getattr(leaves, name).grad is not None
    }
    for index, part in enumerate(passes):
        scores = policy.score(work.rows[part])
        handed = [(getattr(scores, name), share[index]) for name, share in shares.items()]
        # A pass may hold scores that are constants, as thoughts are of a policy that has none.
        handed = [(output, gradient) for output, gradient in handed if output.requires_grad]
        torch.autograd.backward([output for output, _ in handed], [part for _, part in handed])
    return _tally(work, output)


def _tally(work: Work, output: ObjectiveOutput) -> Tally:
    share = work.share(slice(0, len(work.rows)))
    values = {"loss": output.loss.item(), **output.metrics}
    means = {name: share * value for name, value in values.items()}
    return Tally(means=means, peaks=output.peaks)


def _detached(scores: StepScores) -> StepScores:
    """The same numbers without their graph."""
    tensors = {each.name: getattr(scores, each.name) for each in fields(scores)}
    return replace(scores, **{k: t.detach() for k, t in tensors.items() if t is not None})


def _leaves(scores: StepScores) -> StepScores:
    """The same numbers as leaves that collect a gradient."""
    return replace(
        scores,
        thought_log_prob=scores.thought_log_prob.requires_grad_(),
        action_log_prob=scores.action_log_prob.requires_grad_(),
        token_log_prob=scores.token_log_prob.requires_grad_(),
        flow=None if scores.flow is None else scores.flow.requires_grad_(),
        log_p_done=None if scores.log_p_done is None else scores.log_p_done.requires_grad_(),
    )
