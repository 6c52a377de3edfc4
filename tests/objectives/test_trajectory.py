import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.errors import UserError
from gflowvlm.objectives.balance import balance, terminal_balance
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)

ALL: list[Objective] = [
    TrajectoryBalanceLoss(),
    VarianceLoss(),
    DetailedBalanceLoss(),
    SubTrajectoryBalanceLoss(0.9),
    SubTrajectoryBalanceLoss(1.7),
]
Build = Callable[..., TrajectoryBatch]


def gradients(objective: Objective, batch: TrajectoryBatch) -> tuple[Tensor, Tensor]:
    """Gradients with respect to log_pf and log_flow."""
    assert batch.log_flow is not None
    loss = objective(batch).loss
    pf, flow = torch.autograd.grad(loss, [batch.log_pf, batch.log_flow], allow_unused=True)
    return pf, torch.zeros_like(batch.log_flow) if flow is None else flow


def test_balance_vector_by_hand(worked: TrajectoryBatch) -> None:
    expected = torch.tensor([[0.2, 0.2, 2.5], [1.0, 0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(balance(worked), expected)
    torch.testing.assert_close(terminal_balance(worked), expected[[0, 1], [2, 1]])


def test_alpha_beta_and_backward_probabilities_enter_the_balance_vector(
    trajectories: Build,
) -> None:
    batch = trajectories(
        log_pf=[[-1.0]],
        log_pb=[[-0.25]],
        log_ref=[[-3.0]],
        log_flow=[[2.0, 9.0]],
        log_reward=[0.5],
        length=[1],
        alpha=0.5,
        beta=4.0,
    )
    # S_1 = -1 + 0.5 * 3 + 0.25 = 0.75; a_1 = 4 * 0.5 - 0.75 = 1.25
    assert balance(batch).tolist() == [[2.0, 1.25]]


def test_trajectory_balance_by_hand(worked: TrajectoryBatch) -> None:
    # (0.2 - 2.5)^2 = 5.29 and (1 - 0.5)^2 = 0.25, mean 2.77
    assert TrajectoryBalanceLoss()(worked).loss.item() == pytest.approx(2.77)


def test_variance_by_hand(worked: TrajectoryBatch) -> None:
    # a_T = 2.5 and 0.5, mean 1.5: (1 + 1) / 2
    assert VarianceLoss()(worked).loss.item() == pytest.approx(1.0)


def test_variance_is_taken_within_groups(trajectories: Build) -> None:
    batch = trajectories(
        log_pf=[[0.0]] * 5,
        log_reward=[1.0, 10.0, 3.0, 20.0, 6.0],
        length=[1] * 5,
        group=[7, 2, 7, 2, 99],
    )
    # group 7: 1 and 3, deviations 1; group 2: 10 and 20, deviations 5; group 99 alone:
    # (1 + 1 + 25 + 25 + 0) / 5 = 10.4
    output = VarianceLoss()(batch)
    assert output.loss.item() == pytest.approx(10.4)
    assert output.metrics["lone_share"] == pytest.approx(0.2)


def test_detailed_balance_by_hand(worked: TrajectoryBatch) -> None:
    # (0 + 2.3^2) / 2 = 2.645 and 0.25, mean 1.4475
    assert DetailedBalanceLoss()(worked).loss.item() == pytest.approx(1.4475)


def test_metrics_by_hand(worked: TrajectoryBatch) -> None:
    # log Z of the head 0.2 and 1.0; of the episodes 2.5 and 0.5
    assert TrajectoryBalanceLoss()(worked).metrics == pytest.approx(
        {
            "loss": 2.77,
            "log_z_implied": 1.5,
            "log_z_variance": 1.0,
            "lone_share": 0.0,
            "log_z": 0.6,
            "log_z_residual": -0.9,
        }
    )


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_nan_padding_changes_neither_loss_nor_gradients(
    objective: Objective, random_batch: Build, rows_of: Build
) -> None:
    batch = random_batch([4, 1, 3, 4], [0, 0, 1, 1])
    padded = rows_of(batch, [0, 1, 2, 3], 3)
    assert padded.log_pf.isnan().any()
    assert objective(padded).loss.item() == pytest.approx(objective(batch).loss.item(), abs=1e-14)
    for found, expected in zip(
        gradients(objective, padded), gradients(objective, batch), strict=True
    ):
        assert found.isfinite().all()
        torch.testing.assert_close(found[:, : expected.shape[1]], expected, atol=1e-14, rtol=0)
        assert not found[:, expected.shape[1] :].any()


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_what_lies_beyond_the_end_has_no_gradient(
    objective: Objective, worked: TrajectoryBatch
) -> None:
    log_pf, log_flow = gradients(objective, worked)
    assert log_pf.isfinite().all()
    assert log_pf[1, 1] == 0
    # the flow at the end is pinned to the reward
    assert log_flow[0, 2] == 0
    assert log_flow[1, 1:].tolist() == [0, 0]


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_order_of_episodes_changes_nothing(
    objective: Objective, random_batch: Build, rows_of: Build
) -> None:
    batch = random_batch([4, 1, 3, 4, 2, 2], [5, 5, 1, 1, 1, 5])
    order = [3, 0, 5, 2, 4, 1]
    shuffled = rows_of(batch, order)
    assert objective(shuffled).loss.item() == pytest.approx(objective(batch).loss.item(), abs=1e-13)


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_loss_is_the_mean_of_parts_that_keep_groups_whole(
    objective: Objective, random_batch: Build, rows_of: Build
) -> None:
    batch = random_batch([4, 1, 3, 4, 2], [0, 0, 1, 1, 1])
    parts = [[0, 1], [2, 3, 4]] if objective.couples_rows else [[0], [1, 4], [2, 3]]
    whole = sum(len(part) / 5 * objective(rows_of(batch, part)).loss.item() for part in parts)
    assert objective(batch).loss.item() == pytest.approx(whole, abs=1e-13)


@pytest.mark.parametrize("objective", ALL, ids=repr)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.0, 2.0), (0.5, 3.0)])
def test_analytic_flow_of_a_tree_has_no_loss_and_no_gradient(
    objective: Objective,
    alpha: float,
    beta: float,
    on_target: Callable[[float, float], TrajectoryBatch],
) -> None:
    batch = on_target(alpha, beta)
    assert abs(objective(batch).loss.item()) <= 1e-8
    for gradient in gradients(objective, batch):
        assert gradient.abs().max() <= 1e-8


