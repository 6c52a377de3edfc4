"""Supervised fine-tuning on the games of an expert."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

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
    done_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the games that end with the reply DONE, which db_done and subtb_done start from."""
    done_at: Literal["goal", "prefix"] = "prefix"
    """Where DONE is said: at a `prefix` drawn uniformly, or at the `goal` after its last step."""
    loss_on: tuple[ReplyPart, ...] = Field(default=("fields", "thought", "action"), min_length=1)
    """Parts of a reply that are imitated; the rest is context."""

    @model_validator(mode="after")
    def _done_is_weighed_against_replies(self) -> "SupervisedFineTuning":
        if self.done_share and not {"thought", "action"} <= set(self.loss_on):
            raise ValueError(
                f"found done_share = {self.done_share} with loss_on = {list(self.loss_on)}; DONE "
                "is learned against the first token of a thought: name thought and action"
            )
        return self

    @field_validator("loss_on")
    @classmethod
    def _no_part_twice(cls, parts: tuple[ReplyPart, ...]) -> tuple[ReplyPart, ...]:
        if len(set(parts)) < len(parts):
            raise ValueError("found a part named twice; name each part once")
        return parts
