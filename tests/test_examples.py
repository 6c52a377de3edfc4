"""Own environment, own model: the example as its head comment runs it, and what may go wrong."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from gflowvlm.cli import main
from gflowvlm.evaluation.table import read_measured
from gflowvlm.policy.backbone import Backbone
from gflowvlm.trainer.tracking import read_metrics

ROOT = Path(__file__).parents[1]
POCKET = ROOT / "gflowvlm/pocket/model"
SMALL = [
    "name=lake",
    "trainer.max_updates=2",
    "trainer.groups_per_update=2",
    "trainer.group_size=2",
    "policy.max_reply_tokens=16",
    "evaluation.episodes=2",
    "evaluation.samples_per_start=1",
]


@pytest.fixture(autouse=True)
def in_the_folder_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    # The command's own path, without the working directory that `python -m` would add.
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p and Path(p) != ROOT / "examples"])


def train(output: Path, *more: str) -> int:
    return main(["train", "frozen_lake.yaml", f"output={output}", *SMALL, *more])


def refused(output: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line of a refusal; nothing lies in the way of the next attempt."""
    assert train(output, *more) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1, said
    assert not list(output.rglob("config.json"))
    return said


def test_a_foreign_environment_of_under_forty_lines_trains_and_is_measured_beside_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    assert "chance, played" in capsys.readouterr().out
    (measured,) = read_measured(tmp_path / "lake/evaluation.json")["after"]
    assert [(name, each.games) for name, each in measured.references.items()] == [("chance", 2)]
    metrics = read_metrics(tmp_path / "lake")
    assert [line["step"] for line in metrics] == [1, 2]
    assert all(line["length"] <= 12 and line["cut"] == 0 for line in metrics)
    assert len((ROOT / "examples/frozen_lake.py").read_text().splitlines()) < 40


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ("CartPole-v1", "expected a non-empty 'legal_actions'"),
        ("frozen_lak:PixelLake-v0", "found no module 'frozen_lak'"),
        ("frozen_lake:PixelLake-v1", "PixelLake-v0"),
    ],
)
def test_an_environment_that_does_not_serve_is_one_line(
    environment: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path, capsys, f"environment.id={environment}")


def test_an_environment_that_never_ends_is_cut_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A game whose replies are valid, and whose goals are more than a step away.
    known = ["environment.id=gflowvlm/NumberLine-v0", "policy.start=pocket/number_line"]
    endless = ["environment.kwargs={low: 10, high: 50}", "environment.max_decisions=1"]
    assert train(tmp_path, *known, *endless, "policy.max_reply_tokens=32") == 2
    said = capsys.readouterr().err
    assert "none of 4 episodes ended by itself, 4 were cut by environment.max_decisions = 1" in said


def without(*names: str) -> Callable[[Path], Any]:
    return lambda folder: [(folder / name).unlink() for name in names]


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "projector" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def text_only(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("chat_template.jinja"), "the model has no chat template"),
        (without("config.json"), "holds no config.json"),
        (without("model.safetensors"), "cannot be loaded"),
        (without("processor_config.json"), "holds no processor"),
        (without_a_weight, "lacks 1 of its model's weights"),
        (text_only, "'gpt2' model, which does not read images"),
    ],
    ids=["template", "config", "weights", "processor", "one weight", "text only"],
)
def test_a_folder_that_is_no_whole_model_is_one_line(
    spoil: Callable[[Path], Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(POCKET, folder)
    spoil(folder)
    assert said in refused(tmp_path / "runs", capsys, f"policy.model={folder}")


def test_a_model_that_is_not_scored_as_it_was_sampled_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Backbone.hidden

    def hidden(self: Backbone, ids: Any, mask: Any, start: Any, **rest: Any) -> Any:
        late = int(ids.shape[1] == 1)  # decoded tokens stand one place too far
        output, following = sound(self, ids, mask, start + late, **rest)
        return output, following - late

    monkeypatch.setattr(Backbone, "hidden", hidden)
    said = refused(tmp_path, capsys, f"policy.model={POCKET}")
    assert "model family 'llava' fails its self-check" in said
