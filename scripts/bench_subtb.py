"""Sub-trajectory balance in O(T), against the T x T matrix of all pairs.

Forward and backward, float64, on made-up trajectories. Checked before they are timed: both give
the same loss and gradient.
"""

import argparse
import math
from collections.abc import Callable

import torch
from bench_model import median_seconds, print_table
from torch import Tensor

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.objectives.balance import balance, points
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss

Loss = Callable[[TrajectoryBatch], Tensor]


def trajectories(episodes: int, steps: int, device: str) -> TrajectoryBatch:
    """Random trajectories of full length; log-probs and flows are leaves."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(device)

    return TrajectoryBatch(
        log_pf=draw(episodes, steps).requires_grad_(),
        log_pb=torch.zeros(episodes, steps, dtype=torch.float64, device=device),
        log_ref=draw(episodes, steps),
        log_reward=draw(episodes),
        length=torch.full((episodes,), steps, device=device),
        group=torch.arange(episodes, device=device),
        ended=torch.ones(episodes, dtype=torch.bool, device=device),
        log_flow=draw(episodes, steps + 1).requires_grad_(),
    )


def matrix_loss(batch: TrajectoryBatch, decay: float) -> Tensor:
    """The definition: every pair of points, weighted by decay^(j - i)."""
    a, real = balance(batch), points(batch)
    time = torch.arange(a.shape[1], device=a.device)
    apart = time[None] - time[:, None]
    weight = torch.where(apart > 0, decay ** apart.clamp(min=0).double(), 0.0)
    weight = torch.where(real[:, None] & real[:, :, None], weight, 0.0)
    residual = a[:, :, None] - a[:, None, :]
    return ((weight * residual.square()).sum((1, 2)) / weight.sum((1, 2))).mean()


def gradient(loss: Loss, batch: TrajectoryBatch) -> Tensor:
    """Derivative of the loss by log_pf."""
    return torch.autograd.grad(loss(batch), [batch.log_pf])[0]


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=16, help="batch size (%(default)s)")
    parser.add_argument("--decay", type=float, default=0.9, help="lambda (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="medians of so many (%(default)s)")
    parser.add_argument("--longest", type=int, default=4096, help="decisions (%(default)s)")
    parser.add_argument("--longest-matrix", type=int, default=512, help="(%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    arguments = parser.parse_args()
    objective = SubTrajectoryBalanceLoss(arguments.decay)

    def linear(batch: TrajectoryBatch) -> Tensor:
        return objective(batch).loss

    def matrix(batch: TrajectoryBatch) -> Tensor:
        return matrix_loss(batch, arguments.decay)

    small = trajectories(4, 50, arguments.device)
    torch.testing.assert_close(gradient(linear, small), gradient(matrix, small))
    torch.testing.assert_close(linear(small), matrix(small))
    lengths = [2**k for k in range(6, int(math.log2(arguments.longest)) + 1)]
    found: dict[int, tuple[float, float | None]] = {}
    for steps in lengths:
        batch = trajectories(arguments.episodes, steps, arguments.device)

        def time(loss: Loss, batch: TrajectoryBatch = batch) -> float:
            return median_seconds(
                lambda: gradient(loss, batch), arguments.repeats, arguments.device
            )

        both = time(linear), time(matrix) if steps <= arguments.longest_matrix else None
        found[steps] = both
    print_table(
        ["decisions", "O(T) ms", "matrix ms", "faster"],
        [
            (steps, 1e3 * a, "" if b is None else 1e3 * b, "" if b is None else b / a)
            for steps, (a, b) in found.items()
        ],
    )
    first, last = lengths[-3], lengths[-1]
    power = math.log(found[last][0] / found[first][0]) / math.log(last / first)
    print(f"from {first} to {last} decisions the O(T) loss takes T^{power:.2f} times longer")


if __name__ == "__main__":
    main()