def test_variance_gradient_is_trajectory_balance_at_the_group_mean(random_batch: Build) -> None:
    batch = random_batch([3, 1, 2, 3, 3], [0, 0, 0, 4, 4])
    assert batch.log_flow is not None
    implied = terminal_balance(batch).detach()
    mean = torch.stack([implied[:3].mean()] * 3 + [implied[3:].mean()] * 2)
    at_mean = batch.log_flow.detach().clone()
    at_mean[:, 0] = mean
    balanced = replace(batch, log_flow=at_mean.requires_grad_())
    assert VarianceLoss()(batch).loss.item() == pytest.approx(
        TrajectoryBalanceLoss()(balanced).loss.item()
    )
    torch.testing.assert_close(
        gradients(VarianceLoss(), batch)[0], gradients(TrajectoryBalanceLoss(), balanced)[0]
    )


def test_variance_gradient_is_leave_one_out_reinforce(random_batch: Build) -> None:
    size = 4
    batch = random_batch([3, 1, 2, 3])
    log_prob = torch.where(batch.valid, batch.log_pf - batch.log_pb, 0.0).sum(1)
    log_ref = torch.where(batch.valid, batch.log_ref, 0.0).sum(1)
    reward = (batch.alpha * log_ref + batch.beta * batch.log_reward - log_prob).detach()
    baseline = (reward.sum() - reward) / (size - 1)  # mean of the others
    surrogate = -((reward - baseline) * log_prob).mean()
    (reinforce,) = torch.autograd.grad(surrogate, batch.log_pf)
    torch.testing.assert_close(
        gradients(VarianceLoss(), batch)[0], 2 * (size - 1) / size * reinforce
    )


def test_reference_is_not_looked_at_without_alpha(worked: TrajectoryBatch) -> None:
    impossible = torch.full_like(worked.log_ref, -math.inf)
    # S = 0, -1, -3 and 0, -0.5: a_T = 3.5 and 1.5
    batch = replace(worked, log_ref=impossible, alpha=0.0)
    assert terminal_balance(batch).tolist() == pytest.approx([3.5, 1.5])


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_episodes_cut_by_the_collector_are_refused(
    objective: Objective, worked: TrajectoryBatch
) -> None:
    with pytest.raises(ValueError, match="1 of 2 episodes were cut"):
        objective(replace(worked, ended=torch.tensor([True, False])))


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_infinite_reward_is_refused(objective: Objective, worked: TrajectoryBatch) -> None:
    with pytest.raises(UserError, match=r"log R = -inf.*reward\.floor"):
        objective(replace(worked, log_reward=torch.tensor([0.0, -math.inf])))


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_only_the_variance_does_without_a_flow_head(
    objective: Objective, worked: TrajectoryBatch
) -> None:
    bare = replace(worked, log_flow=None)
    if objective.needs_flow:
        with pytest.raises(UserError, match="log_flow = None"):
            objective(bare)
    else:
        assert "log_z" not in objective(bare).metrics


def test_single_precision_inputs_give_single_precision_gradients(worked: TrajectoryBatch) -> None:
    log_pf = worked.log_pf.detach().float().requires_grad_()
    TrajectoryBalanceLoss()(replace(worked, log_pf=log_pf)).loss.backward()
    assert log_pf.grad is not None
    assert log_pf.grad.dtype == torch.float32
