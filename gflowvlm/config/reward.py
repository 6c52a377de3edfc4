"""How a played game becomes a log-reward; all values in nats."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gflowvlm.config.section import Section


class LogLinearReward(Section):
    """`log R` is one of two values, less a cost for each step beyond the shortest way."""

    type: Literal["log_linear"] = "log_linear"
    success: float = Field(default=0.0, allow_inf_nan=False)
    """log R of a game that reaches its goal by the shortest way, nats."""
    failure: float = Field(default=-8.0, allow_inf_nan=False)
    """log R of a game that does not reach its goal, before the cost of its extra steps, nats."""
    step_cost: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Taken from log R for each extra step, nats."""
    decision_cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Taken from log R for every decision, nats: for environments that cannot say which steps are
    extra (ALFWorld)."""
    progress: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Added to log R in proportion to the share of the goal's conditions that hold, as soon as they
    do, nats; a game that reaches its goal ends with `success` all the same. For environments with
    `info["progress"]` (ALFWorld), and what forward-looking objectives look at."""
    expected: bool = False
    """Whether an end left to chance counts by its mean, `success` and `failure` weighed by
    `info["success_chance"]`, where the environment says it (Blackjack: of standing). On-policy the
    mean gradient of tb, var_tb, reverse_kl and of policy gradients stays what it is, with less
    luck in it."""
    floor: float = Field(default=-40.0, allow_inf_nan=False)
    """Least log R, nats."""

    @model_validator(mode="after")
    def _floor_is_below(self) -> "LogLinearReward":
        if not self.floor <= self.failure < self.success:
            raise ValueError(
                f"found floor {self.floor}, failure {self.failure}, success {self.success}; "
                "expected floor <= failure < success: change one of them"
            )
        if self.progress > self.success - self.failure:
            raise ValueError(
                f"found progress {self.progress}, expected at most success - failure = "
                f"{self.success - self.failure}: a goal half reached must not count for more"
            )
        return self


class ExpReturnReward(Section):
    """`log R` is the environment's own return, scaled."""

    type: Literal["exp_return"] = "exp_return"
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Nats per unit of the undiscounted return."""
    floor: float = Field(default=-40.0, allow_inf_nan=False)
    """Least log R, and that of every game ended by an invalid reply, nats."""


class PaperReward(Section):
    """GFlowVLM's own reward (Kang et al. 2025); positive at every history of a game."""

    type: Literal["paper"] = "paper"
    form: Literal["distance", "outcome", "return"] = "distance"
    """R of NumberLine, 100 / (steps to go + 1), of Blackjack, 10 (return + 1), or of ALFWorld, the
    return itself: 50 for the goal and 1 for each of its conditions."""
    floor: float = Field(default=-23.02585, allow_inf_nan=False)
    """Least log R, and that of every game ended by an invalid reply, nats; the paper's 1e-10."""


RewardConfig = Annotated[
    LogLinearReward | ExpReturnReward | PaperReward, Field(discriminator="type")
]
