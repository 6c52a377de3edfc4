"""Given replies as rows: what the policy would hold had it said these words itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gflowvlm.batch import Row
from gflowvlm.config.supervised import ReplyPart
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.policy.slots import FORCED_OPENING, ReplyRules
from gflowvlm.policy.transcript import Record, Transcript
from gflowvlm.policy.trie import TokenTrie
from gflowvlm.prompting.messages import UserTurn
from gflowvlm.prompting.reply import (
    DONE_REPLY,
    ParsedReply,
    glue_after,
    opening_of,
    parse_reply,
    reply_keys,
)

LossOn = Sequence[ReplyPart]
WHOLE_REPLY: LossOn = ("fields", "thought", "action")


@dataclass(frozen=True, kw_only=True)
class TaughtTurn:
    """One turn of a general conversation: what the user shows and says, what is answered."""

    image: NDArray[np.uint8] | None  # [H, W, 3]
    text: str
    reply: str


def row_of_turns(
    turns: Sequence[TaughtTurn],
    rules: ReplyRules,
    transcript: Transcript,
    loss_on: LossOn = WHOLE_REPLY,
) -> Row:
    """A conversation of any kind as one row; parts of a reply are found where it is JSON."""
    for index, turn in enumerate(turns):
        user = UserTurn(image=turn.image, text=turn.text)
        transcript.add_chunk(rules.chat.following(user) if index else rules.chat.opening(user))
        if turn.reply == DONE_REPLY:
            _say_done(rules, transcript)
            continue
        reply = rules.vocabulary.neutralise(turn.reply)
        parsed = parse_reply(reply, ())
        _say_taught(reply, parsed, rules, transcript)
        transcript.add_sampled(rules.chat.closing_id)
        _mark(parsed, rules, transcript, loss_on)
    return transcript.row()


def rows_of_episode(
    observations: Sequence[Observation],
    replies: Sequence[str],
    rules: ReplyRules,
    record: Record,
    loss_on: LossOn,
) -> tuple[Row, ...]:
    """An episode with given replies, made by the rules a session would follow.

    Args:
        observations: what was seen, one per reply.
        replies: texts as `format_reply` writes them, without end of turn.
        rules: free replies are encoded as one text; constrained ones get their forced tokens and
            the ids each action token was chosen from.
        record: empty.
        loss_on: which parts of a reply count: the values of its `fields`, the `thought` (all else
            before the action key), the `action` from its key on. The rest becomes context.
    """
    for observation, reply in zip(observations, replies, strict=True):
        say(observation, reply, rules, record, loss_on)
    return record.rows()


def say(
    observation: Observation,
    reply: str,
    rules: ReplyRules,
    record: Record,
    loss_on: LossOn = WHOLE_REPLY,
) -> None:
    """Write one given reply into an episode's record; see `rows_of_episode`."""
    record.ask(observation)
    transcript = record.transcript
    reply = rules.vocabulary.neutralise(reply)
    parsed = parse_reply(reply, observation.legal_actions)
    if rules.constrained:
        _say_constrained(reply, parsed, observation, rules, transcript)
    else:
        _say(reply, rules, transcript)
        transcript.add_sampled(rules.chat.closing_id)
    _mark(parsed, rules, transcript, loss_on)
    record.answered(reply)


def _say_done(rules: ReplyRules, transcript: Transcript) -> None:
    """One token that ends the episode; no end of turn follows."""
    if rules.done is None:
        raise UserError(
            f"found the reply {DONE_REPLY} in the data, expected none for a policy that cannot "
            "say it: set objective.done_share above 0"
        )
    transcript.add_sampled(rules.done)
    transcript.mark_action(transcript.reply_start)


def _say(text: str, rules: ReplyRules, transcript: Transcript) -> None:
    for token in rules.vocabulary.encode(text):
        transcript.add_sampled(token)


def _say_taught(reply: str, parsed: ParsedReply, rules: ReplyRules, transcript: Transcript) -> None:
    """A reply whose keys are given as far as a session gives them, its action free."""
    keys = reply_keys(tuple(parsed.fields), thought=rules.thought)
    parts = _in_form(reply, keys, rules) if rules.thought and rules.gives_keys else None
    for tokens, given in parts or ():
        _say_part(tokens, given, transcript)
    _say(reply[(parsed.word_start or 0) + 1 :] if parts else reply, rules, transcript)


