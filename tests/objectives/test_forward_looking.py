from dataclasses import replace

import pytest
import torch

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.errors import UserError
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.trajectory import DetailedBalanceLoss


def batch() -> TrajectoryBatch:
    def line(*values: float) -> torch.Tensor:
        return torch.tensor([values], dtype=torch.float64)

    return TrajectoryBatch(
        log_pf=line(-1.0, -0.5),
        log_pb=line(0.0, 0.0),
        log_ref=line(0.0, 0.0),
        log_reward=torch.tensor([-1.0], dtype=torch.float64),
        length=torch.tensor([2]),
        group=torch.tensor([0]),
        ended=torch.tensor([True]),
        log_flow=line(0.2, 0.1, 9.0),  # the last belongs to the end, where it is pinned
        log_reward_to_date=line(0.0, -0.3, -1.0),
        beta=2.0,
    )


def test_what_has_accrued_is_added_to_what_the_head_says_and_the_end_is_pinned() -> None:
    # log F: 0.2 and 0.1 - 2 * 0.3 = -0.5; S: 0, -1, -1.5; a: 0.2, 0.5, 2 * -1 + 1.5 = -0.5
    # ((0.2 - 0.5)^2 + (0.5 + 0.5)^2) / 2 = 0.545
    assert ForwardLooking(DetailedBalanceLoss())(batch()).loss.item() == pytest.approx(0.545)


def test_a_batch_without_accrued_rewards_is_refused() -> None:
    with pytest.raises(UserError, match="forward_looking"):
        ForwardLooking(DetailedBalanceLoss())(replace(batch(), log_reward_to_date=None))
