"""What every environment of this package promises on top of Gymnasium's interface.

An action is an index into `info["legal_actions"]` of the step it is taken at; the action space is
a fixed `Discrete` at least as large. Observations are images, uint8 [height, width, 3].
All randomness comes from `np_random`. The step limit is part of the task: the environment counts
it, says it in the task text and ends with `terminated=True`, never with `truncated=True`.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import (
    Any,
    NamedTuple,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
    runtime_checkable,
)

import gymnasium
import numpy as np
from numpy.typing import NDArray

State = TypeVar("State", bound=Hashable)


class StepInfo(TypedDict):
    """The `info` of `reset` and of `step`, complete at both."""

    task: str
    """What is to be done, the step limit included; the same throughout an episode."""
    legal_actions: tuple[str, ...]
    """Words of the actions open at this step, at least one; those of the last step once ended."""
    facts: dict[str, str]
    """Truth of the fields a reply states, e.g. {"current number": "3"}; same keys at every step."""
    text: str
    """What is said at this step beside the image; may be empty."""
    success: bool
    """Whether the goal has been reached."""
    extra_steps: int
    """Steps taken so far beyond what the shortest way needed; never decreases."""
    distance: NotRequired[int]
    """Steps that the shortest way to the goal still needs, where that is known; 0 at the goal."""
    progress: NotRequired[float]
    """Share of the goal's conditions that hold, where the goal has parts; 1 exactly at the goal."""
    task_type: NotRequired[str]
    """What kind of task this is, e.g. "pick_and_place_simple", where there are several; the same
    throughout an episode. Evaluations score each kind by itself."""
    success_chance: NotRequired[float]
    """Probability that the last action reaches the goal; there where it ended the game whatever
    would come of it, and where that is known."""


class Verdict(NamedTuple):
    """How an ended game is judged."""

    reach: bool
    """The goal was reached within the limit."""
    strict: bool
    """The return, the undiscounted sum of rewards, is positive."""


class Outcome(NamedTuple):
    """One of the things that may follow an action."""

    probability: float
    state: Any
    reward: float
    ended: bool


class ExpertMove(NamedTuple):
    """What an expert thinks and does."""

    thought: str
    action: int


@runtime_checkable
class Enumerable(Protocol[State]):
    """An environment whose whole game can be computed: its states form no cycle.

    `reset` draws a start uniformly from `starts()`, or takes `options={"start": state}`.
    """

    def starts(self) -> list[State]:
        """All states a game can start in, equally likely; a likelier one stands there again."""
        ...

    def legal(self, state: State) -> tuple[str, ...]:
        """Words of the actions open in a state that has not ended."""
        ...

    def outcomes(self, state: State, action: int) -> Sequence[Outcome]:
        """What may follow; probabilities sum to one. `step` samples from these."""
        ...

    def judge(self, state: State) -> Verdict:
        """The verdict on an ended state."""
        ...

    def view(self, start: State, state: State) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Observation and info of a state in a game that began in `start`, as `step` gives them.

        A function of both and of nothing else: what a policy sees can then be computed for every
        history.
        """
        ...


@runtime_checkable
class Measured(Protocol):
    """An enumerable environment that knows how far a state is from the goal.

    Extra steps are counted against the shortest way, so any other enumerable one says 0 of them.
    """

    def distance(self, state: Any) -> int:
        """Steps that the shortest way to the goal still needs, as in `info`; 0 at the goal."""
        ...


@runtime_checkable
class Mergeable(Protocol):
    """An enumerable environment that knows which of its states go on alike: fewer to compute."""

    def future(self, state: Any) -> Hashable:
        """Equal for states whose games go on alike, whatever they look like.

        Whatever is done in them, the same happens to them with the same probabilities and rewards,
        up to states of equal future; those that have ended have the same verdict, and none that
        has ended shares a future with one that has not.
        """
        ...


@runtime_checkable
class Expert(Protocol):
    """An environment that can play itself, for demonstrations."""

    def expert(self, mistakes: float) -> ExpertMove:
        """The expert's move at the present step; randomness comes from `np_random` only.

        With probability `mistakes` the action is another legal one, drawn uniformly, and the
        thought is the one that leads to it: a mistake is made in thinking, not in acting.
        Randomness comes from `np_random` alone.
        """
        ...


@runtime_checkable
class Solvable(Protocol):
    """An environment that knows all ways to win, so that it can be said how many were found."""

    def solutions(self) -> Sequence[tuple[str, ...]]:
        """All games that win from the start of the present one: the words of their actions."""
        ...

    def solution_class(self, actions: Sequence[str]) -> Hashable:
        """Equal for solutions that differ in nothing that counts, such as the order of a sum."""
        ...


def sample_outcome(outcomes: Sequence[Outcome], np_random: np.random.Generator) -> Outcome:
    """One of the outcomes by its probability; draws nothing where there is only one."""
    if len(outcomes) == 1:
        return outcomes[0]
    level = np_random.random()
    for outcome in outcomes:
        level -= outcome.probability
        if level < 0:
            return outcome
    return outcomes[-1]  # the probabilities sum to one only up to rounding


def with_mistakes(
    action: int, legal_actions: Sequence[str], mistakes: float, np_random: np.random.Generator
) -> int:
    """The action, or with probability `mistakes` another legal one, uniformly.

    Where nothing else is legal the action stands.
    """
    if not 0 <= mistakes <= 1:
        raise ValueError(f"found mistakes = {mistakes}, expected a probability: pass one in [0, 1]")
    others = [other for other in range(len(legal_actions)) if other != action]
    if others and np_random.random() < mistakes:
        return int(np_random.choice(others))
    return action


def check_action(action: int | np.integer, legal_actions: Sequence[str]) -> int:
    """The action as an int.

    Raises:
        ValueError: when it is no index into the legal actions.
    """
    if not 0 <= int(action) < len(legal_actions):
        raise ValueError(
            f"found action {action}, expected an index into the {len(legal_actions)} legal actions "
            f"{tuple(legal_actions)}: choose one of those"
        )
    return int(action)


def splits_of(env: gymnasium.Env[Any, Any]) -> Mapping[str, dict[str, Any]]:
    """The environment's named sets of constructor arguments; empty where it declares none."""
    return getattr(env.unwrapped, "splits", {})
