"""`gflowvlm report` from the command line, on a run that has been trained."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.cli import main
from gflowvlm.report.recording import Recording

# The package lends the module's name to the function in it.
MODULE = "gflowvlm.launch.report"
ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/number_line/subtb.yaml")
SMALL = [
    *("name=run", "trainer.max_updates=1", "trainer.learning_rate=1.0e-5"),
    *("trainer.warmup_updates=0", "trainer.groups_per_update=2", "trainer.group_size=1"),
    *("trainer.trackers=[]", "evaluation.splits=[id]", "evaluation.episodes=2"),
    "evaluation.at_start=false",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    assert main(["train", RECIPE, f"output={output}", *SMALL]) == 0
    return output / "run"


def test_a_run_becomes_a_page_and_its_games_are_played_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    capsys.readouterr()
    assert main(["report", str(run), "-o", str(page), "--episodes", "2"]) == 0
    assert f"report: {page} (" in capsys.readouterr().out
    kept = Recording.read(run)
    assert kept is not None
    assert (kept.update, kept.asked, len(kept.episodes)) == (1, (2, 0), 2)
    for episode in kept.episodes:
        for step in episode.steps:
            total = 1.0 if step.choices else 0.0
            assert sum(share for _, share in step.choices) == pytest.approx(total, abs=1e-3)
            assert step.action in (None, *(word for word, _ in step.choices))
            assert step.image in kept.pictures
            # one small update: the policy still is the start policy, all but
            assert step.log_pf == pytest.approx(step.log_ref, abs=0.1)
        residuals = [step.residual for step in episode.steps]
        assert sum(r for r in residuals if r is not None) == pytest.approx(
            episode.residual, abs=1e-2
        )

    def refuse(*_: Any) -> None:
        raise AssertionError("played again")

    monkeypatch.setattr(sys.modules[MODULE], "_play", refuse)
    first = page.read_bytes()
    assert main(["report", str(run), "-o", str(page)]) == 0
    assert page.read_bytes() == first
    assert main(["report", str(run), "-o", str(page), "--episodes", "0"]) == 0
    assert "No games are kept" in page.read_text()


def test_watching_follows_a_run_until_it_is_given_up(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = tmp_path / "growing"
    shutil.copytree(run, growing, ignore=shutil.ignore_patterns("adapter", "report_episodes.json"))
    lines = (growing / "metrics.jsonl").read_text()
    (growing / "metrics.jsonl").unlink()
    page, seen = tmp_path / "report.html", []

    def sleep(_: float) -> None:
        seen.append(page.read_text())
        if len(seen) == 1:
            (growing / "metrics.jsonl").write_text(lines)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    assert main(["report", str(growing), "-o", str(page), "--watch"]) == 0
    assert ["No update is logged yet" in text for text in seen] == [True, False, False]
    assert all('<body data-reload="5.0">' in text for text in seen)
    assert "<body>" in page.read_text()  # the last page stays as it is
    assert not (growing / "report_episodes.json").exists()  # training has the processor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: found no such folder"),
        (["empty"], "empty: found neither config.json nor comparison.json"),
        (["run", "--episodes", "-1"], "found -1, expected a whole number of at least 0"),
        (["run", "-o", "empty"], "found the folder empty as output, expected a file"),
        (["run", "-o", "file/report.html"], "found the file"),
        (["begun"], "begun: found no figures yet"),
        (["unsaved", "--episodes", "2"], "unsaved: found no complete checkpoint"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(
    arguments: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "begun", "unsaved"):
        (tmp_path / name).mkdir()
        shutil.copy(run / "config.json", tmp_path / name)
    (tmp_path / "unsaved" / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    capsys.readouterr()
    try:
        code = main(["report", *arguments])
    except SystemExit as left:  # as argparse does
        code = left.code
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert message in said
    assert "\n" not in said
