"""When chance and the expert play beside a run: where nothing is exact, and once for all."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.config.load import load
from gflowvlm.config.schema import RunConfig
from gflowvlm.evaluation import measure as measuring

evaluating = import_module("gflowvlm.launch.evaluate")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who played in which environment; the policy that is measured plays like chance."""
    asked: list[str] = []
    play = evaluating.play_references

    def counted(names: Any, collector: Any, *others: Any) -> Any:
        asked.extend(f"{name} in {collector.environment_id}" for name in names)
        return play(names, collector, *others)

    def by_chance(policy: Any, collector: Any, games: int, samples: int, processes: Any) -> Any:
        plans = measuring.evaluation_plans(collector, games, samples)
        return play(("chance",), collector, plans, processes)["chance"]

    monkeypatch.setattr(evaluating, "play_references", counted)
    monkeypatch.setattr(evaluating, "_REFERENCES", {})
    monkeypatch.setattr(measuring, "play_games", by_chance)
    return asked


def measured(config: RunConfig, **how: Any) -> Any:
    (found,) = evaluating.measure_splits(
        None,  # type: ignore[arg-type]
        config,
        splits=["id"],
        episodes=2,
        samples_per_start=2,
        **how,
    )
    return found


def test_they_play_once_for_all_policies_and_not_at_all_when_left_out(
    played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "examples")
    config = load(Path("frozen_lake.yaml"))
    before, after = measured(config), measured(config)
    assert played == ["chance in frozen_lake:PixelLake-v0", "expert in frozen_lake:PixelLake-v0"]
    assert before.references == after.references
    assert before.references["chance"].reach == before.reach  # the very same games
    assert "expert" not in before.references  # the lake has none
    assert measured(config, references=()).references == {}
    without = load(Path("frozen_lake.yaml"), ["evaluation.references=[]"])
    assert measured(without).references == {}
    assert len(played) == 2


def test_where_numbers_are_exact_nobody_plays(played: list[str]) -> None:
    found = measured(load(ROOT / "configs/number_line/subtb.yaml"))
    assert (played, found.references) == ([], {})
    assert found.chance is not None
