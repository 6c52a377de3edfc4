import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.launch.jobs import Job, Steps, run_jobs


def job(folder: Path, name: str, *commands: list[str]) -> Job:
    """Ends at the first command that fails, with the last line of its log."""

    def steps() -> Steps:
        for command in commands:
            code = yield command
            if code:
                return made.last_line(code)
        return None

    made = Job(name=name, log=folder / f"{name}.log", steps=steps())
    return made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bool, list[str]]]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def run_all(*jobs: Job, at_a_time: int = 1) -> tuple[bool, list[str]]:
        events: list[str] = []
        with (tmp_path / "lock").open("w") as file:
            done = run_jobs(
                jobs,
                at_a_time=at_a_time,
                keep_open=file.fileno(),
                tell=lambda what, job: events.append(f"{what} {job.name}") if job else None,
            )
        return done, events

    return run_all


def test_one_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, run: Callable[..., tuple[bool, list[str]]]
) -> None:
    bad = job(tmp_path, "bad", ["--version"], ["nonsense"], ["--version"])
    good, nothing = job(tmp_path, "good", ["--version"]), job(tmp_path, "nothing")
    done, events = run(bad, nothing, good)
    assert done
    assert events == [f"{w} {n}" for n in ("bad", "nothing", "good") for w in ("begun", "ended")]
    assert (good.failure, nothing.failure) == (None, None)
    assert bad.failure is not None
    assert "nonsense" in bad.failure
    assert bad.log.read_text().count("$ gflowvlm") == 2  # the third was never begun


def test_a_signal_stops_what_runs_and_begins_nothing_more(
    tmp_path: Path, run: Callable[..., tuple[bool, list[str]]]
) -> None:
    # a recipe that never comes: a pipe that nobody writes to
    os.mkfifo(tmp_path / "pipe")
    first = job(tmp_path, "first", ["config", str(tmp_path / "pipe")])
    second = job(tmp_path, "second", ["--version"])
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    done, events = run(first, second)
    assert not done
    assert events == ["begun first"]
    assert not second.log.exists()
