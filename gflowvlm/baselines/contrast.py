"""Losses on pairs of replies to one history: DPO, SPIN, and the law their optimum follows.

A reply y is preferred, y' is not; with the reference mu,

    margin(y, y') = [log pi(y) - log mu(y)] - [log pi(y') - log mu(y')]
    loss          = -log sigmoid(beta * margin)

DPO (Rafailov et al. 2023, eq. 7) takes y and y' from preference data and the start policy for mu.
SPIN (Chen et al. 2024, eq. 4.7) takes y from demonstrations and y' from an opponent, which is mu as
well. Alami et al. (2024) replace mu by `mu ~ opponent^(1-alpha) * start^alpha`, whose normaliser
cancels in the margin, and the opponent by a mixture of past iterates.

All have one optimum. Where y ~ p and y' ~ rho independently,

    pi(y) ~ mu(y) * [p(y) / rho(y)]^(1 / beta),

so with mu = rho = pi_t (SPIN) the error `log pi - log p` is multiplied by 1 - 1/beta every round:
beta = 1 is there in one, beta < 1/2 diverges when each round is solved to its end.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def logistic_loss(margin: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """[P] loss of each pair.

    Args:
        margin: [P] as above, nats.
        beta: weight of the divergence from the reference; the paper's lambda in SPIN.
        label_smoothing: probability that a preference is the wrong way round (conservative DPO,
            Mitchell 2023); the best margin is then `log((1 - q) / q) / beta`, not infinite.
    """
    held, upset = logsigmoid(beta * margin), logsigmoid(-beta * margin)
    return -(1 - label_smoothing) * held - label_smoothing * upset


def mixture_log_prob(iterates: Sequence[Tensor], start: Tensor | None, alpha: float) -> Tensor:
    """[N] `log mu` of N replies, up to a constant: iterates mixed evenly, then drawn to the start.

    `mu ~ (mean of the iterates)^(1-alpha) * start^alpha`. A mean of probabilities, not of
    log-probabilities: it is the law of a reply by an iterate that a fair die chose, once a reply
    (fictitious play). What has no weight need not be given.

    Args:
        iterates: [N] each, log-prob of the replies under a past policy; may be empty at alpha 1.
        start: [N] the same under the start policy; may be None at alpha 0.
        alpha: weight of the start policy, from 0 (SPIN) to 1 (DPO).
    """
    if alpha == 1:
        assert start is not None, "alpha 1 is the start policy alone"
        return start
    mean = torch.stack(list(iterates)).logsumexp(0) - math.log(len(iterates))
    if alpha == 0:
        return mean
    assert start is not None, "alpha above 0 takes the start policy in"
    return (1 - alpha) * mean + alpha * start
