"""Which model plays, and how it speaks."""

from typing import Literal

from pydantic import Field, model_validator

from gflowvlm.config.section import Section

Layout = Literal["transcript", "news", "rewritten", "none"]


class LoraConfig(Section):
    """The adapter that training changes."""

    rank: int = Field(default=8, ge=1)
    """Rank of each low-rank pair; that of `policy.start`, where there is one."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the adapter; its output is multiplied by alpha / rank."""
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the linear layers of the language decoder that get an adapter; null for all."""


class PolicyConfig(Section):
    """A vision-language model with an adapter, and the rules of its replies."""

    model: str = Field(default="pocket", min_length=1)
    """`pocket` or `pocket-home` (ALFWorld's words) for one inside the package, else a model folder
    or a hub id."""
    start: str | None = Field(default=None, min_length=1)
    """Adapter that training starts from and is measured against: a folder, or for one inside the
    package `pocket/number_line` or, on `pocket-home`, `pocket/alfworld`; null starts from the bare
    model."""
    lora: LoraConfig = LoraConfig()
    """The adapter."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits, alike in acting, scoring and the reference."""
    actions: Literal["free", "constrained"] = "free"
    """`free` parses the action from the text; `constrained` gives the reply's keys, so that it
    keeps its form, and masks the action's tokens to the legal ones. A key given has no log-prob."""
    thought: bool = True
    """Whether a reply states the facts and a thought before its action; false, with constrained
    actions, leaves the action alone, whose law is then an exact number."""
    layout: Layout = "transcript"
    """How history enters the prompt: `transcript`, one growing conversation with all its images;
    `news`, the same but an unchanged image is not shown again, unless nothing else is said;
    `rewritten`, a new prompt for each decision, history as text, the present image alone; `none`,
    without any history."""
    history_length: int | None = Field(default=None, ge=1)
    """At most so many of the latest steps stand in a `rewritten` prompt, each whole; earlier ones
    are left out, one line says which, and metric `shortened_prompts` how often. Null for all."""
    thought_weight: float = Field(default=1.0, ge=0)
    """Weight of a thought's log-probability in a reply's; 1 is a true log-probability."""
    max_reply_tokens: int = Field(default=48, ge=1)
    """A reply longer than this many tokens is cut off and counted as a problem."""
    done_token: str | None = Field(default=None, min_length=1)
    """Special token that says DONE, where an objective has it; null for the first unused one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the frozen weights; log-probabilities are float32 in any case."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    """Attention kernel of the Transformers library."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if there is one."""

    @model_validator(mode="after")
    def _an_action_alone_is_constrained(self) -> "PolicyConfig":
        if not self.thought and self.actions == "free":
            raise ValueError(
                "found thought = false with actions = free, expected constrained actions where "
                "nothing but the action is said: set actions to constrained"
            )
        return self

    @model_validator(mode="after")
    def _only_a_history_told_as_text_is_shortened(self) -> "PolicyConfig":
        if self.history_length is not None and self.layout != "rewritten":
            raise ValueError(
                f"found history_length = {self.history_length} with layout = {self.layout}, which "
                "rewrites no history; expected layout rewritten: change layout, or leave "
                "history_length out"
            )
        return self
