"""Commands in processes of their own, some at a time; stopped together, politely."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gflowvlm.trainer.signals import stop_on_signal

Steps = Generator[list[str], int, str | None]
"""Yields the arguments of each `gflowvlm` command, is sent its exit code, and returns why the job
has failed, None where it has not."""

_PATIENCE = 300.0  # seconds that all have for finishing an update and saving
_PAUSE = 0.2  # seconds between looks


@dataclass
class Job:
    """A chain of commands whose output goes to one log."""

    name: str
    log: Path
    steps: Steps
    failure: str | None = field(default=None, init=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def begin(self, threads: int, keep_open: int) -> bool:
        """Start the first command; False where there is nothing to do."""
        self._threads, self._keep_open = threads, keep_open
        return self._go_on(None)

    def look(self) -> bool:
        """Start the next command if one has ended; False once all have."""
        assert self._process is not None
        code = self._process.poll()
        return True if code is None else self._go_on(code)

    def ask_to_stop(self) -> None:
        """A run then finishes its update and saves."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> None:
        """For the command that was asked to stop.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer.
        """
        if self._process is not None:
            self._process.wait(seconds)

    def last_line(self, code: int) -> str:
        """What the log ends with, or what ended a command that could not say it."""
        if code < 0:
            return f"ended by signal {-code}"
        text = self.log.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {code}, nothing said"

    def _go_on(self, code: int | None) -> bool:
        try:
            command = next(self.steps) if code is None else self.steps.send(code)
        except StopIteration as end:
            self.failure = end.value
            self._process = None
            return False
        with self.log.open("ab") as output:
            output.write(f"$ gflowvlm {' '.join(command)}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gflowvlm", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
                start_new_session=True,  # Ctrl-C reaches it through `ask_to_stop` alone
                pass_fds=(self._keep_open,),
            )
        return True


def run_jobs(
    jobs: Sequence[Job],
    *,
    at_a_time: int,
    keep_open: int,
    tell: Callable[[str, Job | None], None],
) -> bool:
    """Run all; one that fails does not keep the others from going on.

    Args:
        jobs: in the order in which they begin.
        at_a_time: processes side by side; they share the cores.
        keep_open: a file that every process holds open, so that its lock outlives this one.
        tell: is told "begun" and "ended" of jobs, and "time" every so often.

    Returns:
        False if a signal asked to stop: what was running has saved and can go on later.
    """
    threads = max(1, cores() // at_a_time)
    waiting, running = list(jobs), []
    with stop_on_signal() as request:
        try:
            while (waiting or running) and not request.stop_requested:
                while waiting and len(running) < at_a_time:
                    job = waiting.pop(0)
                    tell("begun", job)
                    if job.begin(threads, keep_open):
                        running.append(job)
                    else:
                        tell("ended", job)
                time.sleep(_PAUSE)
                for job in [job for job in running if not job.look()]:
                    running.remove(job)
                    tell("ended", job)
                tell("time", None)
        finally:
            _stop(running)
    return not request.stop_requested


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stop(running: Sequence[Job]) -> None:
    """Ask all, wait for all; whoever does not come in time, or when asked twice, is killed."""
    for job in running:
        job.ask_to_stop()
    try:
        deadline = time.monotonic() + _PATIENCE
        for job in running:
            job.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for job in running:
            job.kill()
