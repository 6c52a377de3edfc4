"""From a config section to an objective."""

from typing import assert_never

from gflowvlm.config.objective import (
    DetailedBalance,
    DoneDetailedBalance,
    DoneSubTrajectoryBalance,
    ObjectiveConfig,
    SubTrajectoryBalance,
    TrajectoryBalance,
    VarianceTrajectoryBalance,
)
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.done import DoneFlow
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)


def build_objective(config: ObjectiveConfig) -> Objective:
    """The objective that `config` names."""
    match config:
        case TrajectoryBalance():
            return VarianceLoss() if config.log_z == "group" else TrajectoryBalanceLoss()
        case VarianceTrajectoryBalance():
            return VarianceLoss()
        case DetailedBalance():
            loss = DetailedBalanceLoss()
            return ForwardLooking(loss) if config.forward_looking else loss
        case SubTrajectoryBalance():
            loss = SubTrajectoryBalanceLoss(config.decay)
            return ForwardLooking(loss) if config.forward_looking else loss
        case DoneDetailedBalance():
            return DoneFlow(DetailedBalanceLoss())
        case DoneSubTrajectoryBalance():
            return DoneFlow(SubTrajectoryBalanceLoss(config.decay))
        case _:
            assert_never(config)
