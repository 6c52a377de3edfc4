"""A budget of environment steps ends a run at the right update, also after a resume."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gflowvlm.batch import StepScores
from gflowvlm.config.training import TrainerConfig
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.spending import Spending
from gflowvlm.trainer.tracking import read_metrics


class Walk:
    """A policy and a method in one: update u plays two games of 5 + u decisions together."""

    def __init__(self) -> None:
        self.number = torch.nn.Parameter(torch.ones(()))
        self.prepared: list[int] = []

    def prepare(self, update: int) -> list[Work]:
        self.prepared.append(update)
        work = Work(
            episodes=[[]],
            loss=lambda scores, part: ObjectiveOutput(loss=self.number.square()),
            couples_rows=False,
            share=lambda part: 1.0,
            metrics={},
            episodes_played=2,
            environment_steps=5 + update,
        )
        return [work]

    def score(self, rows: Any) -> StepScores:
        one = self.number[None]
        return StepScores(
            thought_log_prob=one,
            action_log_prob=one,
            entropy=one.detach(),
            flow=None,
            token_log_prob=one,
            token_decision=torch.zeros(1, dtype=torch.long),
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def load(self, folder: Path) -> None:
        pass


def train(folder: Path, **settings: Any) -> tuple[Walk, Trainer]:
    walk = Walk()
    trainer = Trainer(
        policy=walk,  # type: ignore[arg-type]
        method=walk,
        optimizer=torch.optim.AdamW([{"params": [walk.number], "name": "adapter"}]),
        config=TrainerConfig(trackers=(), samples_every=0, **settings),
        run_dir=folder,
    )
    newest = checkpoint.latest_complete(folder)
    assert trainer.run(done=0 if newest is None else trainer.resume(newest))
    return walk, trainer


def test_training_ends_after_the_update_that_uses_up_the_budget(tmp_path: Path) -> None:
    walk, trainer = train(tmp_path, max_environment_steps=18)
    # 5, 5 + 6 = 11, 11 + 7 = 18: the third update reaches it
    assert walk.prepared == [0, 1, 2]
    assert [line["environment_steps"] for line in read_metrics(tmp_path)] == [5, 11, 18]
    assert (trainer.spent.episodes, trainer.spent.gradient_steps) == (6, 3)
    kept = json.loads((tmp_path / "checkpoints/step_000003/state.json").read_text())["spent"]
    assert (kept["environment_steps"], kept["episodes"]) == (18, 6)
    assert kept["wall_seconds"] > 0


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    train(tmp_path, max_updates=2)
    walk, trainer = train(tmp_path, max_environment_steps=19)
    assert walk.prepared == [2, 3]  # 11 so far, then 18 and 26
    assert trainer.spent.environment_steps == 26
    again, _ = train(tmp_path, max_environment_steps=19)
    assert again.prepared == []


def test_the_schedule_runs_over_the_limit_that_comes_first() -> None:
    limits: Any = {"max_updates": 50, "max_environment_steps": 400}
    assert Spending().expected_updates(0, **limits) == 50
    # 10 updates took 100 of 400 steps, a quarter: 40 updates in all
    assert Spending(environment_steps=100).expected_updates(10, **limits) == 40
    assert Spending(environment_steps=60).expected_updates(10, **limits) == 50
    assert Spending(environment_steps=100).expected_updates(
        10, max_updates=50, max_environment_steps=None
    ) == pytest.approx(50)
