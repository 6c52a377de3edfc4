"""How long and how fast training goes, and when it is looked at."""

from typing import Literal

from pydantic import Field, model_validator

from gflowvlm.config.section import Section

TrackerName = Literal["tensorboard", "wandb", "trackio"]
ReferenceName = Literal["chance", "expert"]


class TrainerConfig(Section):
    """One update is freshly played groups of episodes and a step of the optimiser on them.

    Reinforcement learning takes several, see `objective.epochs` and `objective.minibatches`.
    """

    max_updates: int = Field(default=300, ge=1)
    """Updates in the whole run, if no budget ends it before."""
    max_environment_steps: int | None = Field(default=None, ge=1)
    """Decisions that the policy may take in training's games: the run ends after the first update
    that reaches them. The learning rate's schedule runs over whichever of the two limits will come
    first at the pace so far; `beta` and `exploration.temperature` stay functions of the update.
    An expert's games count none."""
    groups_per_update: int = Field(default=8, ge=1)
    """Groups played for one update; the episodes of a group share their start."""
    group_size: int = Field(default=4, ge=1)
    """Episodes in a group."""
    shared_chance: bool = False
    """Whether the episodes of a group meet the same chance (common random numbers), as far as they
    act alike: in Blackjack, the same cards. On-policy the gradient's mean stays what it is, since
    what the others of a group earn does not depend on an episode's own actions; where they are
    compared with each other (`var_tb`, `log_z: group`) less of the differences is luck that
    all would have shared. Different cards average over luck that one action alone meets, which did
    better in Blackjack with `reward.expected`. Changes nothing where nothing is left to chance."""
    rows_per_pass: int = Field(default=32, ge=1)
    """Rows in one forward pass; bounds memory, does not change the result. A row is an episode, or
    a decision in the layouts `rewritten` and `none`."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the adapter."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of flow heads and log Z; the adapter's schedule does not touch it."""
    warmup_updates: int = Field(default=0, ge=0)
    """Updates over which the adapter's learning rate rises from zero to its peak."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the adapter's learning rate falls to zero after the warm-up, if it does."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay of the adapter's weights."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are scaled down to it."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Updates between checkpoints; the last update always gets one."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints kept on disk."""
    log_every: int = Field(default=1, ge=1)
    """Updates between lines of metrics."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where metrics go besides metrics.jsonl, which is always written."""
    samples_every: int = Field(default=10, ge=0)
    """Updates between tables of a few games' replies, kept in samples.jsonl too; 0 for none."""

    @model_validator(mode="after")
    def _warmup_ends_within_the_run(self) -> "TrainerConfig":
        if self.warmup_updates > self.max_updates:
            raise ValueError(
                f"found warmup_updates = {self.warmup_updates} beyond "
                f"max_updates = {self.max_updates}; lower trainer.warmup_updates"
            )
        return self


class EvaluationConfig(Section):
    """Games played to measure the policy; their seeds are disjoint from training's."""

    splits: tuple[str, ...] = Field(default=("id",), min_length=1)
    """Splits measured, each reported by itself."""
    episodes: int = Field(default=200, ge=1)
    """Games per split."""
    samples_per_start: int = Field(default=4, ge=1)
    """Games from each start; the N of Div@N."""
    references: tuple[ReferenceName, ...] = ("chance", "expert")
    """Who else plays the measured starts where no exact number is known, once for all policies:
    `chance`, uniform over the legal actions of each step, as many games as the policy; `expert`,
    the environment's own if it has one, one game a start. They cost the environment's time and no
    model's: on ALFWorld 0.7 CPU-seconds for a game of chance (50 steps), 0.1 for one of the
    expert's. `[]` leaves them out, `evaluate --no-references` too. Evaluations during training do
    without."""
    every: int = Field(default=0, ge=0)
    """Updates between evaluations during training; 0 for none."""
    at_start: bool = False
    """Whether the policy is evaluated before its first update."""
    at_end: bool = True
    """Whether the finished policy is evaluated."""
