"""How much better a decision was than what was to be expected, from rewards in nats."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

EPSILON = 1e-4  # nats, beside a standard deviation that may be zero


def generalised_advantage(
    reward: Tensor, value: Tensor, *, gamma: float, gae_lambda: float, ended: bool
) -> Tensor:
    """`sum_k (gamma lambda)^k delta_{t+k}`, `delta_t = r_t + gamma V(h_{t+1}) - V(h_t)`.

    Schulman et al. 2016, eq. 16, over decisions.

    Args:
        reward: [T].
        value: [T+1] of each history.
        gamma: discount.
        gae_lambda: weight of longer looks ahead.
        ended: True where nothing is to come after h_T; False where the episode was cut there, so
            that `value[T]` stands for the rest.

    Returns:
        Tensor: [T]; add `value[:T]` for the value head's target.
    """
    rest = value[1:].clone()
    if ended:
        rest[-1] = 0.0
    delta = reward + gamma * rest - value[:-1]
    return discounted_sum(delta, gamma * gae_lambda)


def discounted_sum(values: Tensor, discount: float) -> Tensor:
    """[T] `sum_k discount^k values[t+k]`."""
    total, sums = 0.0, []
    for value in reversed(values.tolist()):
        total = value + discount * total
        sums.append(total)
    return torch.tensor(sums[::-1], dtype=values.dtype)


def relative_to_group(returns: Tensor, group: Sequence[Hashable], *, scaled: bool) -> Tensor:
    """Each return less its group's mean, over the group's standard deviation if `scaled`.

    Shao et al. 2024, section 4.1.2; not scaled, Liu et al. 2025 (Dr. GRPO).

    Args:
        returns: [B].
        group: B names; a return alone in its group gets 0.
        scaled: whether to divide by the deviation (of n - 1), plus `EPSILON`.
    """
    place, size = _groups(group)
    centred = returns - _mean(returns, place, size)[place]
    if not scaled:
        return centred
    square = torch.zeros(len(size), dtype=returns.dtype).index_add(0, place, centred.square())
    return centred / ((square / (size - 1).clamp(min=1)).sqrt()[place] + EPSILON)


def leave_one_out(returns: Tensor, group: Sequence[Hashable]) -> Tensor:
    """Each return less the mean of the *others* of its group; 0 for one alone (Kool et al. 2019).

    Args:
        returns: [B].
        group: B names.
    """
    place, size = _groups(group)
    centred = returns - _mean(returns, place, size)[place]
    return centred * (size / (size - 1).clamp(min=1))[place]


def _groups(group: Sequence[Hashable]) -> tuple[Tensor, Tensor]:
    """[B] number of each one's group, and [G] float64 sizes."""
    number: dict[Hashable, int] = {}
    place = torch.tensor([number.setdefault(name, len(number)) for name in group])
    return place, place.bincount(minlength=len(number)).double()


def _mean(values: Tensor, place: Tensor, size: Tensor) -> Tensor:
    """[G]."""
    return torch.zeros(len(size), dtype=values.dtype).index_add(0, place, values) / size
