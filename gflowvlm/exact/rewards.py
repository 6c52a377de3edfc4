"""A run's reward map as what each outcome of a game adds to log R."""

from typing import Any, assert_never

import numpy as np

from gflowvlm.config.reward import (
    ExpReturnReward,
    LogLinearReward,
    PaperReward,
    RewardConfig,
)
from gflowvlm.errors import UserError
from gflowvlm.exact.play import Game, Rates
from gflowvlm.exact.states import Array, StateGraph, solve_states, success_under, unfold_states

MOST_STATES = 250_000
"""Of a game whose exact sampler is reported; a few seconds."""

_TINY = 1e-9  # nats, rounding of sums


def exact_sampler(game: Game[Any], reward: RewardConfig, *, alpha: float, beta: float) -> Rates:
    """Share of games won by sampling the target exactly, with uniformly random moves as reference.

    Success is a property of the reward: this is what a policy without any error would win. Where
    outcomes are left to chance the law is `max_entropy`, that of on-policy balance losses. A start
    model that plays better than at random makes the target's share higher wherever alpha > 0.

    Raises:
        UserError: more than `MOST_STATES` states, or a reward that `log_rewards` refuses.
    """
    graph = unfold_states(game, max_states=MOST_STATES)
    solved = solve_states(graph, log_rewards(graph, reward), alpha=alpha, beta=beta)
    return success_under(graph, np.exp(solved.log_policy))


def log_rewards(graph: StateGraph, reward: RewardConfig) -> Array:
    """[E] nats that log R grows by with each outcome of a game whose replies are all valid.

    Steps beyond the shortest way are those that do not bring the goal nearer; a game that does not
    know its `distance` counts none (see `gflowvlm_envs.contract.Measured`).

    Raises:
        UserError: log R of some game is no sum over its steps, or reaches the reward's floor on the
            way there, or a reward asks for a distance that the game does not know.
    """
    ended = graph.ended[graph.child]
    match reward:
        case LogLinearReward(progress=progress) if progress:
            raise UserError(
                f"found reward.progress = {progress}, expected 0: states that are enumerated do "
                "not tell how many of the goal's conditions hold"
            )
        case LogLinearReward():
            won = np.where(graph.reach[graph.child] > 0, reward.success, reward.failure)
            won = np.where(ended, _mean_of_ends(graph, won) if reward.expected else won, 0.0)
            log_reward = won - reward.step_cost * _extra_steps(graph) - reward.decision_cost
        case ExpReturnReward():
            log_reward = reward.scale * graph.reward
        case PaperReward():
            return np.where(ended, np.maximum(_paper(graph, reward), reward.floor), 0.0)
        case _:
            assert_never(reward)
    _require_above(graph, log_reward, reward.floor)
    return log_reward


def _mean_of_ends(graph: StateGraph, log_reward: Array) -> Array:
    """[E] the mean over a move's outcomes where all of them end the game, elsewhere as it is."""
    whole = slice(0, len(graph.first_outcome) - 1)
    mean = graph.over_outcomes(np.add, graph.probability * log_reward, whole)
    ends = np.logical_and.reduceat(graph.ended[graph.child], graph.first_outcome[:-1])
    outcomes = np.diff(graph.first_outcome)
    return np.where(np.repeat(ends, outcomes), np.repeat(mean, outcomes), log_reward)


def _extra_steps(graph: StateGraph) -> Array:
    """[E] 1 less what the step comes nearer to the goal."""
    if graph.distance is None:
        return np.zeros(len(graph.child))
    return 1 + graph.distance[graph.child] - graph.distance[graph.parent]


def _paper(graph: StateGraph, reward: PaperReward) -> Array:
    """[E] log R where the game ends with that outcome."""
    if reward.form == "distance":
        if graph.distance is None:
            raise UserError(
                "found a game that does not know its distance, expected the steps that are still "
                "to go: use another reward than paper with form distance"
            )
        return np.log(100 / (graph.distance[graph.child] + 1))
    if graph.reward[~graph.ended[graph.child]].any():
        raise UserError(
            f"found rewards before the end, expected them at the end alone: paper with form "
            f"{reward.form} cannot be computed over states"
        )
    total = 10 * (graph.reward + 1) if reward.form == "outcome" else graph.reward
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(total, 0))


def _require_above(graph: StateGraph, log_reward: Array, floor: float) -> None:
    """Refuse a game in which log R would be cut off at the floor: then it is no sum over steps."""
    least = np.zeros(len(graph.states))
    for states, moves, outcomes in graph.levels():
        following = log_reward[outcomes] + least[graph.child[outcomes]]
        worst = graph.over_outcomes(np.minimum, following, moves)
        least[states] = graph.over_moves(np.minimum, worst, states)
    lowest = float(least[graph.starts].min())
    if lowest < floor - _TINY:
        raise UserError(
            f"found games with log R = {lowest:g}, below reward.floor = {floor:g}, expected none: "
            "what such games share cannot be computed over states; lower the floor"
        )
