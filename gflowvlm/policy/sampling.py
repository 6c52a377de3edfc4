"""One token from logits by the inverse of the cumulative distribution."""

import torch
from torch import Tensor


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Sample one index per row.

    Args:
        logits: [B, V], -inf where an index may not be chosen; at least one finite per row.
        uniform: [B] float64 in [0, 1).

    Returns:
        [B] int64. Index i is chosen where cdf[i - 1] <= uniform < cdf[i], so an index of
        probability 0 never is. Sums are float64: in float32 a vocabulary of 150k loses its tail.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1]
    # Rounding may lift uniform * total to total itself, which lies beyond the last index.
    point = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, point[:, None], right=True)[:, 0]
