"""Two replies to one history, one preferred: the same format, so that only what is said differs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from gflowvlm.baselines.conversations import StoredPair
from gflowvlm.baselines.corruption import corrupt_digits, still_true
from gflowvlm.batch import Row, last_decision_alone
from gflowvlm.episode import Episode, Observation
from gflowvlm.policy.base import EpisodeKey, Policy, Weights
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.prompting.reply import ParsedReply, format_reply, parse_reply

_DIGITS, _WEAK, _CANDIDATE = 1, 2, 3  # streams of draws
_NOISE = 40  # bits; a session's noise for pairs is apart from that of the run's games


@dataclass(frozen=True, kw_only=True)
class Step:
    """A history and what is preferably said there."""

    observations: tuple[Observation, ...]  # [t+1]
    replies: tuple[str, ...]  # [t]  said before
    chosen: str
    truth: Mapping[str, str]  # of the fields a reply states, as far as the environment says


class NoPair(StrEnum):
    """Why a step gives no pair; counted, never repaired."""

    NO_DIGITS = "no_digits"
    """Nothing that is stated or thought has a digit to corrupt."""
    STILL_TRUE = "still_true"
    """The corruption says nothing false."""
    OTHER_FORMAT = "other_format"
    """The weak model's reply is no such object, so its format alone would tell it apart."""
    SAME = "same"
    """The weak model says what is preferred."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The preferred reply and the rejected one, each its row's only decision."""

    chosen: Row
    rejected: Row
    by_thought: bool = False  # compared by what comes before the action

    @property
    def rows(self) -> tuple[Row, Row]:
        """Both whole."""
        return self.chosen, self.rejected

    @property
    def compared(self) -> tuple[Row, Row]:
        """Both as far as they are compared."""
        chosen, rejected = (
            last_decision_alone([row], thought_alone=self.by_thought) for row in self.rows
        )
        return chosen, rejected


PairMaker = Callable[[Sequence[Any], Sequence[int]], list[Pair | NoPair]]
"""Steps (or stored pairs) and the number of each within the run, which decides its draws -> their
pairs."""


def steps_of(episodes: Sequence[Episode]) -> list[Step]:
    """Every decision of some episodes that took an action."""
    found = []
    for episode in episodes:
        seen = [decision.observation for decision in episode.decisions]
        said = [decision.reply.text for decision in episode.decisions]
        found += [
            Step(
                observations=tuple(seen[: t + 1]),
                replies=tuple(said[:t]),
                chosen=said[t],
                truth=decision.facts,
            )
            for t, decision in enumerate(episode.decisions)
            if decision.reply.action is not None
        ]
    return found


def row_of(policy: Policy, step: Step, reply: str) -> Row:
    """The step's history and a reply to it, which alone counts."""
    rows = policy.rows_of_episode(step.observations, [*step.replies, reply])
    return last_decision_alone(rows)


@dataclass(frozen=True, kw_only=True)
class StoredPairs:
    """Takes both replies as they are stored; the last turn's alone count."""

    row_of_turns: Callable[[Sequence[TaughtTurn]], Row]

    def __call__(self, stored: Sequence[StoredPair], numbers: Sequence[int]) -> list[Pair | NoPair]:
        """The pair of each."""
        return [
            Pair(chosen=self._row(each.turns), rejected=self._row(_with_reply(each)))
            for each in stored
        ]

    def _row(self, turns: Sequence[TaughtTurn]) -> Row:
        return last_decision_alone([self.row_of_turns(turns)])


def _with_reply(stored: StoredPair) -> list[TaughtTurn]:
    return [*stored.turns[:-1], replace(stored.turns[-1], reply=stored.rejected)]


@dataclass(frozen=True, kw_only=True)
class CorruptedDigits:
    """Rejects the preferred reply with its stated facts and its thought corrupted (PORT).

    Keys, action and all glue stay. The action follows from another thought than its own, so that
    only the tokens before it are compared.
    """

    policy: Policy
    seed: int
    verify: bool  # drop corruptions that still say nothing false

    def __call__(self, steps: Sequence[Step], numbers: Sequence[int]) -> list[Pair | NoPair]:
        """The pair of each step."""
        return [self._pair(step, number) for step, number in zip(steps, numbers, strict=True)]

    def _pair(self, step: Step, number: int) -> Pair | NoPair:
        rng = np.random.default_rng([self.seed, _DIGITS, number])
        texts = corrupted_reply(step, rng, verify=self.verify)
        if isinstance(texts, NoPair):
            return texts
        chosen, rejected = (row_of(self.policy, step, text) for text in texts)
        return Pair(chosen=chosen, rejected=rejected, by_thought=True)


