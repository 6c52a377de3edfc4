"""A played game as plain frozen values: no torch, no model, no environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _by_value(self: Enum, proto: object) -> tuple[type[Enum], tuple[Any]]:
    """Pickle a member as its class and value.

    Python 3.11.0 to 3.11.3 would store a call of `getattr`, which torch refuses to load.
    """
    return type(self), (self.value,)


class Segment(IntEnum):
    """What a token is to the policy: given to it, or sampled as thought or as action."""

    __reduce_ex__ = _by_value

    CONTEXT = 0
    THOUGHT = 1
    ACTION = 2


class ReplyProblem(StrEnum):
    """Why a reply names no action; an event to be counted, never repaired."""

    __reduce_ex__ = _by_value

    NOT_JSON = "not_json"
    NO_ACTION = "no_action"
    ILLEGAL_ACTION = "illegal_action"
    CUT_OFF = "cut_off"


class Ending(StrEnum):
    """How an episode came to its end."""

    __reduce_ex__ = _by_value

    TERMINATED = "terminated"
    """The environment ended it (goal, limit or failure)."""
    DONE = "done"
    """The policy's last reply is DONE; the reward is that of the history it was said at."""
    INVALID_REPLY = "invalid_reply"
    """The policy's last reply names no legal action; counts as a failure."""
    OUT_OF_ROOM = "out_of_room"
    """No further reply has room; counts as a failure (environment.out_of_room: lost)."""
    TRUNCATED = "truncated"
    """The collector cut it (context full, shutdown); it has no reward."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the environment shows at one step.

    Example: `Observation(image=pixels, task="Reach the target ...", text="",
    legal_actions=("-", "+"), reply_fields=("current number", "target number"))`.
    """

    image: NDArray[np.uint8]  # [H, W, 3]
    task: str  # the same at every step of an episode; prompting shows it once
    text: str  # what is said at this step beside the image; may be empty
    legal_actions: tuple[str, ...]
    reply_fields: tuple[str, ...] = ()  # facts the reply states before its thought


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One reply of the policy, its tokens exactly as sampled."""

    text: str  # decoded, without the end-of-turn token
    token_ids: tuple[int, ...]  # sampled tokens and forced ones, end of turn included when sampled
    segment: tuple[Segment, ...]  # one per token; CONTEXT marks forced tokens
    log_probs: tuple[float, ...]  # behaviour log-prob of each token, nats; 0 for forced tokens
    fields: Mapping[str, str] = field(default_factory=dict)  # what the reply states, as text
    action: int | None = None  # index into the observation's legal actions
    problem: ReplyProblem | None = None  # None where the reply acts or is DONE
    done: bool = False  # the reply is DONE: no action, no thought, the end of the episode
    steps_left_out: int = 0  # earlier steps that its prompt left out (policy.history_length)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One step: what was seen, what was replied, what came of it."""

    observation: Observation
    reply: Reply
    reward: float  # the environment's own reward for the step
    facts: Mapping[str, str] = field(default_factory=dict)  # truth of observation.reply_fields
    extra_steps: int = 0  # steps beyond the shortest way, counted up to and with this step
    success: bool = False  # whether the goal is reached after this step
    distance: int | None = None  # steps still to go after this step, where the environment says
    success_chance: float | None = None  # of this step, where it ended the game whatever came of it
    progress: float = 0.0  # share of the goal's conditions that hold after this step; 0 if not said


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A whole game from its first observation to its end."""

    environment: str  # Gymnasium id
    split: str
    seed: int  # environment seed of the start
    group: int  # episodes of one group share their start
    index: int  # number of the episode within the run
    decisions: tuple[Decision, ...]
    ending: Ending
    success: bool  # the environment's own word
    start_distance: int | None = None  # steps to go at the start, where the environment says
    task_type: str | None = None  # kind of task, where the environment says

    @property
    def strict(self) -> bool:
        """Whether the goal was reached with a positive return."""
        return self.success and self.total_reward > 0

    @property
    def total_reward(self) -> float:
        """Undiscounted sum of the environment's rewards."""
        return sum(decision.reward for decision in self.decisions)

    def without_images(self) -> "Episode":
        """The same episode with empty images [0, 0, 3]: what it weighs is its replies."""
        blank = np.zeros((0, 0, 3), np.uint8)
        decisions = tuple(
            replace(d, observation=replace(d.observation, image=blank)) for d in self.decisions
        )
        return replace(self, decisions=decisions)

    @property
    def actions(self) -> tuple[str, ...]:
        """The action words taken; an invalid reply and DONE contribute none."""
        return tuple(
            d.observation.legal_actions[d.reply.action]
            for d in self.decisions
            if d.reply.action is not None
        )
