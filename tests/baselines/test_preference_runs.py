"""Rejection sampling, DPO and self-play as a user runs them, on the embedded model."""

from pathlib import Path

import pytest

from gflowvlm.cli import main
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
    method = f"objective={objective}"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, method, "trainer.max_updates=4") == 0
    assert train(parts, method, "trainer.max_updates=4", "trainer.checkpoint_every=3") == 0
    newest = max((parts / "run" / "checkpoints").iterdir())
    for file in newest.iterdir():
        if file.is_file():
            file.unlink()  # without state.json it is no checkpoint
    assert train(parts, method, "trainer.max_updates=4", "--resume") == 0
    lines = [read_metrics(folder / "run") for folder in (whole, parts)]
    assert [line["step"] for line in lines[1]] == [1, 2, 3, 4]
    assert lines[0][-1]["loss"] == pytest.approx(lines[1][-1]["loss"], rel=1e-4)
    assert lines[0][-1]["gradient_norm"] == pytest.approx(lines[1][-1]["gradient_norm"], rel=1e-3)
