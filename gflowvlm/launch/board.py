"""How far each run of a comparison has come: live bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gflowvlm.launch.contest import Run
from gflowvlm.launch.jobs import Job
from gflowvlm.trainer.lines import read_lines
from gflowvlm.trainer.tracking import METRICS_FILE

_EVERY = 2.0  # seconds between looks at what a run has logged
_LINE_EVERY = 60.0  # seconds between a run's lines where there is no terminal
_SHOWN = ("reach", "strict", "nats_per_token")


class Board:
    """One line per run."""

    def __init__(self, runs: Sequence[Run], environment_steps: int) -> None:
        self._runs = {run.name: run for run in runs}
        self._budget = environment_steps
        self._began: dict[str, float] = {}  # of runs that go on
        self._said: dict[str, float] = {}
        self._looked = 0.0
        self._console = Console(file=sys.stdout)
        self._bars = _bars(self._console) if self._console.is_terminal else None
        self._tasks: dict[str, TaskID] = {}

    def tell(self, what: str, job: Job | None) -> None:
        """Note an event of `run_jobs`."""
        now = time.monotonic()
        if job is None:
            self._look(now)
            return
        run = self._runs[job.name]
        if what == "begun":
            self._began[run.name] = self._said[run.name] = now
            self._show(run, "begun")
            return
        seconds = now - self._began.pop(run.name)
        said = "done" if run.finished else f"failed: {job.failure} (see {run.log})"
        self._show(run, f"{said}, {seconds:.0f} s" if run.finished else said, whole=run.finished)

    def say(self, text: str) -> None:
        """Print a line without tearing the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        finished = sum(run.finished for run in self._runs.values())
        self.say(f"{len(self._runs)} runs, {finished} of them done")
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _look(self, now: float) -> None:
        """Read what the running runs have logged since."""
        if now - self._looked < _EVERY:
            return
        self._looked = now
        for name in self._began:
            if self._bars is None and now - self._said[name] < _LINE_EVERY:
                continue
            self._said[name] = now
            lines = read_lines(self._runs[name].folder / METRICS_FILE)
            if lines:
                share = self._share(name, lines[-1])
                text = _metrics(lines[-1]) + ("  measuring" if share >= 1 else "")
                self._show(self._runs[name], text, done=share)

    def _share(self, name: str, line: Mapping[str, Any]) -> float:
        """Of the run that is done: of its budget or of its updates, whichever is closer."""
        steps = line.get("environment_steps", 0) / self._budget
        return max(steps, line["step"] / self._runs[name].config.trainer.max_updates)

    def _show(self, run: Run, text: str, *, done: float | None = None, whole: bool = False) -> None:
        if self._bars is None:
            percent = "" if done is None else f"{min(done, 1):4.0%}  "
            self.say(f"{run.name}: {percent}{text}")
            return
        if run.name not in self._tasks:
            self._tasks[run.name] = self._bars.add_task(run.name, total=1.0, text="")
        share = 1.0 if whole else done
        self._bars.update(self._tasks[run.name], completed=share, text=text)
        if run.name not in self._began:
            self._bars.stop_task(self._tasks[run.name])


def _metrics(line: Mapping[str, Any]) -> str:
    shown = [f"{name} {float(line[name]):.3g}" for name in _SHOWN if name in line]
    return "  ".join([f"update {line['step']}", *shown])


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
    )
