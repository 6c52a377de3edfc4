"""The sum over known solutions is what unfolding the whole game gives."""

import importlib
from math import exp
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.config.load import load
from gflowvlm.evaluation.analysis import Target, analyse
from gflowvlm.evaluation.calibration import calibrate
from gflowvlm.evaluation.views import Views
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.policy.walk import Walker
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear

ROOT = Path(__file__).parents[2]


@pytest.fixture
def solutions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("solutions")


def test_success_is_that_of_the_unfolded_game(solutions: Any) -> None:
    policy = VLMPolicy.from_folder(
        MODEL_FOLDER, PolicySettings(actions="constrained", thought=False, max_reply_tokens=8)
    )
    make = make_environment("gflowvlm/EZPoints-v0", "id", {})
    views = Views(make, "gflowvlm/EZPoints-v0", "id")
    starts = list(solutions.starts_of(policy, views))
    laws = [solutions.spread(start, policy.score, 3) for start in starts]
    reward = LogLinear(success=0.0, failure=-8.0, step_cost=0.0, floor=-40.0)
    target = Target(reward=reward, alpha=1.0, beta=1.0)
    exact = calibrate(analyse(views, Walker(policy, batch_size=32), target), views).laws
    solved = [solutions.figures(*each, 64)[0] for each in zip(starts, laws, strict=True)]
    assert sum(solved) / 7 == pytest.approx(exact["model"].reach, abs=1e-5)
    config = load(ROOT / "configs/ez_points/tb.yaml")
    aimed = [sum(solutions.target_of(config, law)) for law in laws]
    assert sum(aimed) / 7 == pytest.approx(exact["exact sampler"].reach, abs=1e-6)
    assert 0.2 < exact["model"].reach < 0.8


def test_games_find_solutions_and_classes_as_often_as_their_probabilities_say(
    solutions: Any,
) -> None:
    start = solutions.Start(names=["a", "b", "c"], classes=["x", "x", "y"], rows=[])
    solved, found, classes = solutions.figures(start, [0.5, 0.25, 0.0], 2)
    assert solved == 0.75
    assert found == pytest.approx((0.75 + 0.4375 + 0) / 3)
    assert classes == pytest.approx((1 - 0.25**2 + 0) / 2)


def test_the_target_weighs_what_fails_too(solutions: Any) -> None:
    config = load(ROOT / "configs/ez_points/tb.yaml")
    assert solutions.target_of(config, [0.1, 0.3]) == pytest.approx(
        [0.1 / (0.4 + 0.6 * exp(-8)), 0.3 / (0.4 + 0.6 * exp(-8))]
    )
    assert solutions.target_of(config.model_copy(update={"alpha": 0.0}), [0.1]) is None
