"""AdamW with a group for the adapter, whose rate is scheduled, and one for the heads."""

from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Literal

from torch.nn import Parameter
from torch.optim import AdamW


def rate(
    update: int, *, warmup: int, total: float, schedule: Literal["constant", "cosine", "linear"]
) -> float:
    """Factor of the peak learning rate at an update counted from 0; the last one is above 0."""
    if update < warmup:
        return (update + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (update - warmup) / max(1, total - warmup)
    return (1 + cos(pi * done)) / 2 if schedule == "cosine" else 1 - done


def build_optimizer(
    groups: Mapping[str, Sequence[Parameter]],
    *,
    learning_rate: float,
    head_learning_rate: float,
    weight_decay: float,
) -> AdamW:
    """One optimiser; heads have a rate of their own and no decay."""
    return AdamW(
        [
            {
                "params": list(parameters),
                "name": name,
                "lr": head_learning_rate if name == "heads" else learning_rate,
                "weight_decay": 0.0 if name == "heads" else weight_decay,
            }
            for name, parameters in groups.items()
        ]
    )


def set_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Set the learning rate of every group but the heads."""
    for group in optimizer.param_groups:
        if group["name"] != "heads":
            group["lr"] = learning_rate
