"""The pair losses by hand, and their optimum on a table of five outcomes in closed form."""

import math

import pytest
import torch
from torch import Tensor

from gflowvlm.baselines.contrast import logistic_loss, mixture_log_prob

SEEDS = range(5)


def laws(seed: int, count: int) -> list[Tensor]:
    """[5] log-probs of some laws over five outcomes, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return list(logits.log_softmax(-1))


def best_against(p: Tensor, rho: Tensor, mu: Tensor, beta: float) -> Tensor:
    """[5] log of the policy of least expected loss over all 25 pairs, by Newton's method."""
    weight = (p[:, None] + rho[None]).exp()

    def loss(logits: Tensor) -> Tensor:
        ratio = logits - mu  # the softmax's normaliser cancels in a margin
        margin = ratio[:, None] - ratio[None]
        return (weight * logistic_loss(margin, beta=beta)).sum()

    logits = mu.clone()
    for _ in range(200):
        _, slope = torch.autograd.functional.vjp(loss, logits)
        curve = torch.autograd.functional.hessian(loss, logits)
        step = torch.linalg.pinv(curve) @ slope  # type: ignore[operator]
        while loss(logits - step) > loss(logits):
            step = step / 2
            if step.norm() < 1e-14:
                break
        logits = logits - step
        if step.norm() < 1e-13:
            break
    return logits.log_softmax(-1)


def test_the_loss_of_a_pair_by_hand() -> None:
    # 0.5 * 2 = 1: -log sigmoid(1) = log(1 + e^-1) = 0.313262; the pair upset costs 1.313262
    margin = torch.tensor([2.0, -2.0], dtype=torch.float64)
    assert logistic_loss(margin, beta=0.5).tolist() == pytest.approx([0.313262, 1.313262], abs=1e-6)
    # 0.9 * 0.313262 + 0.1 * 1.313262 = 0.413262
    smoothed = logistic_loss(margin[:1], beta=0.5, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(0.413262, abs=1e-6)


def test_smoothed_labels_are_best_met_at_a_finite_margin() -> None:
    best = torch.tensor(math.log(0.9 / 0.1) / 0.5, dtype=torch.float64, requires_grad=True)
    logistic_loss(best, beta=0.5, label_smoothing=0.1).backward()
    assert best.grad is not None
    assert best.grad.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beta", [0.3, 1.0, 2.0])
def test_the_best_policy_is_the_reference_times_a_power_of_the_likelihood_ratio(
    seed: int, beta: float
) -> None:
    p, rho, mu = laws(seed, 3)
    expected = (mu + (p - rho) / beta).log_softmax(-1)
    torch.testing.assert_close(best_against(p, rho, mu, beta), expected, atol=1e-6, rtol=0)


def test_a_mixture_by_hand() -> None:
    # mean of 0.2 and 0.6 is 0.4; 0.4^0.75 * 0.1^0.25 = 0.282843
    iterates = [torch.tensor([0.2]).log(), torch.tensor([0.6]).log()]
    start = torch.tensor([0.1]).log()
    assert mixture_log_prob(iterates, start, 0.0).exp().item() == pytest.approx(0.4)
    assert mixture_log_prob(iterates, start, 0.25).exp().item() == pytest.approx(0.282843, abs=1e-6)
    assert mixture_log_prob([], start, 1.0).exp().item() == pytest.approx(0.1)


def rounds_of(
    seed: int,
    beta: float,
    rounds: int,
    *,
    alpha: float = 0.0,
    history: int | None = 1,
    mixed: bool = False,
) -> float:
    """KL(p || pi), nats, after rounds that are each solved to their end; infinite once far off."""
    p, base = laws(seed, 2)
    iterates = [base]
    for _ in range(rounds):
        past = iterates if history is None else iterates[-history:]
        mu = mixture_log_prob(past, base, alpha).log_softmax(-1)
        rho = mu if mixed else iterates[-1]
        following = (mu + (p - rho) / beta).log_softmax(-1)
        if following.min() < -1e4:
            return math.inf
        iterates.append(following)
    return float((p.exp() * (p - iterates[-1])).sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_self_play_converges_or_not_as_its_factor_says(seed: int) -> None:
    assert rounds_of(seed, 1.0, 1) < 1e-12  # factor 1 - 1/1 = 0
    assert rounds_of(seed, 0.6, 60) < 1e-12  # 1 - 1/0.6 = -0.67
    assert rounds_of(seed, 0.45, 60) == math.inf  # 1 - 1/0.45 = -1.22
    # drawn to the start, rejected replies from the mixture: (1 - 0.3) * -1.22 = -0.856
    assert rounds_of(seed, 0.45, 60, alpha=0.3, mixed=True) < 0.1
    # the same from the newest iterate: 1 - 0.3 - 1/0.45 = -1.52
    assert rounds_of(seed, 0.45, 60, alpha=0.3) == math.inf


@pytest.mark.parametrize("seed", SEEDS)
def test_fictitious_play_converges_where_both_sides_of_the_ratio_are_the_mixture(seed: int) -> None:
    assert rounds_of(seed, 0.1, 60, history=None, mixed=True) < 1e-8
    assert rounds_of(seed, 0.1, 60, history=None) == math.inf
    assert rounds_of(seed, 0.1, 60, history=4, mixed=True) == math.inf  # too short a memory
