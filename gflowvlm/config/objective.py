"""Which balance loss trains the policy."""

from typing import Annotated, Literal

from pydantic import Field

from gflowvlm.config.section import Section


class TrajectoryBalance(Section):
    """Whole episodes against their start's log Z (Malkin et al. 2022, eq. 14)."""

    type: Literal["tb"] = "tb"
    log_z: Literal["head", "group"] = "head"
    """`head` reads log Z(h_0) from the flow head; `group` takes the mean over the start's group."""


class VarianceTrajectoryBalance(Section):
    """Variance of the log Z that each episode of a group implies (Zhang et al. 2023, eq. 4)."""

    type: Literal["var_tb"] = "var_tb"


class DetailedBalance(Section):
    """Every single decision against the flows on its two sides (Bengio et al. 2023)."""

    type: Literal["db"] = "db"
    forward_looking: bool = False
    """Whether flows are learned as what is to come, with the accrued log-reward added to them."""


class SubTrajectoryBalance(Section):
    """Every piece of an episode, weighted by its length (Madan et al. 2023)."""

    type: Literal["subtb"] = "subtb"
    decay: float = Field(default=0.9, gt=0, allow_inf_nan=False)
    """Weight of a piece of n+1 decisions relative to one of n; above 1 favours long pieces."""
    forward_looking: bool = False
    """Whether flows are learned as what is to come, with the accrued log-reward added to them."""


class DoneDetailedBalance(Section):
    """Detailed balance of prefixes that the policy may end by DONE (Kang et al. 2025)."""

    type: Literal["db_done"] = "db_done"


class DoneSubTrajectoryBalance(Section):
    """Every piece between two prefixes that DONE may end (Hu et al. 2023, eq. 3)."""

    type: Literal["subtb_done"] = "subtb_done"
    decay: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight of a piece of n+1 decisions relative to one of n; the paper's sum has equal ones."""


OFF_POLICY = (
    TrajectoryBalance,
    VarianceTrajectoryBalance,
    DetailedBalance,
    SubTrajectoryBalance,
    DoneDetailedBalance,
    DoneSubTrajectoryBalance,
)
"""Objectives whose residuals can all be zero where transitions are deterministic, so that episodes
of any origin may enter without weights; every other one is kept to its own policy's."""

ObjectiveConfig = Annotated[
    TrajectoryBalance
    | VarianceTrajectoryBalance
    | DetailedBalance
    | SubTrajectoryBalance
    | DoneDetailedBalance
    | DoneSubTrajectoryBalance,
    Field(discriminator="type"),
]
