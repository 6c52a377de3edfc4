"""Rows in the making: context chunks and replies, token by token."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation, Segment
from gflowvlm.errors import ContextExceeded
from gflowvlm.policy.chat import Chat, Chunk
from gflowvlm.policy.families import Family
from gflowvlm.prompting.messages import UserTurn, grows, next_turn


class Transcript:
    """One token sequence, as lists that grow together."""

    def __init__(self, family: Family, image_id: int | None) -> None:
        """Start empty.

        Args:
            family: of the model.
            image_id: the placeholder's id; only mrope families need to know it.
        """
        self.family = family
        self.image_id = image_id if family.positions == "mrope" else None
        self.ids: list[int] = []
        self.decision_of: list[int] = []
        self.segment: list[Segment] = []
        self.allowed: dict[int, tuple[int, ...]] = {}
        self.state_at: list[int] = []  # one per reply begun
        self.vision: list[Mapping[str, Tensor]] = []
        self._chunks: list[Chunk] = []  # held so that others of the same turn get the same

    @property
    def reply_start(self) -> int:
        """Position of the current reply's first token."""
        return self.state_at[-1] + 1

    @property
    def types(self) -> list[int]:
        """1 where a token stands for a piece of an image (mrope families), else 0."""
        return [int(index == self.image_id) for index in self.ids]

    def add_context(self, ids: Sequence[int]) -> None:
        """Append tokens that the policy is given."""
        self.ids.extend(ids)
        self.decision_of.extend([-1] * len(ids))
        self.segment.extend([Segment.CONTEXT] * len(ids))

    def add_chunk(self, chunk: Chunk) -> None:
        """Append a turn's context; the next reply begins after it."""
        self.add_context(chunk.ids)
        self.vision.append(chunk.vision)
        self._chunks.append(chunk)
        self.state_at.append(len(self.ids) - 1)

    def add_sampled(self, token: int, allowed: tuple[int, ...] | None = None) -> None:
        """Append a token of the current reply; `allowed` are the ids it was chosen from."""
        if allowed is not None:
            self.allowed[len(self.ids)] = allowed
        self.ids.append(token)
        self.decision_of.append(len(self.state_at) - 1)
        self.segment.append(Segment.THOUGHT)

    def mark_action(self, first: int) -> None:
        """Say that the current reply's sampled tokens from position `first` on are its action."""
        for position in range(first, len(self.ids)):
            if self.decision_of[position] >= 0:
                self.segment[position] = Segment.ACTION

    def leave_out(self, positions: Sequence[int]) -> None:
        """Make context of tokens that shall not count."""
        for position in positions:
            self.decision_of[position], self.segment[position] = -1, Segment.CONTEXT

    def row(self, *, ends_episode: bool = True) -> Row:
        """The row so far; one that ends its episode has a state more, at its last token."""
        end = (len(self.ids) - 1,) if ends_episode else ()
        return Row(
            input_ids=tuple(self.ids),
            decision_of=tuple(self.decision_of),
            segment=tuple(self.segment),
            state_at=(*self.state_at, *end),
            vision=tuple(self.vision),
            allowed=dict(self.allowed),
            token_types=tuple(self.types) if self.image_id is not None else None,
            ends_episode=ends_episode,
        )


class Record:
    """What one episode has shown and said: one transcript, or one per decision."""

    def __init__(
        self,
        layout: Layout,
        chat: Chat,
        *,
        thought: bool,
        history_length: int | None,
        transcript: Callable[[], Transcript],
    ) -> None:
        """Start empty.

        Args:
            layout: how the history enters a prompt.
            chat: the conversation format.
            thought: whether replies have one.
            history_length: the latest steps that a rewritten prompt may hold; None for all.
            transcript: makes an empty transcript.
        """
        self.layout: Layout = layout
        self.chat = chat
        self.thought = thought
        self.history_length = history_length
        self.steps_left_out = 0  # of the history, in the prompt that was last written
        self._new = transcript
        self._transcripts: list[Transcript] = []
        self._observations: list[Observation] = []
        self._replies: list[str] = []
        self._prepared: tuple[Observation, UserTurn, Chunk] | None = None  # what is asked next

    @property
    def transcript(self) -> Transcript:
        """The one that is being written."""
        return self._transcripts[-1]

    @property
    def decisions(self) -> int:
        """Replies begun."""
        return len(self._observations)

    def ask(self, observation: Observation) -> None:
        """Take in an observation; the reply to it is to be written into `transcript`."""
        turn, chunk = self._prepare(observation)
        self.steps_left_out = turn.steps_left_out
        if not self._appends:
            self._transcripts.append(self._new())
        self._observations.append(observation)
        self._prepared = None
        self.transcript.add_chunk(chunk)

    def prompt_tokens(self, observation: Observation) -> int:
        """Tokens that a reply to `observation` would have before it, were it asked for now."""
        _, chunk = self._prepare(observation)
        return len(chunk.ids) + (len(self.transcript.ids) if self._appends else 0)

    def _prepare(self, observation: Observation) -> tuple[UserTurn, Chunk]:
        """The turn that asks about an observation, and its tokens; made once, however asked."""
        if self._prepared is None or self._prepared[0] is not observation:
            turn = next_turn(
                self.layout,
                [*self._observations, observation],
                self._replies,
                thought=self.thought,
                history_length=self.history_length,
            )
            chunk = self.chat.following(turn) if self._appends else self.chat.opening(turn)
            self._prepared = observation, turn, chunk
        return self._prepared[1:]

    @property
    def _appends(self) -> bool:
        """Whether the next turn continues the present transcript."""
        return bool(self._transcripts) and grows(self.layout)

    def answered(self, reply: str) -> None:
        """Remember the text of the reply just written."""
        self._replies.append(reply)

    def rows(self) -> tuple[Row, ...]:
        """The rows so far; the last one ends the episode."""
        last = len(self._transcripts) - 1
        return tuple(t.row(ends_episode=i == last) for i, t in enumerate(self._transcripts))


def require_room(tokens: int, context_tokens: int) -> None:
    """A sequence longer than the model's context is never fed to it.

    Raises:
        ContextExceeded: it has more tokens than that.
    """
    if tokens > context_tokens:
        raise ContextExceeded(
            f"found a prompt or game of {tokens} tokens, expected at most {context_tokens}, the "
            "model's context: lower the task's limit or its image size, set policy.thought to "
            "false, or policy.layout to rewritten with a policy.history_length"
        )


def within_context(rows: tuple[Row, ...], context_tokens: int) -> tuple[Row, ...]:
    """The rows as they are, each of them no longer than the context; see `require_room`."""
    for row in rows:
        require_room(len(row.input_ids), context_tokens)
    return rows
