from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gflowvlm.config.reward import (
    ExpReturnReward,
    LogLinearReward,
    PaperReward,
    RewardConfig,
)
from gflowvlm.episode import Episode, Reply
from gflowvlm.errors import UserError
from gflowvlm.exact.rewards import exact_sampler, log_rewards
from gflowvlm.exact.states import solve_states, success_under, unfold_states
from gflowvlm.rollouts.game import Game
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.rollouts.seats import LocalSeat
from gflowvlm_envs.blackjack import Blackjack
from gflowvlm_envs.number_line import NumberLine


@pytest.mark.parametrize(
    ("beta", "reach"),
    # beta 1: the paper's reward is so flat over 2^10 wandering games that most of them fail
    [(1.0, 0.4092), (8.0, 0.9964)],
)
def test_the_papers_number_line_reward_sampled_exactly(beta: float, reach: float) -> None:
    graph = unfold_states(NumberLine())
    solved = solve_states(graph, log_rewards(graph, PaperReward()), alpha=0, beta=beta)
    assert success_under(graph, np.exp(solved.log_policy)).reach == pytest.approx(reach, abs=5e-5)


def test_the_exact_sampler_wins_what_its_reward_is_worth() -> None:
    found = exact_sampler(NumberLine(), PaperReward(), alpha=0, beta=8)
    assert found.reach == pytest.approx(0.9964, abs=5e-5)
    found = exact_sampler(Blackjack(), PaperReward(form="outcome"), alpha=0, beta=1)
    assert found.strict == pytest.approx(0.4250, abs=5e-5)


def key(game: Any, state: Any) -> Any:
    return game.future(state) if hasattr(game, "future") else state


def random_game(game: Any, seed: int) -> tuple[Episode, list[tuple[Any, int]]]:
    """An episode of random moves; its states and actions, the last state with action -1."""
    rng = np.random.default_rng(seed)
    seat = LocalSeat(game)
    seat.reset(seed, None)
    running = Game(Plan(index=0, group=0, seed=seed), seat)
    path = []
    while running.ending is None:
        action = int(rng.integers(2))
        path.append((key(game, game._state), action))
        running.play(Reply(text="", token_ids=(), segment=(), log_probs=(), action=action))
    return running.finished("id", "game"), [*path, (key(game, game._state), -1)]


@pytest.mark.parametrize(
    ("game", "reward"),
    [
        (NumberLine(), LogLinearReward()),
        (NumberLine(), ExpReturnReward(scale=0.5)),
        (NumberLine(), PaperReward()),
        (NumberLine(), LogLinearReward(decision_cost=0.3)),
        (Blackjack(), LogLinearReward()),
        (Blackjack(), LogLinearReward(expected=True)),
        (Blackjack(), ExpReturnReward()),
        (Blackjack(), PaperReward(form="outcome")),
    ],
)
def test_what_outcomes_add_is_what_the_reward_map_says(game: Any, reward: RewardConfig) -> None:
    graph = unfold_states(game)
    log_reward = log_rewards(graph, reward)
    number = {key(game, state): place for place, state in enumerate(graph.states)}
    for seed in range(20):
        episode, path = random_game(game, seed)
        total = 0.0
        for (state, action), (after, _) in pairwise(path):
            move = graph.first_move[number[state]] + action
            outcomes = range(*graph.first_outcome[move : move + 2])
            total += next(log_reward[o] for o in outcomes if graph.child[o] == number[after])
        assert total == pytest.approx(build_reward(reward)(episode).total, abs=1e-9)


def test_the_mean_of_what_an_end_may_bring_leaves_the_law_of_balance_losses_as_it_is() -> None:
    graph = unfold_states(Blackjack())
    sampled, mean = (log_rewards(graph, LogLinearReward(expected=e)) for e in (False, True))
    assert np.abs(sampled - mean).max() > 1
    law, same = (solve_states(graph, each, alpha=0).log_policy for each in (sampled, mean))
    np.testing.assert_allclose(law, same, atol=1e-9)


def test_a_reward_that_is_no_sum_over_steps_is_refused() -> None:
    # at worst from 4, away from 5: ten steps end at 0, 10 + 5 - 1 = 14 extra ones, -8 - 14 nats
    graph = unfold_states(NumberLine())
    with pytest.raises(UserError, match=r"log R = -22, below reward\.floor = -20"):
        log_rewards(graph, LogLinearReward(floor=-20))
    with pytest.raises(UserError, match="rewards before the end"):
        log_rewards(graph, PaperReward(form="outcome"))
    with pytest.raises(UserError, match="does not know its distance"):
        log_rewards(unfold_states(Blackjack()), PaperReward())
