"""Methods x seeds from one start on one budget, each run in a process of its own."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from gflowvlm.config.comparison import CompareConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.errors import UserError
from gflowvlm.evaluation.comparison import summarise
from gflowvlm.evaluation.comparison_table import print_comparison
from gflowvlm.files import write_json
from gflowvlm.launch.board import Board
from gflowvlm.launch.contest import Run, plan, write_recipes
from gflowvlm.launch.jobs import Job, Steps, cores, run_jobs
from gflowvlm.pocket.folder import find_adapter
from gflowvlm.rollouts.environments import make_environment

COMPARISON_FILE = "comparison.json"
_LOCK_FILE = ".lock"
_USER_ERROR = 2


def compare(
    comparison: CompareConfig, recipes: Mapping[str, RunConfig], *, resume: bool
) -> tuple[Path, list[str]]:
    """Train and measure every method with every seed, then print and write the summary.

    Runs that have finished are kept, those that have begun go on from their newest checkpoint.

    Args:
        comparison: what is compared.
        recipes: label -> recipe of each method, see `config.load.load_comparison`.
        resume: go on with the comparison's folder; without it the folder must be new.

    Returns:
        `comparison.json`, and the runs that are missing from it because they failed.

    Raises:
        UserError: methods that cannot be compared, or a folder that is there, is not there, is in
            use, or holds runs with other settings.
        KeyboardInterrupt: a signal asked to stop; `resume` goes on from there.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "found several processes, expected 1: start a comparison without a launcher; it runs "
            "its own processes, see jobs"
        )
    runs = plan(comparison, recipes)
    _require_parts(comparison, runs[0].config)
    with _held(comparison.folder, resume=resume) as lock:
        write_recipes(runs)
        failed = _run(comparison, runs, lock)
        return _summarise(comparison, runs, failed), list(failed)


def _require_parts(comparison: CompareConfig, config: RunConfig) -> None:
    """A start or a split that does not exist, or fit, fails here, not in every run."""
    if config.policy.start is not None:
        find_adapter(config.policy.start, config.policy.model)
    environment = config.environment
    for split in comparison.splits:
        make_environment(environment.id, split, environment.kwargs).close()


@contextmanager
def _held(folder: Path, *, resume: bool) -> Iterator[int]:
    """The comparison's folder, for nobody else; gives a file whose lock its processes share."""
    if resume and not (folder / _LOCK_FILE).is_file():
        raise UserError(
            f"{folder}: found no comparison, expected one to go on with: leave --resume"
        )
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} already exists and is never overwritten; pass --resume to go on with it, "
            "or another name=..."
        )
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: found it in use by another comparison, or by runs that one has left "
                "behind, expected none: wait until they end, or end them"
            ) from error
        yield file.fileno()


def _run(comparison: CompareConfig, runs: Sequence[Run], lock: int) -> dict[str, str]:
    """Do what is left; gives the last line of each run that failed."""
    left = [run for run in runs if not run.finished]
    jobs = {run.name: _job(run) for run in left}
    with Board(runs, comparison.environment_steps) as board:
        done = run_jobs(
            list(jobs.values()),
            at_a_time=min(_at_a_time(comparison, runs[0].config), max(1, len(jobs))),
            keep_open=lock,
            tell=board.tell,
        )
        if not done:
            board.say("stopped; what was running has saved, --resume goes on from there")
            raise KeyboardInterrupt
    return {name: job.failure for name, job in jobs.items() if job.failure is not None}


def _job(run: Run) -> Job:
    """Train, measure, and where it is asked for compute."""

    def steps() -> Steps:
        if not run.trained:
            code = yield run.training()
            if code != 0 or not run.trained:
                return job.last_line(code)
        if not run.measured:
            code = yield run.measuring()
            if code != 0 or not run.measured:
                return job.last_line(code)
        for split in run.inexact:
            code = yield run.reading(split)
            if code not in (0, _USER_ERROR):
                return job.last_line(code)
            # too large a game: said beside the other splits' figures, and no failure of the run
            run.keep_exact(split, None if code == 0 else job.last_line(code))
        return None

    job = Job(name=run.name, log=run.log, steps=steps())
    return job


def _at_a_time(comparison: CompareConfig, config: RunConfig) -> int:
    if comparison.jobs is not None:
        return comparison.jobs
    return 1 if config.policy.device != "cpu" and torch.accelerator.is_available() else cores()


def _summarise(comparison: CompareConfig, runs: Sequence[Run], failed: Mapping[str, str]) -> Path:
    finished = [run for run in runs if run.finished]
    labels = list(comparison.methods)
    summary = summarise(
        {
            "name": comparison.name,
            "environment_steps": comparison.environment_steps,
            "seeds": list(comparison.seeds),
            "splits": list(comparison.splits),
            "episodes": comparison.episodes,
            "samples_per_start": comparison.samples_per_start,
        },
        {label: [r.figures() for r in finished if r.label == label] for label in labels},
        [run.figures("before") for run in finished if run.label == labels[0]],
        failed,
    )
    path = write_json(comparison.folder / COMPARISON_FILE, summary)
    print_comparison(summary)
    return path
