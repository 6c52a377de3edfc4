"""Which task is played."""

from typing import Any

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
    """An episode that goes on for longer is cut: it is counted (metric `cut`), never rewarded."""
    workers: int = Field(default=0, ge=0)
    """Processes that environments act in while the policy replies to other games, for each process
    that trains; 0 for none, which is faster where a step takes less than a few milliseconds."""
    patience: float = Field(default=60.0, gt=0)
    """Seconds without an answer after which a worker is taken for hung and another one started;
    the games of a lost worker are cut, like longer ones."""