def _say_part(tokens: Sequence[int], given: bool, transcript: Transcript) -> None:
    if given:
        transcript.add_context(tokens)
        return
    for token in tokens:
        transcript.add_sampled(token)


def _say_constrained(
    reply: str,
    parsed: ParsedReply,
    observation: Observation,
    rules: ReplyRules,
    transcript: Transcript,
) -> None:
    """The reply as a constrained session writes it, then one path of the trie.

    One in another form than is asked for counts as said freely up to its action's word.
    """
    assert parsed.action is not None, f"a given reply must name a legal action: {reply!r}"
    if rules.thought:
        freely = [(rules.encode(reply[: (parsed.word_start or 0) + 1]), False)]
        for tokens, given in _in_form(reply, rules.keys(observation), rules) or freely:
            _say_part(tokens, given, transcript)
    elif rules.done is None:
        transcript.add_context(rules.encode(FORCED_OPENING))
    node: TokenTrie = rules.trie(observation.legal_actions)
    path = rules.action_path(observation.legal_actions[parsed.action])
    if not rules.thought and rules.done is not None:
        node = rules.whole_trie(observation.legal_actions)
        path = (*rules.encode(FORCED_OPENING), *path)
    for token in path:
        transcript.add_sampled(token, node.allowed)
        node = node.children[token]


def _in_form(
    reply: str, keys: Sequence[str], rules: ReplyRules
) -> list[tuple[Sequence[int], bool]] | None:
    """The tokens of a reply up to its action's word, in parts that are given or not.

    A session gives the keys and what stands between values; a value's tokens are those of the text
    from there on, to the one that ends it. None where the reply has another form.
    """
    vocabulary, given = rules.vocabulary, opening_of(keys) if rules.gives_keys else ""
    ids: list[int] = []
    parts: list[tuple[Sequence[int], bool]] = []
    text, action_follows = "", False
    while reply.startswith(text + given):
        parts.append((rules.encode(given), True))
        ids += parts[-1][0]
        text += given
        if action_follows:
            return parts
        tokens = vocabulary.encode(reply[len(text) :])
        ends = [e for e, token in enumerate(tokens, 1) if token in vocabulary.with_quote]
        afters = ((e, glue_after(vocabulary.decode([*ids, *tokens[:e]]), keys)) for e in ends)
        end, after = next(((e, after) for e, after in afters if after), (0, None))
        if after is None:
            return None
        parts.append((tokens[:end], False))
        ids += tokens[:end]
        text = vocabulary.decode(ids)
        given, action_follows = after
    return None


def _mark(parsed: ParsedReply, rules: ReplyRules, transcript: Transcript, loss_on: LossOn) -> None:
    """Tell thought from action by character, and leave out what the loss shall not see.

    Nor shall it see what the policy cannot say, as the keys that it is given.
    """
    vocabulary, start = rules.vocabulary, transcript.reply_start
    written = range(start, len(transcript.ids))
    transcript.leave_out(
        [p for p in written if p not in transcript.allowed and transcript.ids[p] in rules.forbidden]
    )
    ids = transcript.ids[start:-1]  # without end of turn
    text = vocabulary.decode(ids)
    if not rules.thought:
        transcript.mark_action(start)
        said = parse_reply(text, ()).word_start
        if rules.done is None and said is not None:  # a session forces what opens the reply
            transcript.leave_out(
                range(start, start + vocabulary.first_token_at(ids, text, said + 1))
            )
        return
    first = start + vocabulary.first_token_at(ids, text, parsed.action_start)
    if parsed.action_start < len(text):
        transcript.mark_action(first)
    ends = [vocabulary.start_of(ids, text, index) for index in range(1, len(ids))] + [len(text)]
    begins = [0, *ends[:-1]]
    spans = parsed.field_spans.values()
    fields = {
        start + index
        for index, (begin, end) in enumerate(zip(begins, ends, strict=True))
        if any(begin < last and end > opening for opening, last in spans)
    }
    parts = {
        "fields": fields,
        "thought": set(range(start, first)) - fields,
        "action": set(range(first, len(transcript.ids))) - fields,
    }
    transcript.leave_out([p for name, part in parts.items() if name not in loss_on for p in part])
