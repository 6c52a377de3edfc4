"""A Hugging Face vision-language model as a policy: act and score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import Parameter
from transformers import PreTrainedModel

from gflowvlm.batch import Row, StepScores
from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.policy import expert
from gflowvlm.policy.adapters import Adapters
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.chat import Chat
from gflowvlm.policy.expert import WHOLE_REPLY, LossOn, TaughtTurn
from gflowvlm.policy.families import family_of
from gflowvlm.policy.heads import FlowHead, ValueHead, load_heads, save_heads
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.policy.loading import load_model
from gflowvlm.policy.scoring import score_rows
from gflowvlm.policy.selfcheck import require_exactness
from gflowvlm.policy.session import VLMSession
from gflowvlm.policy.slots import ReplyRules
from gflowvlm.policy.transcript import Record, Transcript, within_context
from gflowvlm.policy.vocabulary import Vocabulary
from gflowvlm.prompting.messages import grows


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """How a model is used; none of it is stored in the model's folder."""

    temperature: float = 1.0
    """Divides the logits in act, score and reference alike."""
    actions: Literal["free", "constrained"] = "free"
    """free parses the text; constrained binds the action word to the legal ones."""
    thought: bool = True
    """False, with constrained actions: the reply is the action alone."""
    layout: Layout = "transcript"
    """How history enters the prompt; see `prompting.messages`."""
    history_length: int | None = None
    """Most of the latest steps in a `rewritten` prompt; None for all."""
    max_reply_tokens: int = 128
    """A reply without an end after so many tokens is cut off."""
    context_tokens: int | None = None
    """Longest sequence; None asks the model's config."""
    done: bool = False
    """Whether a reserved token may stand in place of a reply and end the episode."""
    done_token: str | None = None
    """Which one; None takes the first special token that has no other duty."""
    flow_head: bool = True
    """Whether histories get a log-flow."""
    value_head: bool = False
    """Whether histories get a value."""
    head_width: int = 256
    """Hidden units of each of a head's two layers."""
    rank: int = 16
    """Rank of the LoRA adapter."""
    lora_alpha: float = 32.0
    """The adapter's output is scaled by lora_alpha / rank."""
    targets: tuple[str, ...] | None = None
    """Last names of the decoder's layers that get an adapter; None for all linear ones."""
    full_weights: bool = False
    """Train the whole model instead of an adapter; such a policy has no reference."""
    gradient_checkpointing: bool = False
    """Trade a second forward pass for the memory of activations."""
    score_chunk: int = 256
    """Positions whose logits exist at the same time while scoring."""


