import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.objectives.balance import balance, points
from gflowvlm.objectives.subtrajectory import (
    SubTrajectoryBalanceLoss,
    decayed_sums,
    pair_sums,
)
from gflowvlm.objectives.trajectory import DetailedBalanceLoss, TrajectoryBalanceLoss

Build = Callable[..., TrajectoryBatch]


def triple_loop(batch: TrajectoryBatch, decay: float) -> Tensor:
    """The definition, piece by piece: nothing is shared with the implementation."""
    assert batch.log_flow is not None
    losses = []
    for row, length in enumerate(batch.length.tolist()):
        flow = [*batch.log_flow[row, :length], batch.beta * batch.log_reward[row]]
        weighted, total = torch.zeros((), dtype=torch.float64), 0.0
        for start in range(length):
            for stop in range(start + 1, length + 1):
                residual = flow[start] - flow[stop]
                for k in range(start, stop):
                    residual = residual + batch.log_pf[row, k] - batch.log_pb[row, k]
                    residual = residual - batch.alpha * batch.log_ref[row, k]
                weighted = weighted + decay ** (stop - start) * residual.square()
                total += decay ** (stop - start)
        losses.append(weighted / total)
    return torch.stack(losses).mean()


def by_matrix(a: Tensor, real: Tensor, decay: float) -> Tensor:
    """[B]: every pair at once, weights from logarithms so that none overflows."""
    time = torch.arange(a.shape[1])
    gap = (time[None] - time[:, None])[None]
    pair = (gap > 0) & real[:, None] & real[:, :, None]
    log_weight = torch.where(pair, gap.double() * math.log(decay), -math.inf)
    weight = log_weight.flatten(1).softmax(1).unflatten(1, gap.shape[1:])
    return (weight * (a[:, None] - a[:, :, None]).square()).sum((1, 2))


def both(loss: Tensor, batch: TrajectoryBatch) -> list[Tensor]:
    assert batch.log_flow is not None
    inputs = [batch.log_pf, batch.log_flow]
    return list(torch.autograd.grad(loss, inputs, retain_graph=True))


def test_subtrajectory_balance_by_hand(worked: TrajectoryBatch) -> None:
    # row 0: pieces 0-1, 1-2, 0-2 have residuals 0, 2.3, 2.3 and weights 0.5, 0.5, 0.25:
    # 5.29 * 0.75 / 1.25 = 3.174; row 1: 0.25; mean 1.712
    assert SubTrajectoryBalanceLoss(0.5)(worked).loss.item() == pytest.approx(1.712)
    # weights 2, 2, 4: 5.29 * 6 / 8 = 3.9675; mean 2.10875
    assert SubTrajectoryBalanceLoss(2.0)(worked).loss.item() == pytest.approx(2.10875)


@pytest.mark.parametrize("decay", [1e-3, 0.3, 0.9, 1.0, 1.9, 50.0])
def test_moments_are_the_triple_loop(decay: float, random_batch: Build) -> None:
    batch = random_batch([7, 1, 12, 2, 5], seed=3)
    found, expected = SubTrajectoryBalanceLoss(decay)(batch).loss, triple_loop(batch, decay)
    assert found.item() == pytest.approx(expected.item(), rel=1e-11)
    for left, right in zip(both(found, batch), both(expected, batch), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


# widths of a block at 501 points: all in one for 0.9 and 1, then 291, 76, 15 and 1
@pytest.mark.parametrize("decay", [0.9, 1.0, 0.3, 0.01, 1e-10, 1e-200, 1.1, 40.0, 1e200])
def test_moments_hold_on_long_episodes(decay: float, random_batch: Build) -> None:
    batch = random_batch([500, 499, 3, 77], seed=4)
    a, real = balance(batch), points(batch)
    weighted, total = pair_sums(a, real, decay)
    expected = by_matrix(a, real, decay)
    torch.testing.assert_close(weighted / total, expected, rtol=1e-9, atol=1e-9)
    found = both((weighted / total).mean(), batch)
    for left, right in zip(found, both(expected.mean(), batch), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-10)


def test_blocks_hand_over_their_sums() -> None:
    # 0.01 allows blocks of 76 places; ten thousand ones add up to 1 / (1 - 0.01)
    values = torch.ones(10_000, dtype=torch.float64)
    sums = decayed_sums(values, 0.01)
    assert sums[:3].tolist() == pytest.approx([1.0, 1.01, 1.0101])
    torch.testing.assert_close(sums[10:], torch.full_like(sums[10:], 1 / 0.99))


def test_small_decay_is_detailed_balance(random_batch: Build) -> None:
    batch = random_batch([7, 1, 12, 2])
    found, expected = SubTrajectoryBalanceLoss(1e-13)(batch).loss, DetailedBalanceLoss()(batch).loss
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    for left, right in zip(both(found, batch), both(expected, batch), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-10)


def test_large_decay_is_trajectory_balance(random_batch: Build) -> None:
    batch = random_batch([7, 1, 12, 2])
    found, expected = (
        SubTrajectoryBalanceLoss(1e13)(batch).loss,
        TrajectoryBalanceLoss()(batch).loss,
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    for left, right in zip(both(found, batch), both(expected, batch), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-10)


def test_decay_of_one_is_twice_the_sample_variance(random_batch: Build) -> None:
    batch = random_batch([7, 1, 12, 2])
    a = balance(batch)
    expected = [2 * a[row, : n + 1].var().item() for row, n in enumerate([7, 1, 12, 2])]
    assert SubTrajectoryBalanceLoss(1.0)(batch).loss.item() == pytest.approx(sum(expected) / 4)


def test_common_offset_of_an_episode_costs_no_digits(random_batch: Build) -> None:
    batch = random_batch([20, 5])
    a, real = balance(batch).detach(), points(batch)
    weighted, _ = pair_sums(a, real, 0.9)
    shifted, _ = pair_sums(a + 1e4, real, 0.9)
    torch.testing.assert_close(shifted, weighted, rtol=1e-9, atol=0)
