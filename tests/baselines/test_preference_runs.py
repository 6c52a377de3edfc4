"""Rejection sampling, DPO and self-play as a user runs them, on the embedded model."""

from pathlib import Path

import pytest

from gflowvlm.cli import main
from gflowvlm.trainer.checkpoint import complete
from gflowvlm.trainer.tracking import read_metrics

RECIPE = str(Path(__file__).parents[2] / "configs/number_line/subtb.yaml")
SMALL = [
    "environment.kwargs={low: 0, high: 2, limit: 2}",
    "trainer.groups_per_update=2",
    "trainer.group_size=2",
    "trainer.schedule=constant",
    "trainer.warmup_updates=0",
    "evaluation.at_start=false",
    "evaluation.at_end=false",
    "trainer.samples_every=0",
]


def train(output: Path, *more: str) -> int:
    return main(["train", RECIPE, f"output={output}", "name=run", *SMALL, *more])


@pytest.mark.parametrize(
    "objective",
    [
        "{type: rejection_sft, round_updates: 2, keep: distinct, equal_starts: true}",
        "{type: dpo, chosen: own, reference: round, round_updates: 2, verify: true}",
        "{type: spin, episodes: 8, history: 2, round_updates: 2}",
    ],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(objective: str, tmp_path: Path) -> None:
    arguments = [f"objective={objective}", "trainer.max_updates=4", "trainer.checkpoint_every=3"]
    assert train(tmp_path, *arguments) == 0
    whole = read_metrics(tmp_path / "run")
    (complete(tmp_path / "run")[-1] / "state.json").unlink()  # as if update 4 had been cut short
    assert train(tmp_path, *arguments, "--resume") == 0
    again = read_metrics(tmp_path / "run")
    assert [line["step"] for line in again] == [1, 2, 3, 4]
    assert again[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=1e-4)
    assert again[-1]["gradient_norm"] == pytest.approx(whole[-1]["gradient_norm"], rel=1e-3)
    assert again[-1]["seconds_step"] != whole[-1]["seconds_step"]  # it was run anew
