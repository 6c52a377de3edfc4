import pytest
import torch

from gflowvlm.trainer.optimizer import build_optimizer, rate, set_rate


def test_the_rate_warms_up_then_falls_and_never_reaches_zero() -> None:
    rates = [rate(u, warmup=2, total=6, schedule="linear") for u in range(6)]
    # up by halves, then four updates down from 1: 1, 3/4, 2/4, 1/4
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert rate(5, warmup=0, total=10, schedule="cosine") == pytest.approx(0.5)


def test_heads_keep_their_own_rate_and_do_not_decay() -> None:
    parameters = {
        "adapter": [torch.nn.Parameter(torch.ones(1))],
        "heads": [torch.nn.Parameter(torch.ones(1))],
    }
    optimizer = build_optimizer(
        parameters, learning_rate=0.1, head_learning_rate=0.5, weight_decay=0.2
    )
    set_rate(optimizer, 0.03)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["adapter"]["lr"] == 0.03
    assert groups["heads"]["lr"] == 0.5
    assert groups["heads"]["weight_decay"] == 0.0
