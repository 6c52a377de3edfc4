"""Flows as what has accrued plus what is to come."""

from dataclasses import dataclass, replace
from typing import ClassVar

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.errors import UserError
from gflowvlm.objectives.base import Objective, ObjectiveOutput


@dataclass(frozen=True)
class ForwardLooking:
    """Another objective with `log F(h_t) = log F~(h_t) + beta * l_t` (Pan et al. 2023, eq. 7).

    `l_t` is the log-reward accrued before decision t and `log F~` what the head learns, so that a
    step's cost is felt at that step and the head need not count past ones. At the end
    `l_T = log R` and `log F~ = 0` is pinned, as the terminal entry of `a` takes no flow. The fixed
    point, and with it the law, is that of the objective inside.
    """

    inner: Objective

    couples_rows: ClassVar[bool] = False
    needs_flow: ClassVar[bool] = True

    def __call__(self, batch: TrajectoryBatch) -> ObjectiveOutput:
        """Loss of `batch`."""
        if batch.log_flow is None or batch.log_reward_to_date is None:
            raise UserError(
                "forward_looking needs flows and accrued log-rewards, found none: "
                "set forward_looking to false for this policy"
            )
        flow = batch.log_flow.double() + batch.beta * batch.log_reward_to_date.double()
        return self.inner(replace(batch, log_flow=flow))
