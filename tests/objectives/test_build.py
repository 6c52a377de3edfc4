import pytest
from pydantic import TypeAdapter, ValidationError

from gflowvlm.config.objective import ObjectiveConfig
from gflowvlm.objectives.build import build_objective
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)

CONFIG = TypeAdapter(ObjectiveConfig)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"type": "tb"}, TrajectoryBalanceLoss()),
        ({"type": "tb", "log_z": "group"}, VarianceLoss()),
        ({"type": "var_tb"}, VarianceLoss()),
        ({"type": "db"}, DetailedBalanceLoss()),
        ({"type": "subtb"}, SubTrajectoryBalanceLoss(0.9)),
        ({"type": "subtb", "decay": 1.5}, SubTrajectoryBalanceLoss(1.5)),
    ],
)
def test_every_section_builds_its_objective(section: dict[str, object], expected: object) -> None:
    assert build_objective(CONFIG.validate_python(section)) == expected


@pytest.mark.parametrize("decay", [0.0, -1.0, float("inf"), float("nan")])
def test_decay_must_be_positive_and_finite(decay: float) -> None:
    with pytest.raises(ValidationError):
        CONFIG.validate_python({"type": "subtb", "decay": decay})
