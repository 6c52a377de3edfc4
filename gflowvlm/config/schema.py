"""A whole run: every section, and the rules that span several of them."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from gflowvlm.config.environment import EnvironmentConfig
from gflowvlm.config.objective import (
    DoneDetailedBalance,
    DoneSubTrajectoryBalance,
    ObjectiveConfig,
    TrajectoryBalance,
    VarianceTrajectoryBalance,
)
from gflowvlm.config.policy import PolicyConfig
from gflowvlm.config.reward import RewardConfig
from gflowvlm.config.section import Section
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.config.training import EvaluationConfig, Schedule, TrainerConfig


def _constant(value: Any) -> Any:
    """Let a bare number stand for a schedule that never moves."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"start": value, "end": value, "over": 0}
    return value


class RunConfig(Section):
    """What one run does; equal configs and seeds give equal runs."""

    name: str | None = None
    """Folder of the run inside `output`; a recipe without one lends its own name."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw of the run."""
    output: Path = Field(default=Path("runs"), validate_default=False)  # strict JSON knows no Path
    """Folder that holds runs."""
    environment: EnvironmentConfig
    """The task."""
    policy: PolicyConfig = PolicyConfig()
    """The model."""
    reward: RewardConfig
    """How an episode's outcome becomes log R."""
    objective: Annotated[ObjectiveConfig | SupervisedFineTuning, Field(discriminator="type")]
    """The loss, or supervised fine-tuning."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the start policy in the target R^beta * p_ref^alpha."""
    beta: Annotated[Schedule, BeforeValidator(_constant)] = Schedule(start=1.0, end=1.0, over=0)
    """Inverse temperature of the reward, a number or a schedule over updates."""
    exploration_temperature: float = Field(default=1.0, gt=0)
    """Multiplies the policy's temperature while episodes are collected, never while scored."""
    trainer: TrainerConfig = TrainerConfig()
    """Updates and learning rates."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Measurements."""

    @field_validator("name")
    @classmethod
    def _name_is_one_folder(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise ValueError(
                f'found "{name}", expected one folder\'s name: use letters, digits, "_", "-", "."'
            )
        return name

    @model_validator(mode="after")
    def _groups_carry_what_the_objective_needs(self) -> "RunConfig":
        match self.objective:
            case VarianceTrajectoryBalance():
                need = "objective var_tb"
            case TrajectoryBalance(log_z="group"):
                need = "objective tb with log_z: group"
            case _:
                return self
        if self.trainer.group_size < 2:
            raise ValueError(
                f"found trainer.group_size = {self.trainer.group_size}, but {need} compares the "
                "episodes of a group; set trainer.group_size to 2 or more"
            )
        return self

    @property
    def says_done(self) -> bool:
        """Whether the policy may end an episode by the reply DONE."""
        match self.objective:
            case DoneDetailedBalance() | DoneSubTrajectoryBalance():
                return True
            case SupervisedFineTuning():
                return self.objective.done_share > 0
            case _:
                return False

    @property
    def run_dir(self) -> Path:
        """Folder that this run writes, `output/name`."""
        assert self.name is not None, "load() names every run"
        return self.output / self.name
