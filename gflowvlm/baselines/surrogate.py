"""The clipped surrogate of a policy's improvement, and how far it has moved."""

import torch
from torch import Tensor


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """`-min(r A, clip(r, 1 - eps, 1 + eps) A)` of each unit (Schulman et al. 2017, eq. 7).

    Args:
        log_ratio: [U] log of new over old probability; at 0 the gradient is that of `-A log p`.
        advantage: [U].
        clip_range: eps.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def k3(log_ratio: Tensor) -> Tensor:
    """`1/r - 1 + log r`: a divergence's estimate, never negative (Schulman 2020).

    Its mean is `KL(p || q)` where units are drawn from p and `log_ratio` is `log p - log q`. The
    mean of its *gradient* is that of `KL(q || p)` instead.
    """
    return torch.expm1(-log_ratio) + log_ratio


@torch.no_grad()
def movement(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> dict[str, float]:
    """Means over units of how far the policy has moved from the one that played.

    `approx_kl` is the divergence of the old policy from the new one in nats a unit, `clip_fraction`
    the share of units whose gradient the clip takes away.
    """
    ratio = log_ratio.exp()
    stopped = torch.where(advantage > 0, ratio > 1 + clip_range, ratio < 1 - clip_range)
    stopped &= advantage != 0
    return {
        "approx_kl": k3(-log_ratio).mean().item(),
        "clip_fraction": stopped.double().mean().item(),
    }
