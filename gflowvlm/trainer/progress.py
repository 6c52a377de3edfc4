"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressDisplay:
    """Shows update, chosen metrics and the time left.

    `done` updates lie behind a resumed run; they do not count for its speed.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        label: str = "update",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._start, self._label = total, done, label
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._began = clock()
        self._bar = _bar(self._stream) if self._stream.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task(label, total=total, completed=done, metrics="")
            self._bar.start()

    def expect(self, total: int) -> None:
        """Change how many updates there will be."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def advance(self, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Note that `step` updates are done; without metrics only a live bar moves."""
        shown = None if metrics is None else "  ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
            if shown is not None:
                self._bar.update(self._task, metrics=shown)
        elif shown is not None:
            left = _clock_face(self._seconds_left(step))
            line = f"{self._label} {step}/{self._total}  {shown}  left {left}"
            print(line, file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line without tearing the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._stream, flush=True)

    def show(self, what: RenderableType) -> None:
        """Print something of rich's, a table for example, without tearing the bar."""
        console = Console(file=self._stream) if self._bar is None else self._bar.console
        console.print(what)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _seconds_left(self, step: int) -> float:
        since_start = max(step - self._start, 1)
        return (self._clock() - self._began) / since_start * (self._total - step)


def _bar(stream: TextIO) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=Console(file=stream),
    )


def _clock_face(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
