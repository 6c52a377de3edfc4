"""One slot of a session while its reply is being sampled: which token may come next."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache

import numpy as np
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Reply, ReplyProblem, Segment
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.chat import Chat
from gflowvlm.policy.noise import uniforms
from gflowvlm.policy.transcript import Record, Transcript
from gflowvlm.policy.trie import TokenTrie
from gflowvlm.prompting.reply import (
    ACTION_KEY,
    DONE_REPLY,
    action_ending,
    glue_after,
    glue_before,
    opening_of,
    parse_reply,
    reply_keys,
)

FORCED_OPENING = opening_of([ACTION_KEY])


class Phase(Enum):
    """Where a reply stands."""

    FREE = auto()  # any id that is not forbidden
    BOUND = auto()  # only what continues a legal action
    DONE = auto()  # the reply is over


class ReplyRules:
    """How replies of a policy are made: free or constrained, with or without a thought."""

    def __init__(
        self,
        chat: Chat,
        *,
        constrained: bool,
        thought: bool,
        max_tokens: int,
        done: int | None = None,
    ) -> None:
        """Keep the rules.

        Args:
            chat: the conversation format.
            constrained: whether the reply's keys are given and its action is one of the legal ones.
            thought: False (constrained only) leaves nothing but the action.
            max_tokens: a free reply is cut after so many tokens; an action begun is finished.
            done: the token that may stand in place of a reply and ends the episode, if any.
        """
        assert thought or constrained, "a reply without thought is constrained"
        self.chat = chat
        self.vocabulary = chat.vocabulary
        self.constrained = constrained
        self.thought = thought
        self.max_tokens = max_tokens
        self.done = done
        self.gives_keys = constrained and done is None
        self.forbidden = frozenset(
            self.vocabulary.forbidden(
                chat.end_ids, constrained=constrained, values_only=thought and self.gives_keys
            )
        )
        self.trie = lru_cache(maxsize=256)(self._trie)
        self.whole_trie = lru_cache(maxsize=256)(self._whole_trie)
        self.encode = lru_cache(maxsize=1024)(self.vocabulary.encode)

    def _trie(self, actions: tuple[str, ...]) -> TokenTrie:
        """Paths of the legal actions, each with closing quote, brace and end of turn."""
        return TokenTrie.of(self.action_path(action) for action in actions)

    def _whole_trie(self, actions: tuple[str, ...]) -> TokenTrie:
        """Paths of whole replies without a thought, DONE among them."""
        assert self.done is not None, "without DONE the opening is forced"
        opening = self.encode(FORCED_OPENING)
        return TokenTrie.of([(self.done,), *((*opening, *self.action_path(a)) for a in actions)])

    def keys(self, observation: Observation) -> tuple[str, ...]:
        """The keys of a reply to an observation, in the form that is asked for."""
        return reply_keys(observation.reply_fields, thought=self.thought)

    def longest_reply(self, observation: Observation) -> int:
        """The most tokens that a reply can have, given ones included."""
        if not self.constrained:
            return self.max_tokens
        # A value can be completed by the last free token: glue, whose rest may take a token a
        # character, and an action still follow.
        glue = max(len(glue_before(key).encode()) for key in self.keys(observation))
        return self.max_tokens + glue + self.trie(observation.legal_actions).depth

    def action_path(self, action: str) -> tuple[int, ...]:
        """The one token path that says `action` after the opening quote and ends the reply."""
        return (*self.vocabulary.encode(action_ending(action)), self.chat.closing_id)


class Slot:
    """One episode's record and the state of its current reply."""

    def __init__(self, key: EpisodeKey, rules: ReplyRules, record: Record) -> None:
        self.key = key
        self.rules = rules
        self.record = record
        self.fed = 0  # tokens of the present transcript that are in the cache
        self.seen = 0  # its turns whose images are
        self.phase = Phase.DONE
        self.observation: Observation | None = None
        self._node = TokenTrie()
        self._log_probs: dict[int, float] = {}  # by position in the transcript

    @property
    def transcript(self) -> Transcript:
        """The token sequence that is being written."""
        return self.record.transcript

    @property
    def allowed(self) -> tuple[int, ...] | None:
        """Ids the next token may be, None where any but the forbidden."""
        return self._node.allowed if self.phase is Phase.BOUND else None

    def open_reply(self, observation: Observation) -> np.ndarray:
        """Take in an observation and begin a reply to it.

        Returns:
            The uniforms of the reply's tokens, [most tokens it can have].
        """
        rules = self.rules
        self.observation = observation
        self.record.ask(observation)
        self.phase = Phase.FREE
        self._log_probs = {}
        if not rules.thought and rules.done is not None:
            self.phase = Phase.BOUND
            self._node = rules.whole_trie(observation.legal_actions)
        elif rules.gives_keys:
            self.transcript.add_context(rules.encode(opening_of(rules.keys(observation))))
            if not rules.thought:
                self._bind()
        return uniforms(self.key, self.record.decisions - 1, rules.longest_reply(observation))

    @property
    def reply_length(self) -> int:
        """Tokens of the current reply so far, forced ones included."""
        return len(self.transcript.ids) - self.transcript.reply_start

    def take(self, token: int, log_prob: float) -> None:
        """Append a sampled token and move on."""
        self._log_probs[len(self.transcript.ids)] = log_prob
        self.transcript.add_sampled(token, self.allowed)
        if self.phase is Phase.BOUND:
            self._descend(token)
        elif token in self.rules.chat.end_ids or token == self.rules.done:
            self.phase = Phase.DONE
        elif self.rules.constrained and token in self.rules.vocabulary.with_quote:
            self._go_on_after_a_value()
        if self.phase is Phase.FREE and self.reply_length >= self.rules.max_tokens:
            self.phase = Phase.DONE

    def _go_on_after_a_value(self) -> None:
        """Give what stands between a value that is complete and the next one."""
        assert self.observation is not None, "a reply answers an observation"
        text = self.rules.vocabulary.decode(self._reply_ids())
        found = glue_after(text, self.rules.keys(self.observation))
        if found is None:
            return
        glue, action_follows = found
        self.transcript.add_context(self.rules.encode(glue))
        if action_follows:
            self._bind()

    def _bind(self) -> None:
        assert self.observation is not None, "a reply answers an observation"
        self.phase = Phase.BOUND
        self._node = self.rules.trie(self.observation.legal_actions)
        self._follow_only_children()

    def _descend(self, token: int) -> None:
        self._node = self._node.children[token]
        self._follow_only_children()

    def _follow_only_children(self) -> None:
        """Take every step that has no choice at once; such tokens are sampled with log-prob 0."""
        while len(self._node.allowed) == 1:
            allowed = self._node.allowed
            self.transcript.add_sampled(allowed[0], allowed)
            self._node = self._node.children[allowed[0]]
        if not self._node.allowed:
            self.phase = Phase.DONE

    def _reply_ids(self) -> list[int]:
        return self.transcript.ids[self.transcript.reply_start :]

    def close_reply(self) -> Reply:
        """Read the finished reply, fix its segments, and close it if it was cut off."""
        assert self.observation is not None, "a reply answers an observation"
        transcript, chat, start = self.transcript, self.rules.chat, self.transcript.reply_start
        ids = self._reply_ids()
        if ids == [self.rules.done]:
            return self._close_with_done()
        said = len(ids) - int(ids[-1] in chat.end_ids)
        text = self.rules.vocabulary.decode(ids[:said])
        parsed = parse_reply(text, self.observation.legal_actions)
        first = self.rules.vocabulary.first_token_at(ids[:said], text, parsed.action_start)
        # Without an action key all is thought, the end of turn too.
        if not self.rules.thought:
            transcript.mark_action(start)
        elif parsed.action_start < len(text):
            transcript.mark_action(start + first)
        cut = said == len(ids)
        if cut:
            transcript.add_context([chat.closing_id])
        self.record.answered(text)
        end = start + len(ids)
        return Reply(
            text=text,
            token_ids=tuple(ids),
            segment=tuple(Segment(s) for s in transcript.segment[start:end]),
            log_probs=tuple(self._log_probs.get(position, 0.0) for position in range(start, end)),
            fields=dict(parsed.fields),
            action=None if cut else parsed.action,
            problem=ReplyProblem.CUT_OFF if cut else parsed.problem,
            steps_left_out=self.record.steps_left_out,
        )

    def _close_with_done(self) -> Reply:
        """The reply that is DONE: one token, all of it action."""
        transcript, start = self.transcript, self.transcript.reply_start
        transcript.mark_action(start)
        return Reply(
            text=DONE_REPLY,
            token_ids=(transcript.ids[start],),
            segment=(Segment.ACTION,),
            log_probs=(self._log_probs[start],),
            done=True,
            steps_left_out=self.record.steps_left_out,
        )

    def unfed(self) -> Sequence[int]:
        """Tokens that the cache has not seen."""
        return self.transcript.ids[self.fed :]

    def unseen(self) -> Sequence[Mapping[str, Tensor]]:
        """Images that the cache has not seen, turn by turn."""
        return self.transcript.vision[self.seen :]

    def rows(self) -> tuple[Row, ...]:
        """The record as rows."""
        return self.record.rows()
