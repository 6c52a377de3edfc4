from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.trainer.gradient import accumulate


class Line(torch.nn.Module):
    """A policy of two numbers: every token's log-prob is slope * id + offset."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([0.3, -0.7], dtype=torch.float64))
        self.passes: list[int] = []

    def score(self, rows: list[Row]) -> StepScores:
        self.passes.append(len(rows))
        ids = torch.tensor([float(i) for row in rows for i in row.input_ids], dtype=torch.float64)
        values = self.weights[0] * ids.square() + self.weights[1]
        states = torch.cat([values, values[: len(rows)] * 2])
        return StepScores(
            thought_log_prob=values * 0.5,
            action_log_prob=values,
            entropy=torch.zeros_like(values),
            flow=states,
            token_log_prob=values,
            token_decision=torch.arange(len(values)),
        )


def row(token: int) -> Row:
    return Row(
        input_ids=(token,),
        decision_of=(0,),
        segment=(2,),
        state_at=(0, 0),
        vision=(),
        allowed={},
    )


def coupled(scores: StepScores, part: slice) -> ObjectiveOutput:
    """Variance over all rows: no row's share can be told without the others."""
    assert scores.flow is not None
    total = scores.action_log_prob + scores.thought_log_prob
    return ObjectiveOutput(loss=total.var() + scores.flow.sum() * 0.1)


def work(couples: bool, lengths: tuple[int, ...] = (1, 1, 1, 1, 1)) -> Work:
    """Episodes of so many rows; an uncoupled loss is a mean of squares of their totals."""
    tokens = iter((1, 2, 4, 7, 3))
    episodes = [[row(next(tokens)) for _ in range(length)] for length in lengths]

    def apart(scores: StepScores, part: slice) -> ObjectiveOutput:
        totals = [values.sum() for values in scores.token_log_prob.split(list(lengths[part]))]
        return ObjectiveOutput(loss=torch.stack(totals).square().mean())

    return Work(
        episodes=episodes,
        loss=coupled if couples else apart,
        couples_rows=couples,
        share=lambda part: (part.stop - part.start) / len(episodes),
        metrics={},
    )


@pytest.mark.parametrize("couples", [True, False])
@pytest.mark.parametrize("rows_per_pass", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(1, 1, 1, 1, 1), (2, 1, 2), (3, 2)], ids=str)
def test_gradients_in_parts_equal_the_direct_gradient(
    lengths: tuple[int, ...], couples: bool, rows_per_pass: int
) -> None:
    direct, parts = Line(), Line()
    job = work(couples, lengths)
    accumulate(direct, job, 5)  # type: ignore[arg-type]
    accumulate(parts, job, rows_per_pass)  # type: ignore[arg-type]
    assert max(parts.passes) == rows_per_pass  # never more rows at once than asked for
    torch.testing.assert_close(parts.weights.grad, direct.weights.grad)


def test_episodes_that_fit_are_scored_once_and_never_cut() -> None:
    policy = Line()
    accumulate(policy, work(False, (2, 1, 2)), 3)  # type: ignore[arg-type]
    assert policy.passes == [3, 2]
    longer = Line()
    accumulate(longer, work(False, (2, 1, 2)), 1)  # type: ignore[arg-type]
    assert longer.passes == [1] * 10  # once without a graph, once with it


def test_a_coupled_loss_is_not_the_mean_of_its_parts() -> None:
    direct, wrong = Line(), Line()
    accumulate(direct, work(True), 5)  # type: ignore[arg-type]
    accumulate(wrong, replace(work(True), couples_rows=False), 3)  # type: ignore[arg-type]
    assert direct.weights.grad is not None
    assert wrong.weights.grad is not None
    assert (direct.weights.grad - wrong.weights.grad).abs().max() > 1e-3


def test_the_loss_of_uncoupled_rows_is_weighted_by_its_share(tmp_path: Path) -> None:
    # ids 1, 2, 4, 7, 3 give -0.4, 0.5, 4.1, 14, 2; (0.16 + 0.25 + 16.81 + 196 + 4) / 5 = 43.444
    assert accumulate(Line(), work(False), 2).means["loss"] == pytest.approx(43.444)  # type: ignore[arg-type]
