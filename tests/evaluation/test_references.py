"""Scores by kind of task, chance and the expert, on a corridor that nobody can enumerate."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gflowvlm.episode import Observation, Reply
from gflowvlm.evaluation.comparison import RunFigures, summarise
from gflowvlm.evaluation.measure import Measurement, evaluation_plans, measure
from gflowvlm.evaluation.references import References, play_references
from gflowvlm.evaluation.share import Share
from gflowvlm.evaluation.table import print_table, read_measured, write_measured
from gflowvlm.rollouts.collect import Collector
from gflowvlm_envs.contract import ExpertMove

LEFT, RIGHT = 0, 1


class Corridor(gymnasium.Env[Any, Any]):
    """Two steps to the right (kind "near") or four ("far"), in six; the expert may give up."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(0, 255, (2, 2, 3), np.uint8)

    def __init__(self, gives_up: str = "") -> None:
        self.gives_up = gives_up

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.away = self.np_random.choice([2, 4], p=[0.25, 0.75])
        self.kind = "near" if self.away == 2 else "far"
        self.steps = 0
        return self._seen()

    def step(self, action: int) -> Any:
        self.away += 1 if action == LEFT else -1
        self.steps += 1
        image, info = self._seen()
        return image, float(info["success"]), info["success"] or self.steps == 6, False, info

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        info = {
            "legal_actions": ("left", "right"),
            "success": self.away == 0,
            "task_type": self.kind,
        }
        return np.zeros((2, 2, 3), np.uint8), info

    def expert(self, mistakes: float) -> ExpertMove:
        assert mistakes == 0
        if self.kind == self.gives_up:
            raise ValueError("found no way")
        return ExpertMove("on", RIGHT)


class Strays:
    """A policy that goes left once in every game, then right."""

    def session(self, keys: Sequence[Any], **_: Any) -> "Strays":
        return Strays()

    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        self.action = RIGHT if hasattr(self, "action") else LEFT
        reply = Reply(text="", token_ids=(), segment=(), log_probs=(), action=self.action)
        return dict.fromkeys(observations, reply)

    def room(self, slot: int, observation: Observation) -> int:
        return 1000

    def rows(self, slot: int) -> tuple[()]:
        return ()


def corridor(*, max_decisions: int = 256, **arguments: Any) -> Collector:
    return Collector(
        make=partial(Corridor, **arguments),
        environment_id="Corridor",
        split="id",
        run_seed=0,
        room_needed=1,
        max_decisions=max_decisions,
    )


def references(collector: Collector, games: int = 40, samples: int = 2) -> References:
    return play_references(
        ("chance", "expert"), collector, evaluation_plans(collector, games, samples)
    )


@pytest.fixture
def measured() -> Measurement:
    collector = corridor()
    return measure(
        Strays(),  # type: ignore[arg-type]
        collector,
        episodes=40,
        samples_per_start=2,
        temperature=1.0,
        references=references(collector),
    )


def test_references_play_the_very_starts_the_expert_each_once() -> None:
    collector = corridor()
    plans = evaluation_plans(collector, 40, 2)
    played = references(collector)
    assert [(e.seed, e.index) for e in played["chance"]] == [(p.seed, p.index) for p in plans]
    assert [(e.seed, e.group) for e in played["expert"]] == [(p.seed, p.group) for p in plans[::2]]
    for episode in played["expert"]:
        assert episode.success
        assert len(episode.actions) == {"near": 2, "far": 4}[episode.task_type or ""]
    again = references(corridor())
    assert [e.actions for e in again["chance"]] == [e.actions for e in played["chance"]]


def test_chance_is_uniform_and_its_games_differ() -> None:
    games = references(corridor(), games=400)["chance"]
    moves = [action for episode in games for action in episode.actions]
    # standard deviation of a share of 2,000 moves: 0.011
    assert abs(moves.count("right") / len(moves) - 0.5) < 0.05
    assert len({episode.actions for episode in games}) > 30
    near = [episode.success for episode in games if episode.task_type == "near"]
    # the goal is first met after 2, 4 or 6 moves with probability 16/64, 8/64 and 5/64
    assert sum(near) / len(near) == pytest.approx(29 / 64, abs=0.16)


def test_an_expert_that_gives_up_or_goes_on_for_too_long_has_lost() -> None:
    for collector in (corridor(gives_up="far"), corridor(max_decisions=3)):
        games = references(collector)["expert"]
        lost = [episode for episode in games if not episode.success]
        assert {episode.task_type for episode in lost} == {"far"}
        assert {str(episode.ending) for episode in lost} == {"truncated"}


def test_each_kind_counts_alike_in_one_mean_and_each_game_in_the_other(
    measured: Measurement,
) -> None:
    near, far = measured.by_type["near"], measured.by_type["far"]
    assert near.games + far.games == 40
    assert near.games < far.games
    assert (near.reach.value, far.reach.value) == (1, 1)  # four and six steps, of six
    short = measure(
        Strays(),  # type: ignore[arg-type]
        corridor(max_decisions=5),
        episodes=40,
        samples_per_start=2,
        temperature=1.0,
    )
    assert short.by_type["far"].reach.value == 0
    assert short.macro_reach is not None
    assert short.macro_reach.value == 0.5
    assert 0 < short.macro_reach.low < 0.5 < short.macro_reach.high < 1
    assert short.reach.value == near.games / 40
    assert (short.references, short.path_ratio) == ({}, None)


def test_a_won_game_is_held_against_the_expert_s_from_its_start(measured: Measurement) -> None:
    near, far = (measured.by_type[kind].games for kind in ("near", "far"))
    # left once costs two moves: 4 for 2, 6 for 4
    assert measured.path_ratio == pytest.approx((near * 2 + far * 1.5) / 40)


def test_they_come_back_from_the_file_and_the_table_says_who_has_played(
    measured: Measurement, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_measured(tmp_path / "figures.json", {"after": [measured]})
    assert read_measured(path) == {"after": [measured]}
    print_table(read_measured(path))
    shown = capsys.readouterr().out
    for words in ("chance,", "expert,", "played", "near", "far", "mean over types", "expert's"):
        assert words in shown
    assert "optimum" not in shown  # nothing is exact here
    means = next(line for line in shown.splitlines() if "mean over types" in line)
    assert len(re.findall(r"\d%-\d+", means)) == 3  # the policy's, chance's and the expert's


def test_a_mean_over_kinds_written_without_its_interval_is_given_one(
    measured: Measurement, tmp_path: Path
) -> None:
    path = write_measured(tmp_path / "figures.json", {"after": [measured]})
    plain = json.loads(path.read_text())
    for each in (plain["after"][0], *plain["after"][0]["references"].values()):
        assert each["macro_reach"].keys() == {"value", "low", "high"}
        each["macro_reach"] = each["macro_reach"]["value"]
    path.write_text(json.dumps(plain))
    assert read_measured(path) == {"after": [measured]}


def test_a_comparison_shows_their_mean_over_its_runs(measured: Measurement) -> None:
    chance = measured.references["chance"]
    unlucky = replace(chance, reach=Share(value=0, low=0, high=0))
    runs = [
        RunFigures(
            seed=seed,
            folder="",
            objective="tb",
            spent={},
            splits={"id": replace(measured, references={"chance": reference})},
        )
        for seed, reference in enumerate((chance, unlucky))
    ]
    settings = {"splits": ["id"], "samples_per_start": 2, "seeds": [0, 1]}
    summary = summarise(settings, {"tb": runs}, [], {})
    assert summary["references"]["id"] == {
        "chance, played": {"reach": chance.reach.value / 2, "strict": chance.strict.value}
    }
