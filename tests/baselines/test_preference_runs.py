"""Rejection sampling, DPO and self-play as a user runs them, on the embedded model."""

from functools import partial
from pathlib import Path

import pytest
from datasets import Dataset

from gflowvlm.baselines.conversations import Conversation, to_dataset
from gflowvlm.baselines.expert import expert_games
from gflowvlm.cli import main
from gflowvlm.rollouts.environments import make_environment
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


def test_stored_pairs_train_and_a_run_of_them_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (game,) = expert_games(
        partial(make_environment, "gflowvlm/NumberLine-v0", "id"), seeds=[1], mistakes=0.0
    )
    row = to_dataset([Conversation(source="expert", episode=0, turns=game[:1])])[0]
    question, chosen = row["messages"]
    moves = str.maketrans("+-", "-+")
    wrong = chosen["content"][0]["text"].translate(moves)
    rejected = {**chosen, "content": [{"type": "text", "text": wrong}]}
    pair = {"prompt": [question], "chosen": [chosen], "rejected": [rejected]}
    data = Dataset.from_list([{**pair, "images": row["images"]}] * 3)
    data.save_to_disk(str(tmp_path / "pairs"))
    arguments = [f"objective={{type: dpo, data: {tmp_path / 'pairs'}}}"]
    assert train(tmp_path, *arguments, "trainer.max_updates=2") == 0
    first, second = read_metrics(tmp_path / "run")
    assert first["pairs"] == 4
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert second["rewards/margins"] > 0.001
    assert train(tmp_path, *arguments, "trainer.max_updates=3", "--resume") == 0
    assert train(tmp_path / "other", "objective={type: dpo, data: nowhere}") == 2
    assert "nowhere: found no stored data set" in capsys.readouterr().err
