"""What else could have been said: the log-prob of every legal action, given the thought as it was.

An episode is read once, token by token up to each action's word; there every legal action takes the
place of the word that was said, on top of a copy of the cache. T decisions between A actions cost
one reading of the episode and T x A of a few words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Decision
from gflowvlm.policy.past import Past
from gflowvlm.policy.slots import ReplyRules
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import action_ending, parse_reply


@dataclass(frozen=True)
class _Step:
    """One token of an alternative."""

    token: int
    allowed: tuple[int, ...] | None  # ids it was bound to; one alone is no choice and costs nothing
    begins: bool = False  # whether the reply begins with it


@torch.no_grad()
def action_log_probs(
    policy: VLMPolicy,
    rows: Sequence[Row],
    decisions: Sequence[Decision],
    *,
    rows_per_pass: int = 8,
) -> list[Tensor | None]:
    """[A] log-prob of each legal action's tokens given history and thought, nats, float64.

    The tokens are those from the action's word to the end of turn: as sampled for the action that
    was taken, as the policy is asked to write them for the others. With constrained actions the
    probabilities sum to one; with free ones the rest is what names no legal action.

    Args:
        policy: scores the alternatives.
        rows: the token sequences of an episode.
        decisions: what was seen and said in it, in the rows' order.
        rows_per_pass: alternatives scored at once; each holds a copy of the cache.

    Returns:
        One tensor a decision; None where the reply never came to an action's word.
    """
    policy.model.train(False)
    found: list[Tensor | None] = []
    for row in rows:
        here = decisions[len(found) : len(found) + row.num_decisions]
        found += _along(policy, row, here, rows_per_pass)
    return found


def _along(
    policy: VLMPolicy, row: Row, decisions: Sequence[Decision], rows_per_pass: int
) -> list[Tensor | None]:
    """What `action_log_probs` gives of one row's decisions."""
    past, read, seen = Past.empty(1, policy.backbone.device), 0, 0
    found: list[Tensor | None] = []
    for index, decision in enumerate(decisions):
        cut = _word_position(row, index, decision, policy.rules)
        if cut is None:
            found.append(None)
            continue
        vision = policy.backbone.merge(row.vision[seen : index + 1])
        hidden = policy.backbone.feed([row.input_ids[read:cut]], past, vision=vision)
        read, seen = cut, index + 1
        tails = _tails(row, index, cut, decision, policy.rules)
        parts = [tails[n : n + rows_per_pass] for n in range(0, len(tails), rows_per_pass)]
        found.append(torch.cat([_score(policy, part, hidden[0, -1], past) for part in parts]))
    return found


def _score(policy: VLMPolicy, tails: Sequence[Sequence[_Step]], last: Tensor, past: Past) -> Tensor:
    """[P] log-prob of each tail after `past`, whose last token's hidden state [H] is `last`."""
    tokens = [[step.token for step in tail] for tail in tails]
    hidden = policy.backbone.feed(tokens, past.fork([0] * len(tails)), vision={})
    before = torch.cat([last.expand(len(tails), 1, -1), hidden[:, :-1]], 1)
    row = torch.tensor([n for n, tail in enumerate(tails) for _ in tail], device=last.device)
    place = torch.tensor([n for tail in tails for n in range(len(tail))], device=last.device)
    steps = [step for tail in tails for step in tail]
    log_prob, _, _ = policy.language.score(
        before[row, place],
        torch.tensor([step.token for step in steps], device=last.device),
        [step.allowed for step in steps],
        [step.begins for step in steps],
    )
    total = torch.zeros(len(tails), dtype=torch.float64, device=last.device)
    return total.index_add(0, row, log_prob.double()).cpu()


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


def _tails(
    row: Row, index: int, cut: int, decision: Decision, rules: ReplyRules
) -> list[list[_Step]]:
    """What each legal action would say from position `cut` on, to the end of turn."""
    end = row.state_at[index] + 1 + len(decision.reply.token_ids)
    sampled = [
        _Step(row.input_ids[p], row.allowed.get(p), p == row.state_at[index] + 1)
        for p in range(cut, end)
    ]
    tails = [
        _tail(word, row, index, cut, decision, rules) for word in decision.observation.legal_actions
    ]
    if decision.reply.action is not None:
        tails[decision.reply.action] = sampled
    return tails


def _tail(
    word: str, row: Row, index: int, cut: int, decision: Decision, rules: ReplyRules
) -> list[_Step]:
    """The tokens that say `word` from position `cut` on, to the end of turn."""
    start = row.state_at[index] + 1
    if rules.constrained:
        node, tail = rules.trie(decision.observation.legal_actions), []
        for token in rules.action_path(word):
            tail.append(_Step(token, node.allowed, cut + len(tail) == start))
            node = node.children[token]
        return tail
    text, ids = decision.reply.text, decision.reply.token_ids
    begin = rules.vocabulary.start_of(ids, text, cut - start)
    said = parse_reply(text, ()).word_start
    ending = text[begin:said] + '"' + action_ending(word)
    tokens = (*rules.encode(ending), rules.chat.closing_id)
    return [_Step(token, None, cut + n == start) for n, token in enumerate(tokens)]
