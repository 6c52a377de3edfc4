from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gflowvlm.batch import StepScores
from gflowvlm.config.training import TrainerConfig
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Sample, Work
from gflowvlm.trainer.lines import read_lines
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.samples import SAMPLES_FILE


def sample(decision: int) -> Sample:
    return Sample(
        episode=4,
        decision=decision,
        reply='{"action": "[+]"}',  # rich would swallow the brackets as markup
        action="[+]" if decision else None,
        reward=1.0,
        log_pf=-0.25,
        log_ref=-0.5,
        log_reward=-3.0,
    )


class Talk:
    """A method, and a policy of one number, whose updates come with two replies each."""

    def __init__(self) -> None:
        self.number = torch.nn.Parameter(torch.zeros(()))

    def prepare(self, update: int) -> Iterator[Work]:
        yield Work(
            episodes=[[None]],  # type: ignore[list-item]
            loss=lambda scores, part: ObjectiveOutput(loss=self.number**2, metrics={}),
            couples_rows=False,
            share=lambda part: 1.0,
            metrics={},
            samples=[sample(0), sample(1)],
        )

    def score(self, rows: object) -> StepScores:
        nothing = torch.zeros(1)
        return StepScores(
            thought_log_prob=nothing,
            action_log_prob=nothing,
            entropy=nothing,
            flow=None,
            token_log_prob=nothing,
            token_decision=nothing.long(),
        )

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


def run(folder: Path, *, every: int, updates: int, done: int = 0) -> None:
    talk = Talk()
    trainer = Trainer(
        policy=talk,  # type: ignore[arg-type]
        method=talk,
        optimizer=torch.optim.AdamW([{"params": [talk.number], "name": "adapter"}]),
        config=TrainerConfig(max_updates=updates, samples_every=every, trackers=()),
        run_dir=folder,
    )
    assert trainer.run(done=done)


def test_replies_are_shown_and_kept_every_so_many_updates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, every=2, updates=5)
    lines = read_lines(tmp_path / SAMPLES_FILE)
    assert [(line["step"], line["decision"]) for line in lines] == [
        (1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 1),
    ]  # fmt: skip
    assert (lines[1]["action"], lines[0]["action"], lines[0]["log_ref"]) == ("[+]", None, -0.5)
    shown = capsys.readouterr().out
    assert shown.count("replies") == 3
    assert "[+]" in shown
    assert "-1.00" in shown  # log ref of both replies together


def test_a_resumed_run_keeps_no_sample_twice(tmp_path: Path) -> None:
    run(tmp_path, every=1, updates=4)
    run(tmp_path, every=1, updates=4, done=2)
    assert [line["step"] for line in read_lines(tmp_path / SAMPLES_FILE)] == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
    ]


def test_zero_turns_samples_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, every=0, updates=2)
    assert not (tmp_path / SAMPLES_FILE).exists()
    assert "replies" not in capsys.readouterr().out
