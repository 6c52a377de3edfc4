"""What else could have been said: the log-prob of every legal action, given the thought as it was.

A decision's row is kept token by token up to the action's word; each legal action then takes the
place of the word that was said. What follows later in the row is left out: attention is causal, so
it changes no log-prob before it.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gflowvlm.batch import Row, up_to_reply
from gflowvlm.episode import Decision, Segment
from gflowvlm.policy.slots import ReplyRules
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import action_ending, parse_reply

_Tail = list[tuple[int, tuple[int, ...] | None]]  # tokens, and the ids a bound one was chosen from


@torch.no_grad()
def action_log_probs(
    policy: VLMPolicy, row: Row, index: int, decision: Decision, *, rows_per_pass: int = 8
) -> Tensor | None:
    """[A] log-prob of each legal action's tokens given history and thought, nats, float64.

    The tokens are those from the action's word to the end of turn: as sampled for the action that
    was taken, as the policy is asked to write them for the others. With constrained actions the
    probabilities sum to one; with free ones the rest is what names no legal action.

    Args:
        policy: scores the alternatives.
        row: the token sequence that holds the decision.
        index: which of the row's decisions it is.
        decision: what was seen and said there.
        rows_per_pass: alternatives scored at once.

    Returns:
        None where the reply never came to an action's word.
    """
    cut = _word_position(row, index, decision, policy.rules)
    if cut is None:
        return None
    row = up_to_reply(row, index, len(decision.reply.token_ids))
    rows = _alternatives(row, index, cut, decision, policy.rules)
    before = sum(d == index for d in row.decision_of[:cut])
    totals = []
    for first in range(0, len(rows), rows_per_pass):
        part = rows[first : first + rows_per_pass]
        scores = policy.score(part)
        for number in range(len(part)):
            # Rows keep their number of decisions, so this one's place among all is known.
            chosen = scores.token_decision == number * row.num_decisions + index
            totals.append(scores.token_log_prob[chosen][before:].double().sum())
    return torch.stack(totals).cpu()


def _word_position(row: Row, index: int, decision: Decision, rules: ReplyRules) -> int | None:
    """Position of the token in which the action's word begins, its opening quote included."""
    start = row.state_at[index] + 1
    if rules.constrained:
        end = start + len(decision.reply.token_ids)
        return min((p for p in row.allowed if start <= p < end), default=None)
    text, ids = decision.reply.text, decision.reply.token_ids
    word = parse_reply(text, decision.observation.legal_actions).word_start
    if word is None:
        return None
    first = rules.vocabulary.first_token_at(ids, text, word)
    if first == len(ids) or rules.vocabulary.start_of(ids, text, first) > word:
        first -= 1  # a token that begins before the quote and holds it
    return start + first


def _alternatives(
    row: Row, index: int, cut: int, decision: Decision, rules: ReplyRules
) -> list[Row]:
    """One row per legal action; the action that was taken keeps its own."""
    end = row.state_at[index] + 1 + len(decision.reply.token_ids)
    return [
        row
        if action == decision.reply.action
        else _replaced(row, index, cut, end, _tail(word, row, index, cut, decision, rules))
        for action, word in enumerate(decision.observation.legal_actions)
    ]


def _tail(
    word: str, row: Row, index: int, cut: int, decision: Decision, rules: ReplyRules
) -> _Tail:
    """The tokens that say `word` from position `cut` on, to the end of turn."""
    if rules.constrained:
        node, tail = rules.trie(decision.observation.legal_actions), []
        for token in rules.action_path(word):
            tail.append((token, node.allowed))
            node = node.children[token]
        return tail
    text, ids = decision.reply.text, decision.reply.token_ids
    begin = rules.vocabulary.start_of(ids, text, cut - row.state_at[index] - 1)
    said = parse_reply(text, ()).word_start
    ending = text[begin:said] + '"' + action_ending(word)
    return [(token, None) for token in (*rules.encode(ending), rules.chat.closing_id)]


def _replaced(row: Row, index: int, first: int, last: int, tail: _Tail) -> Row:
    """The row with `tail` in the place of positions first to last, all of it action."""
    shift = len(tail) - (last - first)

    def spliced(values: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
        return (*values[:first], *new, *values[last:])

    allowed = {p + shift * (p >= last): a for p, a in row.allowed.items() if not first <= p < last}
    allowed |= {first + i: among for i, (_, among) in enumerate(tail) if among is not None}
    return replace(
        row,
        input_ids=spliced(row.input_ids, [token for token, _ in tail]),
        decision_of=spliced(row.decision_of, [index] * len(tail)),
        segment=spliced(row.segment, [Segment.ACTION] * len(tail)),
        state_at=tuple(p + shift * (p >= last) for p in row.state_at),
        allowed=allowed,
        token_types=row.token_types and spliced(row.token_types, [0] * len(tail)),
    )
