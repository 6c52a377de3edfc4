"""Games seen reply by reply: a thought before each action, and DONE in place of a reply."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gflowvlm.exact.law import Solution, terminal_law
from gflowvlm.exact.tree import Node, Process, Tree

DONE = "DONE"
_HALVINGS = 200  # of an interval of a few nats: far below the last digit


@dataclass(frozen=True, kw_only=True)
class ReplyForm:
    """What a reply may be: one of some thoughts and a legal action, or DONE.

    The replies open at a history are numbered thought by thought, DONE comes last.
    """

    thoughts: int = 1
    done: bool = False

    def words(self, legal: tuple[str, ...]) -> tuple[str, ...]:
        """What is said by each reply; two thoughts that lead to one action say the same."""
        return (*legal * self.thoughts, *((DONE,) if self.done else ()))

    def actions(self, replies: int) -> int:
        """How many legal actions there are where so many replies are open."""
        return (replies - self.done) // self.thoughts

    def thoughts_of(self, replies: int) -> list[int]:
        """The thought of each reply that is open; -1 for DONE, which has none."""
        count = self.actions(replies)
        return [
            -1 if reply == self.thoughts * count else reply // count for reply in range(replies)
        ]


@dataclass(frozen=True)
class Replies:
    """A game whose actions are replies; a thought changes the history and not the state."""

    game: Process
    form: ReplyForm

    def starts(self) -> Sequence[Any]:
        """The game's own."""
        return self.game.starts()

    def legal(self, state: Any) -> tuple[str, ...]:
        """Words of the replies."""
        return self.form.words(tuple(self.game.legal(state)))

    def outcomes(self, state: Any, action: int) -> Sequence[tuple[float, Any, float, bool]]:
        """What follows a reply; DONE ends the game where it stands."""
        count = len(self.game.legal(state))
        if action == self.form.thoughts * count:
            return [(1.0, state, 0.0, True)]
        return self.game.outcomes(state, action % count)


def solve_replies(
    tree: Tree, form: ReplyForm, *, thought_weight: float, alpha: float = 1.0, beta: float = 1.0
) -> Solution:
    """The fixed point of the balance losses under `log_pf = w log p(c|h) + log p(a|h,c)`.

    With `A_c = sum_a F(hca)` and `D = R(h)^beta p_ref(DONE|h)^alpha`, balance at every history
    means `p(a|h,c) = F(hca) / A_c`, `p(c|h) = (A_c / F)^(1/w)` and `p(DONE|h) = D / F`. That these
    add up to one gives F: `[sum_c A_c^(1/w)]^w` without DONE, else the root of a falling function.
    At w = 1 it is `law.solve`. The reference enters F(hca) with the same weight of thoughts.

    Args:
        tree: the game, unfolded from `Replies`; nothing in it is left to chance.
        form: of its replies.
        thought_weight: w, positive.
        alpha: weight of the reference.
        beta: inverse temperature of the reward.
    """
    log_flow = np.empty(len(tree.nodes))
    log_policy = np.full((len(tree.nodes), tree.width), -math.inf)
    for number in reversed(range(len(tree.nodes))):
        node = tree.nodes[number]
        if node.log_reward is not None:
            log_flow[number] = beta * node.log_reward
            continue
        assert all(len(after) == 1 for after in node.branches), "chance has no such fixed point"
        score = log_flow[[after[0].child for after in node.branches]]
        if alpha != 0:
            score += alpha * _weighted_reference(node, form, thought_weight)
        acting = score[: len(score) - form.done].reshape(form.thoughts, -1)
        thought = np.logaddexp.reduce(acting, axis=1)
        done = score[-1] if form.done else -math.inf
        log_flow[number] = _root(thought, done, thought_weight)
        share = (thought - log_flow[number]) / thought_weight
        said = (share[:, None] + acting - thought[:, None]).ravel()
        log_policy[number, : len(said)] = said
        if form.done:
            log_policy[number, len(said)] = done - log_flow[number]
    return Solution(
        log_flow=log_flow,
        log_policy=log_policy,
        log_z=log_flow[list(tree.roots)],
        law=terminal_law(tree, log_policy),
    )


def _weighted_reference(node: Node, form: ReplyForm, weight: float) -> NDArray[np.float64]:
    """Log-prob of each reply under the reference, its thought counted `weight` times."""
    log_ref = np.array(node.log_ref)
    acting = log_ref[: len(log_ref) - form.done].reshape(form.thoughts, -1)
    thought = np.logaddexp.reduce(acting, axis=1, keepdims=True)
    log_ref[: acting.size] = (acting + (weight - 1) * thought).ravel()
    return log_ref


def _root(thought: NDArray[np.float64], done: float, weight: float) -> float:
    """Log F at which `sum_c (A_c / F)^(1/w) + D / F = 1`, by halving its interval."""
    terms = np.append(thought, done)
    low = float(terms.max())  # here one term alone is 1
    high = low + max(weight, 1.0) * math.log(len(terms))  # here each is at most 1 / their number
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        each = np.append((thought - middle) / weight, done - middle)
        if np.logaddexp.reduce(each) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
