"""A whole run: every section, and the rules that span several of them."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from gflowvlm.config.environment import EnvironmentConfig
from gflowvlm.config.objective import (
    OFF_POLICY,
    DoneDetailedBalance,
    DoneSubTrajectoryBalance,
    FlowMatching,
    ForwardKL,
    ObjectiveConfig,
    ReverseKL,
    TrajectoryBalance,
    VarianceTrajectoryBalance,
)
from gflowvlm.config.offpolicy import ExpertConfig, ExplorationConfig, ReplayConfig
from gflowvlm.config.policy import PolicyConfig
from gflowvlm.config.preference import DirectPreference, PreferenceConfig, SelfPlay
from gflowvlm.config.reinforcement import (
    GroupRelativePolicyOptimisation,
    ReinforceLeaveOneOut,
    ReinforcementConfig,
    require_fit,
)
from gflowvlm.config.reward import RewardConfig
from gflowvlm.config.schedule import Schedule, ScheduledNumber
from gflowvlm.config.section import Section
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.config.training import EvaluationConfig, TrainerConfig


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
    objective: Annotated[
        ObjectiveConfig | ReinforcementConfig | PreferenceConfig | SupervisedFineTuning,
        Field(discriminator="type"),
    ]
    """The loss: a balance, or a baseline's."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the start policy in the target R^beta * p_ref^alpha."""
    beta: ScheduledNumber = Schedule(start=1.0, end=1.0, over=0)
    """Inverse temperature of the reward, a number or a schedule over updates."""
    exploration: ExplorationConfig = ExplorationConfig()
    """How fresh episodes stray from the policy."""
    replay: ReplayConfig = ReplayConfig()
    """Episodes kept and used again."""
    expert: ExpertConfig = ExpertConfig()
    """Episodes of the environment's expert."""
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
            case (
                VarianceTrajectoryBalance()
                | ReverseKL()
                | ForwardKL()
                | GroupRelativePolicyOptimisation()
                | ReinforceLeaveOneOut()
            ):
                need = f"objective {self.objective.type}"
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

    @model_validator(mode="after")
    def _model_can_do_what_the_objective_asks(self) -> "RunConfig":
        if isinstance(self.objective, FlowMatching):
            raise ValueError(
                "found objective fm, expected one that asks for no flow of every action, which "
                "a model of replies does not give: use db, the same balance with a flow head"
            )
        weight = self.policy.thought_weight
        if isinstance(self.objective, ReverseKL | ForwardKL) and weight != 1:
            raise ValueError(
                f"found policy.thought_weight = {weight:g}, but objective {self.objective.type} is "
                "a divergence of true laws; set policy.thought_weight to 1 or use var_tb"
            )
        return self

    @model_validator(mode="after")
    def _reinforcement_learning_fits_the_run(self) -> "RunConfig":
        objective = self.objective
        if isinstance(objective, ReinforcementConfig):
            require_fit(
                objective,
                groups_per_update=self.trainer.groups_per_update,
                thought_weight=self.policy.thought_weight,
                alpha=self.alpha,
                beta=self.beta,
            )
        return self

    @model_validator(mode="after")
    def _rejected_replies_can_be_made(self) -> "RunConfig":
        if not isinstance(self.objective, DirectPreference) or self.objective.data is not None:
            return self
        if self.objective.rejected == "digits" and not self.policy.thought:
            raise ValueError(
                "found objective.rejected = digits with policy.thought = false, expected replies "
                "that state and think something to corrupt: set policy.thought to true"
            )
        if self.objective.rejected == "weak" and self.policy.start is None:
            raise ValueError(
                "found objective.rejected = weak with policy.start = null, where the bare base is "
                "the policy itself; expected an adapter to start from: set policy.start, or "
                "objective.rejected to digits"
            )
        return self

    @model_validator(mode="after")
    def _off_policy_episodes_are_fair_and_some(self) -> "RunConfig":
        sources = self.off_policy
        if sources and not isinstance(self.objective, OFF_POLICY):
            allowed = ", ".join(each.model_fields["type"].default for each in OFF_POLICY)
            raise ValueError(
                f"found {' and '.join(sources)} with objective {self.objective.type}, which must "
                f"not see episodes of another policy; expected one of {allowed}: change "
                "objective.type or leave the setting out"
            )
        if self.replay.share + self.expert.share >= 1:
            raise ValueError(
                f"found replay.share = {self.replay.share:g} and expert.share = "
                f"{self.expert.share:g}, expected less than 1 together, as an update also plays "
                "episodes of its own: lower one"
            )
        for name, section in (("replay", self.replay), ("expert", self.expert)):
            if section.share > 0 and self.added(section.share) == 0:
                raise ValueError(
                    f"found {name}.share = {section.share:g}, which is less than one episode "
                    f"beside the {self.played} played in an update: raise it, or set it to 0"
                )
        most = self.played if self.expert.takes_over else self.trainer.groups_per_update
        if self.added(self.expert.share) > most:
            raise ValueError(
                f"found expert.share = {self.expert.share:g}, which is "
                f"{self.added(self.expert.share)} games, expected at most one for each of the "
                f"{most} {'games played' if self.expert.takes_over else 'groups'}: lower it"
            )
        if self.added(self.replay.share) > self.replay.capacity:
            raise ValueError(
                f"found replay.capacity = {self.replay.capacity}, fewer than the "
                f"{self.added(self.replay.share)} episodes that replay.share = "
                f"{self.replay.share:g} takes in an update: raise it or lower the share"
            )
        return self

    @property
    def off_policy(self) -> list[str]:
        """Settings by which episodes come from another law than the policy's."""
        explored = self.exploration.temperature
        sources = {
            "exploration.temperature": explored.end != 1
            or (explored.over > 0 and explored.start != 1),
            "replay.share": self.replay.share > 0,
            "expert.share": self.expert.share > 0,
        }
        return [name for name, used in sources.items() if used]

    @property
    def plays(self) -> bool:
        """Whether the policy itself plays in training; else it learns from given replies."""
        match self.objective:
            case SupervisedFineTuning() | SelfPlay() | DirectPreference(chosen="expert"):
                return False
            case _:
                return True

    @property
    def expert_games(self) -> int:
        """Games that the expert plays before training for the policy to learn from."""
        match self.objective:
            case SupervisedFineTuning() | SelfPlay() | DirectPreference(chosen="expert", data=None):
                return self.objective.episodes
            case _:
                return 0

    @property
    def last_beta(self) -> float:
        """Exponent of the reward in the last update, whose target the run is measured against."""
        return self.beta.at(self.trainer.max_updates - 1)

    @property
    def played(self) -> int:
        """Episodes that the policy plays for an update."""
        return self.trainer.groups_per_update * self.trainer.group_size

    def added(self, share: float) -> int:
        """Episodes that are this share of an update, where the rest beside them is played."""
        return round(self.played * share / (1 - self.replay.share - self.expert.share))

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
