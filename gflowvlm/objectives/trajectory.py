"""Balance of whole episodes (tb, var_tb) and of single decisions (db)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.objectives.balance import balance, points, terminal_balance
from gflowvlm.objectives.base import ObjectiveOutput


@dataclass(frozen=True)
class TrajectoryBalanceLoss:
    """`(log F(h_0) - a_T)^2`, mean over episodes (Malkin et al. 2022, eq. 14)."""

    couples_rows: ClassVar[bool] = False
    needs_flow: ClassVar[bool] = True

    def __call__(self, batch: TrajectoryBatch) -> ObjectiveOutput:
        """Loss of `batch`; log Z(h_0) is the flow head's value at the first history."""
        a = balance(batch)
        residual = a[:, 0] - terminal_balance(batch)
        loss = residual.square().mean()
        return ObjectiveOutput(loss=loss, metrics=balance_metrics(batch, loss))


@dataclass(frozen=True)
class VarianceLoss:
    """Variance of `a_T` within each group, divided by its size K (Zhang et al. 2023, eq. 4).

    The same as trajectory balance with log Z(h_0) set to the group's mean of `a_T`: letting the
    gradient through that mean changes nothing, as the residuals of a group add up to zero.
    """

    couples_rows: ClassVar[bool] = True
    needs_flow: ClassVar[bool] = False

    def __call__(self, batch: TrajectoryBatch) -> ObjectiveOutput:
        """Loss of `batch`, mean over episodes; an episode alone in its group adds zero."""
        loss = _within_groups(terminal_balance(batch), batch.group).square().mean()
        return ObjectiveOutput(loss=loss, metrics=balance_metrics(batch, loss))


@dataclass(frozen=True)
class DetailedBalanceLoss:
    """`(a_t - a_{t+1})^2`, mean over an episode's steps, then over episodes.

    Bengio et al. 2023, GFlowNet Foundations.
    """

    couples_rows: ClassVar[bool] = False
    needs_flow: ClassVar[bool] = True

    def __call__(self, batch: TrajectoryBatch) -> ObjectiveOutput:
        """Loss of `batch`; each episode counts the same, whatever its length."""
        a = balance(batch)
        residual = torch.where(points(batch)[:, 1:], a[:, :-1] - a[:, 1:], 0.0)
        loss = (residual.square().sum(1) / batch.length).mean()
        return ObjectiveOutput(loss=loss, metrics=balance_metrics(batch, loss))


@torch.no_grad()
def balance_metrics(batch: TrajectoryBatch, loss: Tensor) -> dict[str, float]:
    """What a balance loss logs.

    `log_z_implied` is the mean of `a_T` and `log_z_variance` its variance within groups, zero for
    a policy on target; `lone_share` is the share of episodes alone in their group, which tell
    nothing of that variance; `log_z` and `log_z_residual` compare the head with `a_T`.
    """
    implied = terminal_balance(batch)
    _, inverse, count = batch.group.unique(return_inverse=True, return_counts=True)
    metrics = {
        "loss": loss.item(),
        "log_z_implied": implied.mean().item(),
        "log_z_variance": _within_groups(implied, batch.group).square().mean().item(),
        "lone_share": (count[inverse] == 1).double().mean().item(),
    }
    if batch.log_flow is not None:
        log_z = batch.log_flow[:, 0].double()
        metrics["log_z"] = log_z.mean().item()
        metrics["log_z_residual"] = (log_z - implied).mean().item()
    return metrics


def _within_groups(value: Tensor, group: Tensor) -> Tensor:
    """`value` [B] minus the mean of its group."""
    _, inverse, count = group.unique(return_inverse=True, return_counts=True)
    total = value.new_zeros(len(count)).index_add(0, inverse, value)
    return value - (total / count)[inverse]
