"""A few games' replies during training: a table for people, JSON lines for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from gflowvlm.objectives.work import Sample
from gflowvlm.trainer.lines import StepLines

SAMPLES_FILE = "samples.jsonl"


class SampleLog:
    """Keeps samples in a run's folder, one line a reply."""

    def __init__(self, run_dir: Path, *, resumed_step: int = 0) -> None:
        """Continue after `resumed_step`: what was kept beyond it is dropped."""
        self._lines = StepLines(run_dir / SAMPLES_FILE, resumed_step=resumed_step)

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        """Keep the samples of one update."""
        for sample in samples:
            self._lines.write(step, asdict(sample))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def sample_table(step: int, samples: Sequence[Sample]) -> Table:
    """Replies in the order they were given, game by game, log-probs in nats."""
    table = Table(title=f"update {step}: replies", title_justify="left")
    table.add_column("reply", ratio=1, overflow="fold")
    for name in ("action", "reward", "log pf", "log ref"):
        table.add_column(name, justify="right", no_wrap=True)
    for _, game in groupby(samples, key=lambda sample: sample.episode):
        replies = list(game)
        for sample in replies:
            table.add_row(
                Text(sample.reply),
                Text("-none-" if sample.action is None else sample.action),
                f"{sample.reward:g}",
                f"{sample.log_pf:.2f}",
                f"{sample.log_ref:.2f}",
            )
        total_pf, total_ref = (sum(getattr(s, n) for s in replies) for n in ("log_pf", "log_ref"))
        table.add_row(
            Text(f"log R {replies[0].log_reward:g}", "dim"),
            "",
            f"{sum(sample.reward for sample in replies):g}",
            f"{total_pf:.2f}",
            f"{total_ref:.2f}",
            style="bold",
            end_section=True,
        )
    return table
