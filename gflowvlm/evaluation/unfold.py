"""Everything a policy may do in a game, computed: over its whole tree, or over all that is likely.

Histories that look alike to the policy are read once, wherever in the game they are.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gflowvlm.episode import Observation
from gflowvlm.evaluation.views import Views
from gflowvlm.exact.extremes import Extremes
from gflowvlm.exact.tree import Tree
from gflowvlm.policy.moment import Moment, Reading
from gflowvlm.policy.walk import Walker

Advance = Callable[[float], None]
"""Told the share of the work that has just been done, 1 in all; for showing progress."""

T = TypeVar("T")
_Share = tuple[Hashable, Any, float]  # start, present state, probability


@dataclass(frozen=True, kw_only=True)
class TreeReading:
    """What a policy says at every history of a tree; N nodes, A the largest number of actions."""

    log_policy: NDArray[np.float64]  # [N, A]  nats, -inf = no such action
    log_flow: NDArray[np.float64] | None  # [N]  of its head, NaN at the end; None without a head


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A probability between two limits; what makes the difference was not looked at."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LikelyRates:
    """How often a policy wins, computed through all histories it is likely to reach."""

    reach: Bounds  # goal within the limit
    strict: Bounds  # return positive
    histories: int  # followed
    min_mass: float  # less likely ones were left out


def read_tree(
    tree: Tree,
    views: Views,
    walker: Walker,
    *,
    reference: bool = False,
    advance: Advance = lambda share: None,
) -> TreeReading:
    """A policy's log-prob of every legal action at every history.

    Args:
        tree: unfolded from `views.game`.
        views: what is seen of it.
        walker: reads the policy.
        reference: read the frozen reference instead.
        advance: is told the share of the work that is done with each history.
    """
    table = np.full((len(tree.nodes), tree.width), -inf)
    flow = np.full(len(tree.nodes), np.nan)
    nodes_of: dict[Moment, list[int]] = {}
    decisions = len(tree.nodes) - len(tree.leaves)

    def look(number: int) -> Observation:
        states = tree.nodes[number].history.states
        return views.observation(states[0], states[-1])

    def follow(moment: Moment, reading: Reading) -> list[Moment]:
        after: list[tuple[int, Observation, int]] = []
        numbers = nodes_of.pop(moment)
        for number in numbers:
            table[number, : len(reading.log_prob)] = reading.log_prob
            flow[number] = np.nan if reading.log_flow is None else reading.log_flow
            after += [
                (action, look(branch.child), branch.child)
                for action, branches in enumerate(tree.nodes[number].branches)
                for branch in branches
                if not tree.nodes[branch.child].history.ended
            ]
        advance(len(numbers) / decisions)
        return _grouped(moment, after, nodes_of)

    starts = _started(((look(root), root) for root in tree.roots), nodes_of)
    walker.walk(starts, follow, reference=reference)
    has_flow = not reference and walker.policy.flow_head is not None
    return TreeReading(log_policy=table, log_flow=flow if has_flow else None)


def likely_rates(
    views: Views,
    walker: Walker,
    *,
    min_mass: float,
    reference: bool = False,
    advance: Advance = lambda share: None,
) -> LikelyRates:
    """How often a policy wins in a game too large to unfold, between two limits.

    Probabilities of chance and of the policy are multiplied along every history until it ends or
    its own falls below `min_mass`. From there on the lower limit takes the worst that could be
    done and the upper one the best, both computed from the game alone.

    Args:
        views: what is seen of the game; its `outcomes` may be left to chance.
        walker: reads the policy.
        min_mass: probability of the least likely history that is read.
        reference: take the frozen reference instead.
        advance: is told the share of the work that is done with each history.
    """
    spread = _Spread(views, min_mass, advance)
    walker.walk(spread.starts(), spread.follow, reference=reference)
    reach, strict = (Bounds(low=float(low), high=float(high)) for low, high in spread.won.T)
    return LikelyRates(reach=reach, strict=strict, histories=spread.read, min_mass=min_mass)


class _Spread:
    """Probability on its way from the starts to the ends of a game."""

    def __init__(self, views: Views, min_mass: float, advance: Advance) -> None:
        self.won = np.zeros((2, 2))  # (low, high) of (reach, strict) so far
        self.read = 0
        self._views, self._min_mass, self._advance = views, min_mass, advance
        self._extremes = Extremes(views.game)
        self._mass_of: dict[Moment, list[_Share]] = {}

    def starts(self) -> list[Moment]:
        """All that a game may begin with, whatever its probability."""
        states = self._views.game.starts()
        mass: dict[Any, float] = defaultdict(float)
        for state in states:
            mass[state] += 1 / len(states)
        seen = ((self._views.observation(s, s), (s, s, share)) for s, share in mass.items())
        return _started(seen, self._mass_of)

    def follow(self, moment: Moment, reading: Reading) -> list[Moment]:
        """Spread a history's probability over what may follow it."""
        self.read += 1
        game, settled = self._views.game, 0.0
        reached: dict[tuple[int, Hashable, Any], float] = defaultdict(float)
        for start, state, mass in self._mass_of.pop(moment):
            for action, log_prob in enumerate(reading.log_prob):
                for probability, after, _, ended in game.outcomes(state, action):
                    share = mass * float(np.exp(log_prob)) * probability
                    if ended:
                        settled += share
                        self.won += share * np.array(game.judge(after), dtype=float)
                    else:
                        reached[action, start, after] += share
        seen = (
            (action, self._views.observation(start, state), (start, state, mass))
            for (action, start, state), mass in reached.items()
        )
        following = _grouped(moment, seen, self._mass_of)
        likely = [m for m in following if _total(self._mass_of[m]) >= self._min_mass]
        for unlikely in set(following) - set(likely):
            for _, state, mass in self._mass_of.pop(unlikely):
                settled += mass
                self.won += mass * self._extremes.of(state)
        self._advance(settled)
        return likely


def _total(members: Iterable[_Share]) -> float:
    return sum(mass for _, _, mass in members)


def _started(seen: Iterable[tuple[Observation, T]], members: dict[Moment, list[T]]) -> list[Moment]:
    """One moment for all starts that look alike; who they are goes into `members`."""
    alike: dict[int, Moment] = {}
    for observation, member in seen:
        moment = alike.setdefault(id(observation), Moment((observation,)))
        members.setdefault(moment, []).append(member)
    return list(alike.values())


def _grouped(
    moment: Moment, after: Iterable[tuple[int, Observation, T]], members: dict[Moment, list[T]]
) -> list[Moment]:
    """One moment for all continuations by one action that look alike."""
    alike: dict[tuple[int, int], Moment] = {}
    for action, observation, member in after:
        key = action, id(observation)
        if key not in alike:
            alike[key] = moment.then(action, observation)
        members.setdefault(alike[key], []).append(member)
    return list(alike.values())


def uniform(tree: Tree) -> NDArray[np.float64]:
    """[N, A] log-prob of each action where all are equally likely, nats."""
    table = np.full((len(tree.nodes), tree.width), -inf)
    for number, node in enumerate(tree.nodes):
        if node.legal:
            table[number, : len(node.legal)] = -np.log(len(node.legal))
    return table
