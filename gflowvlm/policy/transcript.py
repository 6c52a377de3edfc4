"""Rows in the making: context chunks and replies, token by token."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation, Segment
from gflowvlm.policy.chat import Chat, Chunk
from gflowvlm.policy.families import Family
from gflowvlm.prompting.messages import next_turn


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
        self._observations.append(observation)
        turn = next_turn(
            self.layout,
            self._observations,
            self._replies,
            thought=self.thought,
            history_length=self.history_length,
        )
        self.steps_left_out = turn.steps_left_out
        if self._transcripts and self.layout == "transcript":
            self.transcript.add_chunk(self.chat.following(turn))
        else:
            self._transcripts.append(self._new())
            self.transcript.add_chunk(self.chat.opening(turn))

    def answered(self, reply: str) -> None:
        """Remember the text of the reply just written."""
        self._replies.append(reply)

    def rows(self) -> tuple[Row, ...]:
        """The rows so far; the last one ends the episode."""
        last = len(self._transcripts) - 1
        return tuple(t.row(ends_episode=i == last) for i, t in enumerate(self._transcripts))
