import pytest
import torch
from torch import Tensor

from gflowvlm.baselines.advantage import (
    EPSILON,
    discounted_sum,
    generalised_advantage,
    leave_one_out,
    relative_to_group,
)
from gflowvlm.baselines.experience import decision_rewards


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_generalised_advantage_is_a_discounted_sum_of_surprises() -> None:
    # gamma 0.9, lambda 0.5: delta_1 = 2 + 0 - 3 = -1; delta_0 = 1 + 0.9 * 3 - 2 = 1.7
    # A_1 = -1; A_0 = 1.7 + 0.45 * -1 = 1.25. What stands at an end, here 7, does not count.
    found = generalised_advantage(
        numbers(1, 2), numbers(2, 3, 7), gamma=0.9, gae_lambda=0.5, ended=True
    )
    torch.testing.assert_close(found, numbers(1.25, -1))


def test_where_an_episode_was_cut_the_last_value_stands_for_the_rest() -> None:
    # delta_1 = 2 + 0.9 * 7 - 3 = 5.3; A_0 = 1.7 + 0.45 * 5.3 = 4.085
    found = generalised_advantage(
        numbers(1, 2), numbers(2, 3, 7), gamma=0.9, gae_lambda=0.5, ended=False
    )
    torch.testing.assert_close(found, numbers(4.085, 5.3))


def test_later_rewards_are_discounted() -> None:
    # 4; 2 + 0.5 * 4 = 4; 1 + 0.5 * 4 = 3
    assert discounted_sum(numbers(1, 2, 4), 0.5).tolist() == [3, 4, 4]


def test_a_return_is_compared_with_its_own_group() -> None:
    # group a: 1, 3, 5 around 3, deviation 2; group b: 10 alone
    returns, group = numbers(1, 10, 3, 5), ["a", "b", "a", "a"]
    assert relative_to_group(returns, group, scaled=False).tolist() == [-2, 0, 0, 2]
    step = 2 / (2 + EPSILON)
    expected = numbers(-step, 0, 0, step)
    torch.testing.assert_close(relative_to_group(returns, group, scaled=True), expected)


def test_the_mean_of_the_others_leaves_an_episode_itself_out() -> None:
    # 1 - (3 + 5) / 2 = -3, 3 - (1 + 5) / 2 = 0, 5 - (1 + 3) / 2 = 3
    assert leave_one_out(numbers(1, 10, 3, 5), ["a", "b", "a", "a"]).tolist() == [-3, 0, 0, 3]


def test_rewards_are_steps_of_log_r_less_the_cost_of_divergence() -> None:
    # -1 - 0 = -1 and -4 - -1 = -3; log p - alpha log p_ref is -1 + 0.5 * 3 = 0.5 and -2 + 0.5 * 2
    # = -1, at 2 nats each; their sum is log R - c (log p - alpha log p_ref) = -4 - 2 * -0.5
    found = decision_rewards(
        (0.0, -1.0, -4.0), numbers(-1, -2), numbers(-3, -2), kl_coefficient=2.0, alpha=0.5
    )
    assert found.tolist() == [-2, -1]
    assert found.sum().item() == pytest.approx(-4 - 2 * (-3 - 0.5 * -5))
