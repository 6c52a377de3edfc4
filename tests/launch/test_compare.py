"""`gflowvlm compare` as a user runs it: refused in one line, killed half-way, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.cli import main
from gflowvlm.config.load import load, load_comparison
from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.share import Share
from gflowvlm.evaluation.table import write_measured
from gflowvlm.launch.contest import plan
from gflowvlm.launch.jobs import Job

ROOT = Path(__file__).parents[2]
COMPARISON = f"""\
base: {ROOT}/configs/number_line/subtb.yaml
overrides:
  environment.kwargs: {{low: 0, high: 2, limit: 3}}
  policy.actions: constrained
  policy.thought: false
  policy.max_reply_tokens: 8
  trainer.groups_per_update: 2
  trainer.checkpoint_every: 1
  trainer.warmup_updates: 0
  trainer.trackers: []
methods:
  sft:
    overrides:
      objective: {{type: sft, episodes: 4}}
      trainer.max_updates: 2
  subtb: {{}}
seeds: [0, 1]
environment_steps: 16
episodes: 4
samples_per_start: 2
exact: true
"""
HALF = Share(value=0.5, low=0.2, high=0.8)
Measured = partial(
    Measurement,
    temperature=1.0,
    reach=HALF,
    strict=HALF,
    right_moves=None,
    reading=None,
    diversity=None,
    invalid_replies=0.0,
    cut=0,
    length=2.0,
    reply_tokens=3.0,
    chance=None,
    optimum=None,
)


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(COMPARISON)
    return path


def test_methods_share_all_but_what_they_override(comparison: Path) -> None:
    runs = plan(*load_comparison(comparison, ["output=somewhere"]))
    assert [run.name for run in runs] == ["sft-seed0", "subtb-seed0", "sft-seed1", "subtb-seed1"]
    sft, subtb = runs[0].config, runs[3].config
    assert (sft.trainer.max_updates, sft.trainer.max_environment_steps) == (2, 16)
    # two groups of two games: at least 4 decisions an update, so never more than 4 updates
    assert (subtb.trainer.max_updates, subtb.seed) == (4, 1)
    assert (sft.evaluation.at_start, subtb.evaluation.at_start) == (True, False)
    assert subtb.run_dir == Path("somewhere") / runs[0].comparison.folder.name / "subtb-seed1"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["methods.sft={override: {}}"], "did you mean methods.NAME.overrides?"),
        (["methods.sft={overrides: {objective.typ: sft}}"], "did you mean objective.type"),
        (["methods.sft={overrides: {objective: {type: sftt}}}"], "expected one of"),
        (["seeds=[]"], "seeds: found [], expected a list of at least 1"),
        (["seeds=[0, 0]"], "expected each once"),
        (["methods={}"], "methods: found {}"),
        (["methods={all: {}}"], "rename it"),
        (["base=nowhere.yaml"], "nowhere.yaml: no such file"),
        (["methods.sft={overrides: {policy.start: null}}"], "methods sft and subtb: found policy."),
        (["methods.b={overrides: {reward.failure: -3}}"], "methods subtb and b: found reward"),
        (["overrides.policy.start=elsewhere"], "found no adapter in elsewhere"),
        (["splits=[idd]"], "expected one of id, ood"),
        (["methods.b={overrides: {trainer.warmup_updates: 9}}"], "warmup_updates = 9 beyond"),
        (["overrides.policy.thought=true"], "exact: true with policy.actions"),
        (["exact=false", "min_mass=1.0e-6"], "min_mass = 1e-06 with exact: false"),
        (["min_mass=1"], "min_mass: found 1, expected"),
        (["--resume"], "found no comparison"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(
    overrides: list[str],
    said: str,
    comparison: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", str(comparison), f"output={tmp_path}/runs", *overrides]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_is_never_overwritten_nor_shared(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(comparison), f"output={tmp_path}/runs", "name=x"]
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    assert main(command) == 2
    assert "already exists and is never overwritten; pass --resume" in capsys.readouterr().err
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2);"
        "print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert main([*command, "--resume"]) == 2
        other.terminate()
    assert "found it in use by another comparison" in capsys.readouterr().err


def test_a_run_is_never_gone_on_with_under_other_settings(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(comparison), f"output={tmp_path}/runs", "name=x", "--resume"]
    (tmp_path / "runs/x/recipes").mkdir(parents=True)
    (tmp_path / "runs/x/.lock").touch()
    stored = tmp_path / "runs/x/recipes/subtb-seed1.json"
    (run,) = [r for r in plan(*load_comparison(comparison, command[2:4])) if r.recipe == stored]
    stored.write_text(run.config.model_copy(update={"alpha": 0.5}).model_dump_json())
    assert main(command) == 2
    assert "subtb-seed1.json: found another alpha than" in capsys.readouterr().err
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


def without_costs(summary: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when a comparison was interrupted."""
    for method in [*summary["methods"].values(), summary["start"]]:
        for each in [method.get("spent", {}), *(run["spent"] for run in method["runs"])]:
            for clock in ("wall_seconds", "cpu_seconds"):
                each.pop(clock, None)
    return summary


