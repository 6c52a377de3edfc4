"""Supervised fine-tuning on the games of an expert."""

from typing import Literal

from pydantic import Field, field_validator

from gflowvlm.config.section import Section

ReplyPart = Literal["fields", "thought", "action"]


class SupervisedFineTuning(Section):
    """Imitate an expert's replies; gives the start that GFlowNet training measures against."""

    type: Literal["sft"] = "sft"
    episodes: int = Field(default=1000, ge=1)
    """Games the expert plays; their starts come from `environment.train_split`."""
    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the expert's moves replaced by a uniformly drawn wrong one, thought and action."""
    general_share: float = Field(default=0.0, ge=0)
    """Rows of general skills mixed in, per row of the task."""
    loss_on: tuple[ReplyPart, ...] = Field(default=("fields", "thought", "action"), min_length=1)
    """Parts of a reply that are imitated; the rest is context."""

    @field_validator("loss_on")
    @classmethod
    def _no_part_twice(cls, parts: tuple[ReplyPart, ...]) -> tuple[ReplyPart, ...]:
        if len(set(parts)) < len(parts):
            raise ValueError("found a part named twice; name each part once")
        return parts
