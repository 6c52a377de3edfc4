"""Every history a finite game can have, as a tree whose actions may lead to chance."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gflowvlm.errors import UserError


class Process(Protocol):
    """A game that can be computed; the enumerable environments are such."""

    def starts(self) -> Sequence[Any]:
        """States a game can start in, equally likely."""
        ...

    def legal(self, state: Any) -> tuple[str, ...]:
        """Words of the actions open in a state that has not ended."""
        ...

    def outcomes(self, state: Any, action: int) -> Sequence[tuple[float, Any, float, bool]]:
        """(probability, next state, reward, ended) of all that may follow."""
        ...


@dataclass(frozen=True, kw_only=True)
class History:
    """All that has happened since the start."""

    states: tuple[Hashable, ...]  # [t+1]
    actions: tuple[int, ...] = ()  # [t]  indices into the legal actions
    rewards: tuple[float, ...] = ()  # [t]  the game's own
    ended: bool = False


Reference = Callable[[History, tuple[str, ...]], Sequence[float]]
"""From a history and its legal actions to the reference's log-prob of each."""


@dataclass(frozen=True)
class Branch:
    """One of the things that may follow an action."""

    probability: float
    child: int  # number of the node it leads to


@dataclass(frozen=True, kw_only=True)
class Node:
    """One history and what follows it."""

    history: History
    parent: int | None  # None at a root
    legal: tuple[str, ...] = ()  # [A]  empty where the game has ended
    log_ref: tuple[float, ...] = ()  # [A]  log-prob of each action under the reference, nats
    branches: tuple[tuple[Branch, ...], ...] = ()  # [A]  what may follow each action
    log_reward: float | None = None  # log R in nats, un-tempered; None before the end


@dataclass(frozen=True)
class Tree:
    """Histories in breadth-first order: a node's number is below those of its children."""

    nodes: tuple[Node, ...]
    roots: tuple[int, ...] = field(init=False)
    leaves: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find both ends of the tree once."""
        ends = [number for number, node in enumerate(self.nodes) if node.history.ended]
        roots = [number for number, node in enumerate(self.nodes) if node.parent is None]
        object.__setattr__(self, "leaves", tuple(ends))
        object.__setattr__(self, "roots", tuple(roots))

    @property
    def width(self) -> int:
        """A: the largest number of legal actions anywhere."""
        return max(len(node.legal) for node in self.nodes)

    @property
    def log_ref(self) -> NDArray[np.float64]:
        """[N, A] log-prob of each action under the reference, -inf where there is no action."""
        table = np.full((len(self.nodes), self.width), -math.inf)
        for number, node in enumerate(self.nodes):
            table[number, : len(node.legal)] = node.log_ref
        return table

    def path(self, number: int) -> tuple[int, ...]:
        """Numbers of the nodes from the root to this one, both included."""
        backwards = [number]
        while (parent := self.nodes[backwards[-1]].parent) is not None:
            backwards.append(parent)
        return tuple(reversed(backwards))


def enumerate_tree(
    process: Process,
    log_reward: Callable[[History], float],
    log_ref: Reference | None = None,
    *,
    max_nodes: int = 200_000,
) -> Tree:
    """Unfold every history of `process`.

    Args:
        process: the game; its states may be shared by histories, which stay apart here.
        log_reward: log R of an ended history, nats.
        log_ref: log-prob of each of the legal actions, normalised; uniform when None.
        max_nodes: refuse larger trees instead of filling the memory.

    Raises:
        UserError: more histories than `max_nodes`, or a log R that is not finite.
        ValueError: a state without actions, or probabilities that do not add up to one.
    """
    queue: list[tuple[History, int | None]] = [
        (History(states=(state,)), None) for state in process.starts()
    ]
    nodes: list[Node] = []
    while len(nodes) < len(queue):
        history, parent = queue[len(nodes)]
        if history.ended:
            value = _finite(log_reward(history), history)
            nodes.append(Node(history=history, parent=parent, log_reward=value))
            continue
        legal = tuple(process.legal(history.states[-1]))
        if not legal:
            raise ValueError(f"{history} has not ended but offers no action: end it or offer one")
        branches: list[tuple[Branch, ...]] = []
        for action in range(len(legal)):
            following = _follow(process, history, action)
            places = enumerate(following, start=len(queue))
            branches.append(tuple(Branch(p, child) for child, (p, _) in places))
            queue.extend((after, len(nodes)) for _, after in following)
        _require_small(len(queue), max_nodes)
        reference = _reference(history, legal, log_ref)
        nodes.append(
            Node(
                history=history,
                parent=parent,
                legal=legal,
                log_ref=reference,
                branches=tuple(branches),
            )
        )
    return Tree(tuple(nodes))


def _follow(process: Process, history: History, action: int) -> list[tuple[float, History]]:
    following = [
        (
            probability,
            History(
                states=(*history.states, state),
                actions=(*history.actions, action),
                rewards=(*history.rewards, reward),
                ended=ended,
            ),
        )
        for probability, state, reward, ended in process.outcomes(history.states[-1], action)
    ]
    total = math.fsum(probability for probability, _ in following)
    if not math.isclose(total, 1.0, rel_tol=1e-9) or any(p <= 0 for p, _ in following):
        raise ValueError(
            f"outcomes of action {action} in {history.states[-1]} have probabilities "
            f"{[p for p, _ in following]}, expected positive ones that add up to 1: mend outcomes()"
        )
    return following


def _require_small(size: int, max_nodes: int) -> None:
    if size > max_nodes:
        raise UserError(
            f"the game has more than {max_nodes} histories, expected a tree that can be "
            "enumerated: lower its limit or raise max_nodes"
        )


def _finite(log_reward: float, history: History) -> float:
    if not math.isfinite(log_reward):
        raise UserError(
            f"actions {history.actions} from {history.states[0]} have log R = {log_reward}, "
            "expected it finite: set reward.floor"
        )
    return float(log_reward)


def _reference(
    history: History,
    legal: tuple[str, ...],
    log_ref: Reference | None,
) -> tuple[float, ...]:
    if log_ref is None:
        return (-math.log(len(legal)),) * len(legal)
    values = tuple(float(value) for value in log_ref(history, legal))
    total = math.fsum(map(math.exp, values))
    if len(values) != len(legal) or not math.isclose(total, 1.0, rel_tol=1e-9):
        raise ValueError(
            f"log_ref gave {len(values)} log-probs with total probability {total} for "
            f"{len(legal)} legal actions, expected one each and a total of 1: normalise them"
        )
    return values
