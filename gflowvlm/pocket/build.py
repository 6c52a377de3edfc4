"""Train the pocket VLM from nothing: deterministic for a seed, resumable, minutes on two cores."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.random import default_rng
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from gflowvlm.pocket.architecture import (
    PAD,
    build_model,
    build_processor,
    build_tokenizer,
    token_id,
)
from gflowvlm.pocket.encode import collate, encode
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.skills import caption, converse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A stretch of training: until this share of the steps, so many turns in so many rows."""

    until: float
    turns: tuple[int, int]  # least and most turns of a conversation, inclusive
    turns_per_batch: int
    spread: tuple[float, float]  # how far pictures vary, from the stage's first step to its last
    captions: bool = False  # nothing but short captions


STAGES = (
    Stage(0.18, (1, 1), 64, (0.0, 0.3), captions=True),  # see first: digits in one place
    Stage(0.5, (1, 3), 64, (0.3, 1.0)),
    Stage(0.75, (3, 8), 64, (1.0, 1.0)),
    Stage(1.0, (4, 40), 64, (1.0, 1.0)),
)


def stage_at(step: int, steps: int) -> tuple[Stage, float]:
    """The stage of a step (counted from 0) and the spread of its pictures."""
    began = 0.0
    for stage in STAGES:
        if step < stage.until * steps:
            low, high = stage.spread
            done = (step / steps - began) / (stage.until - began)
            return stage, low + (high - low) * done
        began = stage.until
    raise ValueError(f"found step {step} of {steps}, expected fewer")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights; two equal recipes on one machine give equal files."""

    steps: int = 2400
    seed: int = 0
    learning_rate: float = 1.5e-3
    warmup: int = 60
    corpus_size: int = 4000  # conversations the tokenizer's merges are learned from
    save_every: int = 200


class Batches(Dataset[dict[str, Tensor]]):
    """Batch k is a function of (seed, k) alone, so workers and resumption change nothing."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = default_rng([self.recipe.seed, 1, step])
        stage, spread = stage_at(step, self.recipe.steps)
        pen, talk = Pen(rng, spread), caption if stage.captions else converse
        turns = int(rng.integers(stage.turns[0], stage.turns[1] + 1))
        rows = max(1, stage.turns_per_batch // turns)
        conversations = [talk(pen, turns) for _ in range(rows)]
        pad_id = token_id(self.tokenizer, PAD)
        return collate([encode(c, self.tokenizer) for c in conversations], pad_id, rng)


def reply_loss(model: LlavaForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """Mean negative log-likelihood of the tokens of the replies, nats."""
    hidden = model.model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch["position_ids"],
        pixel_values=batch["pixel_values"],
        use_cache=False,
    ).last_hidden_state
    learned = batch["learned"]
    before = learned.roll(-1, dims=1)  # token t is predicted at t - 1; token 0 is never learned
    return nn.functional.cross_entropy(model.lm_head(hidden[before]), batch["input_ids"][learned])


def tokenizer_of(recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer learned from the recipe's own conversations."""
    pen = Pen(default_rng([recipe.seed, 0]), 1.0)
    conversations = (converse(pen, 1) for _ in range(recipe.corpus_size))
    return build_tokenizer(f"{t.question}\n{t.reply}" for c in conversations for t in c)


def _optimizer(
    model: nn.Module, recipe: Recipe
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=recipe.warmup)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, max(1, recipe.steps - recipe.warmup), eta_min=recipe.learning_rate / 50
    )
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [recipe.warmup])
    return optimizer, schedule


def build(*, output: Path, resume: bool = False, recipe: Recipe | None = None) -> Path:
    """Train and write a Hugging Face folder to `output`; with `resume`, go on where it stopped.

    Raises:
        FileExistsError: `output` holds something and `resume` is off.
    """
    recipe = recipe or Recipe()
    state_file = output / "training_state.pt"
    if output.exists() and any(output.iterdir()) and not (resume and state_file.exists()):
        raise FileExistsError(
            f"{output} is not empty: pass another --output, or --resume for an unfinished build"
        )
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(recipe)
    model = build_model(tokenizer, recipe.seed)
    optimizer, schedule = _optimizer(model, recipe)
    first = 0
    if resume and state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    batches = DataLoader(
        Batches(recipe, tokenizer),
        batch_size=None,
        sampler=range(first, recipe.steps),
        num_workers=1,
        prefetch_factor=8,
    )
    began, running = time.monotonic(), 0.0
    for step, batch in enumerate(batches, start=first + 1):
        loss = reply_loss(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        running += loss.item()
        if step % 50 == 0:
            speed = (step - first) / (time.monotonic() - began)
            logger.info("step %d  loss %.4f  %.2f steps/s", step, running / 50, speed)
            running = 0.0
        if step % recipe.save_every == 0 and step < recipe.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "step": step}
            torch.save(state, state_file.with_suffix(".partial"))
            state_file.with_suffix(".partial").replace(state_file)
    model.save_pretrained(output)
    build_processor(tokenizer).save_pretrained(output)
    (output / "recipe.json").write_text(json.dumps(recipe.__dict__, indent=2) + "\n")
    state_file.unlink(missing_ok=True)
    return output
