"""Two processes on the embedded model: the same run as on one, and none left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from gflowvlm.cli import main
from gflowvlm.trainer.checkpoint import complete
from gflowvlm.trainer.tracking import read_metrics

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/number_line/subtb.yaml")
SMALL = [
    "name=run",
    "policy.start=null",
    "policy.actions=constrained",
    "policy.temperature=1.2",  # at 1.5 one draw of 550 lay 4e-8 from another token; here 2e-5
    "alpha=0.5",  # at 1 there is nothing to learn while all games end alike
    "environment.kwargs={high: 2, limit: 3}",
    "trainer.groups_per_update=2",
    "trainer.group_size=3",
    "trainer.schedule=constant",
    "trainer.warmup_updates=0",
    "trainer.checkpoint_every=1",
    "evaluation.splits=[id]",
    "evaluation.episodes=2",
    "evaluation.samples_per_start=1",
    "evaluation.at_start=false",
]
JOINED = ["replay.share=0.25", "expert.share=0.2"]  # three and two beside six own episodes
LONGEST = 900  # seconds; a launch takes ten on an idle machine
SUPERVISED = ["objective={type: sft, episodes: 6}"]
REINFORCED = ["objective={type: ppo, epochs: 2, minibatches: 2}"]

Launch = Callable[..., int]


def arguments(output: Path, *more: str) -> list[str]:
    return ["train", RECIPE, f"output={output}", *SMALL, *more]


@contextmanager
def torchrun(output: Path, *more: str) -> "Iterator[subprocess.Popen[str]]":
    """Two processes of the command; whatever the test finds, none of them outlives it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "gflowvlm", *arguments(output, *more)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()  # a launcher ends its own
        process.communicate(timeout=60)


def require_equal_runs(one: Path, two: Path) -> None:
    """Metrics but for times, the figures of the evaluation, adapter and heads."""
    assert all(line["gradient_norm"] > 0.01 for line in read_metrics(one))
    for alone, together in zip(read_metrics(one), read_metrics(two), strict=True):
        assert alone.keys() == together.keys()
        for name in alone.keys() - {"seconds_prepare", "seconds_step"}:
            assert together[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-4), name
    weights = [
        load_file(run / "adapter" / "adapter_model.safetensors")
        | (load_file(heads) if (heads := run / "adapter" / "heads.safetensors").exists() else {})
        for run in (one, two)
    ]
    assert weights[0].keys() == weights[1].keys()
    off = torch.cat(
        [
            ~torch.isclose(weights[1][name], expected, atol=5e-4, rtol=1e-3).flatten()
            for name, expected in weights[0].items()
        ]
    )
    # Adam divides by the gradient's own size: where that is nothing but rounding, an entry may
    # differ by a step of it (2e-3). Such are few; a wrong gradient moves all of them.
    assert off.sum() <= off.numel() / 10_000
    require_equal_figures(*(json.loads((r / "evaluation.json").read_text()) for r in (one, two)))


def require_equal_figures(one: Any, two: Any) -> None:
    """The same figures, but that the entropy of replies moves a little with padding."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name in one:
            require_equal_figures(one[name], two[name])
    elif isinstance(one, list):
        for pair in zip(one, two, strict=True):
            require_equal_figures(*pair)
    else:
        assert two == (pytest.approx(one, abs=1e-3) if isinstance(one, float) else one)


def test_torchrun_trains_as_one_process_does_and_one_resumes_what_two_began(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(arguments(alone, *JOINED, "trainer.max_updates=3")) == 0
    # Passes of two rows cut through the groups of three, which must not be seen in any number.
    begun = [*JOINED, "trainer.max_updates=2", "trainer.rows_per_pass=2"]
    with torchrun(together, *begun) as launcher:
        said, _ = launcher.communicate(timeout=LONGEST)
    assert launcher.returncode == 0, said
    assert said.count("run: ") == 1
    assert main(arguments(together, *JOINED, "trainer.max_updates=3", "--resume")) == 0
    require_equal_runs(alone / "run", together / "run")
    assert read_metrics(alone / "run")[1]["replay/share"] > 0.15
    assert read_metrics(alone / "run")[1]["expert/share"] > 0.1


@pytest.mark.parametrize(
    "method", [["objective={type: var_tb}", *JOINED], SUPERVISED, REINFORCED], ids=str
)
def test_rows_that_couple_and_weights_by_token_are_as_on_one_process(
    method: list[str], two_processes: Launch, tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    both = [*method, "trainer.max_updates=2"]
    assert main(arguments(alone, *both)) == 0
    assert two_processes(main, arguments(together, *both, "trainer.rows_per_pass=2")) == 0
    require_equal_runs(alone / "run", together / "run")


def test_processes_share_the_games_of_the_expert(two_processes: Launch, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    few = ["objective={type: sft, episodes: 5, general_share: 0.4}", "trainer.max_updates=1"]
    assert main(arguments(alone, *few)) == 0
    assert two_processes(main, arguments(together, *few)) == 0
    sets = [Dataset.load_from_disk(str(output / "run/data")) for output in (alone, together)]
    assert list(sets[1]["episode"]) == list(range(7))
    assert list(sets[0]) == list(sets[1])
    assert not list((together / "run").glob(".data*"))


def test_groups_that_cannot_be_dealt_are_refused_once(
    two_processes: Launch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert two_processes(main, arguments(tmp_path, "trainer.groups_per_update=3")) == 2
    said = capfd.readouterr().err
    assert said.count("found 2 processes and trainer.groups_per_update = 3") == 1
    assert not (tmp_path / "run").exists()


def second_of(launcher: "subprocess.Popen[str]", run: Path, updates: int) -> psutil.Process:
    """The process of rank 1, once the run has logged so many updates."""
    deadline = time.monotonic() + LONGEST
    while len(read_metrics(run)) < updates:
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < deadline, "no update is logged"
        time.sleep(0.1)
    children = psutil.Process(launcher.pid).children()
    return next(child for child in children if child.environ().get("RANK") == "1")


def test_a_signal_to_one_stops_both_and_the_death_of_one_ends_both(tmp_path: Path) -> None:
    run, endless = tmp_path / "run", "trainer.max_updates=5000"
    with torchrun(tmp_path, endless) as launcher:
        second_of(launcher, run, 1).send_signal(signal.SIGTERM)
        said, _ = launcher.communicate(timeout=LONGEST)
    assert launcher.returncode == 0, said
    assert said.count("--resume goes on from there") == 1
    stopped = len(read_metrics(run))
    assert complete(run)[-1].name == f"step_{stopped:06d}"

    with torchrun(tmp_path, endless, "--resume") as launcher:
        second_of(launcher, run, stopped + 1).kill()
        said, _ = launcher.communicate(timeout=LONGEST)
    assert launcher.returncode != 0
    assert "process 0 of 2 lost another one" in said
    assert complete(run)
