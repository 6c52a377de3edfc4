"""Episodes that the policy did not sample by its own law: explored, replayed, an expert's."""

from pydantic import Field, model_validator

from gflowvlm.config.schedule import Schedule, ScheduledNumber
from gflowvlm.config.section import Section


class ExplorationConfig(Section):
    """How freshly played episodes stray from the policy; scoring never does."""

    temperature: ScheduledNumber = Schedule(start=1.0, end=1.0, over=0)
    """Divides the logits once more while episodes are played, a number or a schedule over updates;
    1 samples the policy itself."""


class ReplayConfig(Section):
    """The best episodes of each start, one per action sequence, mixed into later updates."""

    share: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's episodes that are replayed, beside those it plays; 0 for none, 0.25 to
    0.5 is usual."""
    capacity: int = Field(default=1000, ge=1)
    """Most episodes held in all; a full replay gives up the worst of the start that holds most."""
    per_start: int = Field(default=50, ge=1)
    """Most episodes held of one start; the one with the least log R goes."""
    priority: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Episodes of a start are drawn with weight R^priority, R un-tempered; 0 draws them alike."""


class ExpertConfig(Section):
    """The environment's expert, playing some of an update's starts beside the policy."""

    share: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's episodes that the expert plays, at most one a group; 0 for none."""
    takes_over: bool = False
    """Whether the expert goes on in games that the policy has just lost, at most once in each and
    from a step drawn from their first half, instead of playing from the start. What the policy said
    until then stays, so that its group holds both ways to go on from its own mistakes."""
    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the expert's moves replaced by a uniformly drawn wrong one, thought and action."""

    @model_validator(mode="after")
    def _takes_over_some_games(self) -> "ExpertConfig":
        if self.takes_over and not self.share:
            raise ValueError(
                "found takes_over = true with share = 0, expected a share of the update's episodes "
                "for the expert to play: set share, or leave takes_over out"
            )
        return self