def test_runs_that_are_finished_are_not_begun_again_and_take_no_core(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, recipes = load_comparison(comparison, [f"output={tmp_path}", "name=x", "jobs=8"])
    runs = plan(settings, recipes)
    own = Measured(split="id", episodes=4, samples_per_start=2, seed=0)
    write_measured(runs[0].folder / "evaluation.json", {"before": [own], "after": [own]})
    for split in settings.splits:
        runs[0].exact_file(split).write_text("{}")
    begun = []

    def all_done(jobs: Sequence[Job], *, at_a_time: int, **_: Any) -> bool:
        begun.append(([job.name for job in jobs], at_a_time))
        return True

    module = sys.modules["gflowvlm.launch.compare"]  # the package lends its name to a function
    monkeypatch.setattr(module, "run_jobs", all_done)
    assert module._run(settings, runs, 0) == {}
    assert begun == [(["subtb-seed0", "sft-seed1", "subtb-seed1"], 3)]


def test_what_learns_from_given_replies_ends_by_its_own_number_of_updates(
    comparison: Path,
) -> None:
    spin = COMPARISON.replace("{type: sft, episodes: 4}", "{type: spin, episodes: 5}")
    comparison.write_text(spin.replace("      trainer.max_updates: 2\n", ""))
    run = plan(*load_comparison(comparison, ["output=somewhere"]))[0]
    own = load(ROOT / "configs/number_line/subtb.yaml").trainer.max_updates
    assert (run.config.trainer.max_updates, run.config.expert_games) == (own, 5)


def test_a_run_that_was_measured_by_other_games_is_measured_anew(
    comparison: Path, tmp_path: Path
) -> None:
    runs = plan(*load_comparison(comparison, [f"output={tmp_path}", "name=x"]))
    assert not runs[0].measured
    own = Measured(split="id", episodes=4, samples_per_start=2, seed=0)
    for others in ({"episodes": 10}, {"seed": 7}, {"split": "ood"}, {"samples_per_start": 1}):
        other = replace(own, **others)  # by `gflowvlm evaluate` on the run's folder
        file = runs[0].folder / "evaluation.json"
        write_measured(file, {"before": [other], "after": [own]})
        assert (runs[0].trained, runs[0].measured) == (True, False)
        write_measured(file, {"before": [own], "after": [other]})
        assert (runs[0].trained, runs[0].measured) == (True, False)
        write_measured(file, {"before": [own], "after": [own]})
        assert runs[0].measured
    expected = "--episodes 4 --samples-per-start 2 --seed 0 --split id --start"
    assert runs[0].measuring() == ["evaluate", str(runs[0].folder), *expected.split()]


def test_in_a_game_too_large_for_its_law_the_middle_of_two_limits_is_compared(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"output={tmp_path}", "name=x", "min_mass=1.0e-6"]
    settings, recipes = load_comparison(comparison, changes)
    runs = plan(settings, recipes)
    assert runs[0].reading("id")[-2:] == ["--min-mass", "1e-06"]
    for run, low in zip(runs, (0.40, 0.30, 0.44, 0.31), strict=True):
        own = Measured(split="id", episodes=4, samples_per_start=2, seed=run.seed)
        write_measured(run.folder / "evaluation.json", {"before": [own], "after": [own]})
        limits = {"reach": {"low": low, "high": low + 0.02}}
        laws = {"model": limits, "start model": {"reach": {"low": 0.1, "high": 0.15}}}
        (run.folder / "exact.json").write_text(json.dumps({"id": laws}))
        run.keep_exact("id", None)
        saved = run.folder / "checkpoints/step_000002"
        saved.mkdir(parents=True)
        (saved / "state.json").write_text('{"step": 2}')
    summary = sys.modules["gflowvlm.launch.compare"]._summarise(settings, runs, {})
    found = json.loads(summary.read_text())
    sft, subtb = (found["methods"][each]["aggregate"]["id"] for each in ("sft", "subtb"))
    assert sft["computed_reach"]["value"] == pytest.approx((0.41 + 0.45) / 2)
    assert subtb["computed_reach"]["value"] == pytest.approx((0.31 + 0.32) / 2)
    assert found["start"]["aggregate"]["id"]["computed_reach"]["value"] == pytest.approx(0.125)
    assert "tv" not in sft
    assert found["figures"]["computed_reach"]["label"] == "reach, computed, +-2.50 points"
    assert "computed, +-2.50 points" in capsys.readouterr().out
    other = plan(settings.model_copy(update={"min_mass": 1e-7}), recipes)[0]
    assert (runs[0].inexact, other.inexact) == ([], ["id"])  # more exact ones are still to come


@pytest.mark.slow
def test_killed_half_way_and_resumed_it_comes_to_the_same_summary(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = ["compare", str(comparison), "name=x", "jobs=2"]
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "gflowvlm", *command, f"output={parts}"], env=environment
    )
    begun, deadline = parts / "x/subtb-seed0/checkpoints/step_000001", time.monotonic() + 300
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    assert not (parts / "x/comparison.json").exists()
    arguments = [sys.executable, "-m", "gflowvlm", *command]
    for output, more in ((parts, ["--resume"]), (whole, [])):
        subprocess.run([*arguments, f"output={output}", *more], env=environment, check=True)
    one, other = (
        without_costs(json.loads((output / "x/comparison.json").read_text()))
        for output in (parts, whole)
    )
    assert one["methods"].keys() == {"sft", "subtb"}
    assert one["missing"] == {}
    spent = one["methods"]["subtb"]["spent"]
    assert 16 <= spent["environment_steps"] < 16 + 12
    assert one["methods"]["sft"]["spent"]["environment_steps"] == 0
    assert 0 < one["methods"]["subtb"]["aggregate"]["id"]["tv"]["value"] < 1
    assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    before = (parts / "x/subtb-seed0/metrics.jsonl").stat().st_mtime_ns
    assert main([*command, f"output={parts}", "--resume"]) == 0  # nothing is left to do
    assert (parts / "x/subtb-seed0/metrics.jsonl").stat().st_mtime_ns == before
    shown = capsys.readouterr().out
    assert "4 runs, 4 of them done" in shown
    assert "no winner is named below 3 seeds" in shown
