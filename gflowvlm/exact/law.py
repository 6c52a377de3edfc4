"""The law of ended histories under the target or under a policy, computed instead of sampled."""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from gflowvlm.exact.tree import Branch, Tree

ChanceLaw = Literal["max_entropy", "expected_flow"]
"""What a flow is in front of chance, over which no policy has power.

`max_entropy` takes the mean of the log-flows that may follow, the fixed point of on-policy tb,
var_tb and reverse KL; `expected_flow` the log of the mean flow. Without chance they are the same.
"""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The exact target of a tree; N nodes, A the largest number of actions."""

    log_flow: NDArray[np.float64]  # [N]  log F of each history, nats
    log_policy: NDArray[np.float64]  # [N, A]  the policy that samples the target, -inf = no action
    log_z: NDArray[np.float64]  # [roots]  log Z(h_0) of each start, nats
    law: NDArray[np.float64]  # [leaves]  probability of each ended history, summing to 1


def solve(
    tree: Tree, *, alpha: float = 1.0, beta: float = 1.0, chance: ChanceLaw = "max_entropy"
) -> Solution:
    """The flows and the law of the target `R^beta * p_ref^alpha`, from the leaves to the roots.

    `F(h) = sum_a p_ref(a|h)^alpha F(ha)`, and the policy takes each action by its share of that
    sum. Without chance the law of each start's ended histories is exactly proportional to the
    target.

    Args:
        tree: the game.
        alpha: weight of the reference.
        beta: inverse temperature of the reward.
        chance: which of the attainable laws to compute where outcomes are random.
    """
    log_flow = np.empty(len(tree.nodes))
    log_policy = np.full((len(tree.nodes), tree.width), -math.inf)
    for number in reversed(range(len(tree.nodes))):
        node = tree.nodes[number]
        if node.log_reward is not None:
            log_flow[number] = beta * node.log_reward
            continue
        score = np.array([_before_chance(after, log_flow, chance) for after in node.branches])
        if alpha != 0:  # 0 * -inf is NaN
            score += alpha * np.array(node.log_ref)
        log_flow[number] = np.logaddexp.reduce(score)
        log_policy[number, : len(score)] = score - log_flow[number]
    return Solution(
        log_flow=log_flow,
        log_policy=log_policy,
        log_z=log_flow[list(tree.roots)],
        law=terminal_law(tree, log_policy),
    )


def terminal_law(tree: Tree, log_policy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each ended history under a policy, the starts being equally likely.

    Args:
        tree: the game.
        log_policy: [N, A] log-prob of each action at each history, nats.

    Returns:
        [leaves], in the order of `tree.leaves`.

    Raises:
        ValueError: the policy's probabilities do not add up to one.
    """
    mass = np.zeros(len(tree.nodes))
    mass[list(tree.roots)] = 1 / len(tree.roots)
    policy = np.exp(np.asarray(log_policy, dtype=np.float64))
    for number, node in enumerate(tree.nodes):
        for action, branches in enumerate(node.branches):
            for branch in branches:
                mass[branch.child] = mass[number] * policy[number, action] * branch.probability
    law = mass[list(tree.leaves)]
    _require_law(law)
    return law


def tv(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Total variation distance of two laws over the same histories, from 0 to 1."""
    _require_law(p)
    _require_law(q)
    return float(np.abs(p - q).sum() / 2)


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """KL(p || q) in nats; infinite where `q` leaves out something that `p` has."""
    _require_law(p)
    _require_law(q)
    seen = p > 0
    if (q[seen] == 0).any():
        return math.inf
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())


def _before_chance(
    branches: tuple[Branch, ...], log_flow: NDArray[np.float64], chance: ChanceLaw
) -> float:
    """Log-flow of an action whose outcomes are `branches`."""
    probability = np.array([branch.probability for branch in branches])
    following = log_flow[[branch.child for branch in branches]]
    match chance:
        case "max_entropy":
            return float(probability @ following)
        case "expected_flow":
            return float(np.logaddexp.reduce(np.log(probability) + following))
        case _:
            assert_never(chance)


def _require_law(law: NDArray[np.float64]) -> None:
    total = float(law.sum())
    if not abs(total - 1) <= 1e-4 or (law < 0).any():
        raise ValueError(
            f"probabilities add up to {total}, least {law.min()}; expected a law: normalise them"
        )