def corrupted_reply(
    step: Step, rng: np.random.Generator, *, verify: bool
) -> tuple[str, str] | NoPair:
    """The preferred reply and its corruption, both written anew by the same hand."""
    said = _parsed(step.chosen, step)
    *values, thought = (*said.fields.values(), said.thought)
    corrupted = corrupt_digits("\0".join([*values, thought]), rng)
    if corrupted is None:
        return NoPair.NO_DIGITS
    *values, thought = corrupted.split("\0")
    fields = dict(zip(said.fields, values, strict=True))
    if verify and still_true(thought, fields, step.truth):
        return NoPair.STILL_TRUE
    assert said.action is not None, "a step's preferred reply acts"
    action = step.observations[-1].legal_actions[said.action]
    return _written(said, action), format_reply(fields, thought or None, action)


@dataclass(frozen=True, kw_only=True)
class WeakReplies:
    """Rejects what the bare base model states and thinks, its adapter off, in the preferred format.

    The preferred action follows both and does not count: a base model that has not learned the
    action words would lose by them alone. Where replies are actions alone, they are compared.
    """

    policy: Policy
    weights: Weights
    seed: int
    batch_size: int  # replies sampled side by side

    def __call__(self, steps: Sequence[Step], numbers: Sequence[int]) -> list[Pair | NoPair]:
        """The pair of each step."""
        keys = [noise_key(self.seed, _WEAK, number) for number in numbers]
        with self.weights.speaking_as(None):
            said = replies_at(self.policy, steps, keys, self.batch_size)
        return [self._pair(step, text) for step, (text, _) in zip(steps, said, strict=True)]

    def _pair(self, step: Step, reply: str) -> Pair | NoPair:
        texts = matched_reply(step, reply)
        if isinstance(texts, NoPair):
            return texts
        thinks = any(_form(_parsed(step.chosen, step)))
        chosen, rejected = (row_of(self.policy, step, text) for text in texts)
        return Pair(chosen=chosen, rejected=rejected, by_thought=thinks)


def matched_reply(step: Step, reply: str) -> tuple[str, str] | NoPair:
    """The preferred reply and what another one thinks, both written anew by the same hand.

    The other must state the same fields in the same order, with a thought if there is one. It is
    given the preferred action, so that thoughts alone differ; where nothing is thought, its own.
    """
    actions = step.observations[-1].legal_actions
    chosen, other = _parsed(step.chosen, step), _parsed(reply, step)
    assert chosen.action is not None, "a step's preferred reply acts"
    action = chosen.action if any(_form(chosen)) else other.action
    if action is None or _form(other) != _form(chosen):
        return NoPair.OTHER_FORMAT
    texts = _written(chosen, actions[chosen.action]), _written(other, actions[action])
    return texts if texts[0] != texts[1] else NoPair.SAME


def _parsed(reply: str, step: Step) -> ParsedReply:
    return parse_reply(reply, step.observations[-1].legal_actions)


def _form(reply: ParsedReply) -> tuple[tuple[str, ...], bool]:
    return tuple(reply.fields), bool(reply.thought)


def _written(reply: ParsedReply, action: str) -> str:
    return format_reply(reply.fields, reply.thought or None, action)


def noise_key(seed: int, stream: int, number: int) -> EpisodeKey:
    """Names the noise of a reply that belongs to no game of the run."""
    return EpisodeKey(seed + (stream << _NOISE), number)


def replies_at(
    policy: Policy, steps: Sequence[Step], keys: Sequence[EpisodeKey], batch_size: int
) -> list[tuple[str, Row]]:
    """One sampled reply at each step's history: its text, and its row of exactly these tokens."""
    found: list[tuple[str, Row]] = []
    for first in range(0, len(steps), batch_size):
        some = steps[first : first + batch_size]
        session = policy.session(keys[first : first + batch_size])
        for slot, step in enumerate(some):
            for seen, reply in zip(step.observations, step.replies, strict=False):
                session.give(slot, seen, reply)
        said = session.reply({slot: step.observations[-1] for slot, step in enumerate(some)})
        found += [
            (said[slot].text, last_decision_alone(session.rows(slot))) for slot in range(len(some))
        ]
    return found
