"""The paper's recipes as they stand, on a LLaVA-1.6 of random weights, for an update or two."""

from pathlib import Path

import pytest

from gflowvlm.cli import main
from gflowvlm.evaluation.table import read_measured
from gflowvlm.trainer.tracking import read_metrics

CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
SMALL = [
    "policy.max_reply_tokens=24",
    "trainer.warmup_updates=0",
    "evaluation.splits=[id]",
    "evaluation.episodes=2",
    "evaluation.samples_per_start=1",
]


def train(recipe: str, *more: str) -> int:
    return main(["train", str(CONFIGS / f"{recipe}.yaml"), *SMALL, *more])


def test_the_papers_recipes_train_one_after_the_other(
    llava_next_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the later recipe starts from runs/ of the earlier one
    model = f"policy.model={llava_next_folder}"
    small = ("objective.episodes=6", "trainer.groups_per_update=3", "trainer.max_updates=1")
    assert train("number_line_sft", model, *small) == 0
    assert train("number_line_subtb", model, "trainer.max_updates=2") == 0
    lines = read_metrics(tmp_path / "runs" / "paper-number_line_subtb")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["gradient_norm"] > 0 for line in lines)
    assert not any("kl_to_reference" in line for line in lines)  # alpha 0: nobody asks the start
    measured = read_measured(tmp_path / "runs" / "paper-number_line_subtb" / "evaluation.json")
    assert measured["after"][0].episodes == 2


@pytest.mark.parametrize("recipe", ["blackjack_subtb", "blackjack_db"])
def test_the_papers_blackjack_recipes_train(
    recipe: str, llava_next_folder: Path, tmp_path: Path
) -> None:
    settings = [f"policy.model={llava_next_folder}", f"output={tmp_path}", "policy.start=null"]
    assert train(recipe, *settings, "trainer.max_updates=1") == 0
    (line,) = read_metrics(tmp_path / f"paper-{recipe}")
    assert line["gradient_norm"] > 0


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("ez_points", "points24")]


@pytest.mark.parametrize("recipe", ["number_line", "blackjack", *SLOW])
def test_rl4vlms_recipes_train(recipe: str, llava_next_folder: Path, tmp_path: Path) -> None:
    settings = [f"policy.model={llava_next_folder}", f"output={tmp_path}", "policy.start=null"]
    small = ["trainer.groups_per_update=4", "trainer.max_updates=1", "objective.epochs=1"]
    small += ["policy.actions=constrained", "policy.thought=false"]  # else no reply is valid
    assert train(f"{recipe}_ppo", *settings, *small) == 0
    lines = read_metrics(tmp_path / f"paper-{recipe}_ppo")
    assert len(lines) == 1
    assert lines[0]["gradient_norm"] > 0
