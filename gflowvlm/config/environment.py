"""Which task is played."""

from typing import Any, Literal

from pydantic import Field

from gflowvlm.config.section import Section


class EnvironmentConfig(Section):
    """A registered Gymnasium environment and the split that training draws its starts from."""

    id: str = Field(min_length=1)
    """Gymnasium id, for example `gflowvlm/NumberLine-v0`."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments for the environment's constructor."""
    train_split: str = Field(default="id", min_length=1)
    """Split of starts that training draws from."""
    max_decisions: int = Field(default=256, ge=1)
    """Replies that an episode has room for, if the model's context has no less."""
    out_of_room: Literal["cut", "lost"] = "cut"
    """What becomes of an episode without room for a further reply: `cut`, it is counted (metric
    `cut`), never rewarded; or `lost` (metric `out_of_room`, their share), a failure like one that
    the environment ends, from which the policy learns to be done in time. How much room is left is
    a function of the history, so that the target's law is as well defined."""
    workers: int = Field(default=0, ge=0)
    """Processes that environments act in while the policy replies to other games, for each process
    that trains; 0 for none, which is faster where a step takes less than a few milliseconds."""
    patience: float = Field(default=60.0, gt=0)
    """Seconds without an answer after which a worker is taken for hung and another one started;
    the games of a lost worker are cut."""
