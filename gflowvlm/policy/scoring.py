"""Rows to scores: one pass over whole sequences, the language head only where it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gflowvlm.batch import Row, StepScores
from gflowvlm.episode import Segment
from gflowvlm.policy.alike import distinct, of_like_length
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.heads import FlowHead, ValueHead
from gflowvlm.policy.language_head import LanguageHead


@dataclass(frozen=True, kw_only=True)
class _Sampled:
    """The sampled tokens of some rows, rows one after the other."""

    row: Tensor  # [M] which row that the model read
    position: Tensor  # [M] where the token stands
    token: Tensor  # [M] its id
    decision: Tensor  # [M] which of all D decisions it belongs to
    is_action: Tensor  # [M] bool
    allowed: list[tuple[int, ...] | None]  # M
    first: list[bool]  # M  whether the token begins its reply
    decisions: int  # D


def score_rows(
    rows: Sequence[Row],
    backbone: Backbone,
    language: LanguageHead,
    flow_head: FlowHead | None = None,
    value_head: ValueHead | None = None,
) -> StepScores:
    """Scores of the sampled tokens of `rows`, differentiable where the model is.

    A token at position p is predicted from the hidden state at p - 1. Rows of the same tokens and
    pictures go through the model once, however many episodes they are of.
    """
    firsts, place = distinct((row.input_ids, row.vision) for row in rows)
    hidden, begins = read_rows([rows[first] for first in firsts], backbone)
    sampled = _sampled_of(rows, place, backbone.device)
    log_prob, entropy, done = language.score(
        hidden[begins[sampled.row] + sampled.position - 1],
        sampled.token,
        sampled.allowed,
        sampled.first,
    )
    empty = torch.zeros(sampled.decisions, device=backbone.device)
    action = torch.where(sampled.is_action, log_prob, 0.0)
    thought = torch.where(sampled.is_action, 0.0, log_prob)
    return StepScores(
        thought_log_prob=empty.index_add(0, sampled.decision, thought),
        action_log_prob=empty.index_add(0, sampled.decision, action),
        entropy=empty.index_add(0, sampled.decision, entropy),
        flow=None if flow_head is None else flow_head(_states(rows, begins[place], hidden)),
        value=None if value_head is None else value_head(_states(rows, begins[place], hidden)),
        token_log_prob=log_prob,
        token_decision=sampled.decision,
        log_p_done=None if language.done is None else _per_decision(done, sampled),
    )


def _per_decision(done: Tensor, sampled: _Sampled) -> Tensor:
    """[D] what was read where each reply begins; NaN where its first token was given."""
    begins = torch.tensor(sampled.first, dtype=torch.bool, device=done.device)
    empty = torch.full((sampled.decisions,), float("nan"), device=done.device)
    return empty.index_copy(0, sampled.decision[begins], done[begins])


def read_rows(rows: Sequence[Row], backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Hidden states [T, H] of the tokens of all rows, and [N] where those of each row begin.

    Rows go through the model beside those of about their length: however much lengths differ,
    little of the work is padding.
    """
    begins = torch.zeros(len(rows), dtype=torch.long, device=backbone.device)
    states: list[Tensor] = []
    before = 0
    for members in of_like_length([len(row.input_ids) for row in rows]):
        group = [rows[member] for member in members]
        ids, mask, types = pad_rows(group, backbone)
        start = torch.zeros(len(group), dtype=torch.long, device=backbone.device)
        vision = backbone.merge([image for row in group for image in row.vision])
        hidden, _ = backbone.hidden(ids, mask, start, types=types, vision=vision)
        begins[members] = before + ids.shape[1] * torch.arange(len(group), device=ids.device)
        states.append(hidden.flatten(0, 1))
        before += ids.numel()
    return states[0] if len(states) == 1 else torch.cat(states), begins


def pad_rows(rows: Sequence[Row], backbone: Backbone) -> tuple[Tensor, Tensor, Tensor | None]:
    """Ids, mask and token types [N, S], padded on the right.

    No token sees what stands on its right, so that padding need not be masked: the mask is of ones,
    and attention kernels that know causality alone do, which skip half of the work.
    """
    longest = max(len(row.input_ids) for row in rows)

    def padded(lists: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
        full = [[*values, *[fill] * (longest - len(values))] for values in lists]
        return torch.tensor(full, device=backbone.device)

    mask = torch.ones(len(rows), longest, dtype=torch.long, device=backbone.device)
    types = None
    if any(row.token_types is not None for row in rows):
        types = padded([row.token_types or () for row in rows])
    return padded([row.input_ids for row in rows], backbone.pad_id), mask, types


def _sampled_of(rows: Sequence[Row], place: Sequence[int], device: torch.device) -> _Sampled:
    row_of, positions, tokens, decisions, actions = [], [], [], [], []
    allowed: list[tuple[int, ...] | None] = []
    first: list[bool] = []
    before = 0
    for index, row in zip(place, rows, strict=True):
        for position, decision in enumerate(row.decision_of):
            if decision < 0:
                continue
            row_of.append(index)
            positions.append(position)
            tokens.append(row.input_ids[position])
            decisions.append(before + decision)
            actions.append(row.segment[position] == Segment.ACTION)
            allowed.append(row.allowed.get(position))
            first.append(position == row.state_at[decision] + 1)
        before += row.num_decisions
    return _Sampled(
        row=torch.tensor(row_of, dtype=torch.long, device=device),
        position=torch.tensor(positions, dtype=torch.long, device=device),
        token=torch.tensor(tokens, dtype=torch.long, device=device),
        decision=torch.tensor(decisions, dtype=torch.long, device=device),
        is_action=torch.tensor(actions, dtype=torch.bool, device=device),
        allowed=allowed,
        first=first,
        decisions=before,
    )


def _states(rows: Sequence[Row], begins: Tensor, hidden: Tensor) -> Tensor:
    """[D + N, H] hidden states at each row's T + 1 states."""
    row_of = [index for index, row in enumerate(rows) for _ in row.state_at]
    position = torch.tensor([at for row in rows for at in row.state_at], device=hidden.device)
    return hidden[begins[row_of] + position]