class VLMPolicy:
    """Implements `policy.base.Policy`."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        settings: PolicySettings,
        *,
        start_adapter: Path | None = None,
    ) -> None:
        """Build a policy around a loaded model; `from_folder` is the usual way in.

        Args:
            model: a vision-language model; gets its adapter in place.
            processor: its own.
            settings: how to use it.
            start_adapter: folder of the LoRA adapter that training starts from and that stays the
                frozen reference; None starts from the bare model.

        Raises:
            UserError: the model family, the chat template or the adapter does not serve.
        """
        if not settings.thought and settings.actions == "free":
            raise UserError("thought: false needs actions: constrained, set one of the two")
        self.settings = settings
        self.model = model
        self.processor = processor
        family = family_of(model.config.model_type)
        layer: Any = model.get_output_embeddings()
        vocabulary = Vocabulary(processor.tokenizer, model.config, layer.weight.shape[0])
        self.chat = Chat(processor, vocabulary, family, model.generation_config)
        if grows(settings.layout):
            self.chat.require_append_only()
        self.rules = self._reply_rules(vocabulary)
        text_config = model.config.get_text_config()
        self.adapters = self._adapt(start_adapter)
        self.backbone = Backbone(model, family, pad_id=self.chat.closing_id)
        self.language = self._language_head(self.rules.forbidden)
        sizes = text_config.hidden_size, settings.head_width
        self.flow_head = FlowHead(*sizes).to(model.device) if settings.flow_head else None
        self.value_head = ValueHead(*sizes).to(model.device) if settings.value_head else None
        self.context_tokens = settings.context_tokens or text_config.max_position_embeddings
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        settings: PolicySettings,
        *,
        start_adapter: Path | None = None,
        dtype: torch.dtype | str = "auto",
        device: torch.device | str = "cpu",
        attention: str | None = None,
    ) -> VLMPolicy:
        """Load a model (folder or hub id) and make a policy of it; see `__init__`, `load_model`."""
        model, processor = load_model(folder, dtype=dtype, device=device, attention=attention)
        return cls(model, processor, settings, start_adapter=start_adapter)

    def session(
        self, keys: Sequence[EpisodeKey], *, exploration_temperature: float = 1.0
    ) -> VLMSession:
        """Open a session with one slot per key; exploration temperature 0 is greedy."""
        self._set_training(False)
        return VLMSession(
            keys,
            backbone=self.backbone,
            language=self.language,
            rules=self.rules,
            layout=self.settings.layout,
            history_length=self.settings.history_length,
            image_id=self._image_id,
            context_tokens=self.context_tokens,
            exploration_temperature=exploration_temperature,
        )

    def score(self, rows: Sequence[Row]) -> StepScores:
        """Differentiable scores of the very tokens in `rows`."""
        self._set_training(self.settings.gradient_checkpointing and torch.is_grad_enabled())
        return score_rows(rows, self.backbone, self.language, self.flow_head, self.value_head)

    @torch.no_grad()
    def score_reference(self, rows: Sequence[Row]) -> StepScores:
        """Scores of the same tokens under the frozen reference: no gradient, no heads."""
        if self.adapters is None:
            raise UserError("full_weights: true leaves no reference: set alpha to 0 or use LoRA")
        self._set_training(False)
        with self.adapters.reference():
            return score_rows(rows, self.backbone, self.language)

    def require_exactness(self) -> None:
        """Play two short games and compare what was sampled with what is scored.

        Raises:
            UserError: training this model as it is loaded here would follow wrong gradients.
        """
        require_exactness(self, self.backbone, self.language, self.model.config.model_type)

    def initialise_flow(self, value: float) -> None:
        """Make log F answer `value` nats everywhere; nothing happens without a head."""
        if self.flow_head is not None:
            self.flow_head.initialise(value)

    def initialise_value(self, value: float) -> None:
        """Make the value head answer `value` nats everywhere; nothing happens without one."""
        if self.value_head is not None:
            self.value_head.initialise(value)

    def rows_of_episode(
        self,
        observations: Sequence[Observation],
        replies: Sequence[str],
        *,
        loss_on: LossOn = WHOLE_REPLY,
    ) -> tuple[Row, ...]:
        """An episode with given replies as rows; see `expert.rows_of_episode`."""
        record = Record(
            self.settings.layout,
            self.chat,
            thought=self.settings.thought,
            history_length=self.settings.history_length,
            transcript=self._transcript,
        )
        rows = expert.rows_of_episode(observations, replies, self.rules, record, loss_on)
        return within_context(rows, self.context_tokens)

    def row_of_turns(self, turns: Sequence[TaughtTurn], *, loss_on: LossOn = WHOLE_REPLY) -> Row:
        """A general conversation as one row in any layout; see `expert.row_of_turns`."""
        row = expert.row_of_turns(turns, self.rules, self._transcript(), loss_on)
        return within_context((row,), self.context_tokens)[0]

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        """Trainable parameters: `adapter` (or `model`) and, where there are some, `heads`."""
        if self.adapters is not None:
            groups = {"adapter": self.adapters.trainable()}
        else:
            groups = {"model": list(self.model.parameters())}
        heads = [head for head in (self.flow_head, self.value_head) if head is not None]
        if heads:
            groups["heads"] = [weight for head in heads for weight in head.parameters()]
        return groups

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format (or the whole model) and the heads beside it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapters is not None:
            self.adapters.save(folder)
        else:
            self.model.save_pretrained(str(folder))
            self.processor.save_pretrained(str(folder))
        save_heads(folder, flow=self.flow_head, value=self.value_head)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place.

        Raises:
            UserError: it was written by another kind of policy.
        """
        folder = Path(folder)
        if self.adapters is not None:
            self.adapters.load(folder)
        else:
            loaded = type(self.model).from_pretrained(str(folder), dtype=self.model.dtype)
            self.model.load_state_dict(loaded.state_dict())
        load_heads(folder, flow=self.flow_head, value=self.value_head)

    def _adapt(self, start_adapter: Path | None) -> Adapters | None:
        if self.settings.full_weights:
            if start_adapter is not None:
                raise UserError("full_weights: true cannot start from an adapter: drop one")
            self.model.requires_grad_(True)
            return None
        return Adapters(
            self.model,
            rank=self.settings.rank,
            alpha=self.settings.lora_alpha,
            targets=self.settings.targets,
            start=start_adapter,
        )

    def _reply_rules(self, vocabulary: Vocabulary) -> ReplyRules:
        settings, done = self.settings, None
        if settings.done:
            template = getattr(self.processor, "chat_template", None)
            written = str(template or vocabulary.tokenizer.chat_template)
            done = vocabulary.done_id(self.chat.end_ids, written, settings.done_token)
        return ReplyRules(
            self.chat,
            constrained=settings.actions == "constrained",
            thought=settings.thought,
            max_tokens=settings.max_reply_tokens,
            done=done,
        )

    def _language_head(self, forbidden: Collection[int]) -> LanguageHead:
        text_config = self.model.config.get_text_config()
        layer: Any = self.model.get_output_embeddings()
        return LanguageHead(
            layer,
            forbidden,
            done=self.rules.done,
            temperature=self.settings.temperature,
            softcap=getattr(text_config, "final_logit_softcapping", None),
            chunk=self.settings.score_chunk,
            device=self.model.device,
        )

    @property
    def _image_id(self) -> int | None:
        return getattr(self.model.config, "image_token_id", None)

    def _transcript(self) -> Transcript:
        return Transcript(self.backbone.family, self._image_id)

    def _set_training(self, training: bool) -> None:
        """Training mode only where checkpointing needs it; it forbids the cache."""
        if self.model.training != training:
            self.model.train(training)
