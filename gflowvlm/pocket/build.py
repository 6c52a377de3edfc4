"""Train a pocket VLM, from nothing or from the other one: deterministic for a seed, resumable."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from numpy.random import default_rng
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, Dataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from gflowvlm.errors import UserError
from gflowvlm.pocket.architecture import (
    PAD,
    build_model,
    build_processor,
    build_tokenizer,
    inherit,
    token_id,
)
from gflowvlm.pocket.curriculum import CURRICULA, Curriculum, PocketModel
from gflowvlm.pocket.encode import collate, encode
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.pocket.loss import reply_loss
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.skills import FIRST_WORDS, converse
from gflowvlm.trainer.progress import ProgressDisplay

REPORT_EVERY = 50  # steps between lines of progress
HOME_STEPS, HOME_REVISION = 6000, 2000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the weights, beside those of the model inside the package where one continues.

    Two equal recipes on one machine give equal files. `of` gives those of the package.
    """

    model: PocketModel = "pocket"
    steps: int = 3000
    seed: int = 0
    learning_rate: float = 2e-3
    warmup: int = 60
    revisions: int = 5  # at full difficulty, each with a new optimiser
    revision_steps: int = 1000
    revision_learning_rate: float = 1e-3
    corpus_size: int = 4000  # conversations the tokenizer's merges are learned from
    save_every: int = 200

    @classmethod
    def of(cls, model: PocketModel) -> "Recipe":
        """The recipe of a model inside the package."""
        if model == "pocket":
            return cls()
        return cls(model=model, steps=HOME_STEPS, revisions=5, revision_steps=HOME_REVISION)

    @property
    def curriculum(self) -> Curriculum:
        """What is taught."""
        return CURRICULA[self.model]

    @property
    def total_steps(self) -> int:
        """All steps, revisions included."""
        return self.steps + self.revisions * self.revision_steps

    def begins_part(self, step: int) -> bool:
        """Whether a revision begins at `step`."""
        beyond = step - self.steps
        return beyond >= 0 and beyond % self.revision_steps == 0


class Batches(Dataset[dict[str, Tensor]]):
    """Batch k is a function of (seed, k) alone, so workers and resumption change nothing."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer

    def __len__(self) -> int:
        return self.recipe.total_steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = default_rng([self.recipe.seed, 1, step])
        share = step / self.recipe.steps
        stage = self.recipe.curriculum.stage_at(share)
        pen = Pen(
            rng,
            self.recipe.curriculum.spread_at(share),
            slips=stage.slips,
            misreads=stage.misreads,
            lingers=stage.lingers,
            foretold=stage.foretold,
            errands=stage.errands,
        )
        turns = int(rng.integers(stage.turns[0], stage.turns[1] + 1))
        rows = max(1, stage.turns_per_batch // turns)
        if stage.first_words:
            talk = FIRST_WORDS[step % len(FIRST_WORDS)]
            conversations = [talk(pen, turns) for _ in range(rows)]
        else:
            conversations = [converse(pen, turns, stage.skills) for _ in range(rows)]
        pad_id = token_id(self.tokenizer, PAD)
        return collate([encode(c, self.tokenizer) for c in conversations], pad_id, rng)


def tokenizer_of(recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer learned from the recipe's own conversations."""
    pen, curriculum = Pen(default_rng([recipe.seed, 0]), 1.0), recipe.curriculum
    conversations = (
        converse(pen, curriculum.corpus_turns, curriculum.corpus) for _ in range(recipe.corpus_size)
    )
    corpus = (f"{t.question}\n{t.reply}" for c in conversations for t in c)
    return build_tokenizer(corpus, pieces=curriculum.pieces, size=curriculum.vocabulary)


@dataclass(kw_only=True)
class Training:
    """Model, optimiser and schedule on their way, and where they are kept."""

    model: LlavaForConditionalGeneration
    recipe: Recipe
    state_file: Path
    step: int = 0

    def __post_init__(self) -> None:
        """Begin where `step` lies."""
        self._begin()

    def _begin(self) -> None:
        """AdamW; its rate goes up over `warmup` steps, then down half a cosine to a fiftieth."""
        recipe = self.recipe
        peak, warmup, steps = recipe.learning_rate, recipe.warmup, recipe.steps
        if self.step >= recipe.steps:
            pace = recipe.curriculum.stage_at(self.step / recipe.steps).pace
            peak, steps = recipe.revision_learning_rate * pace, recipe.revision_steps
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        warm = LinearLR(self.optimizer, 0.05, total_iters=warmup)
        cool = CosineAnnealingLR(self.optimizer, max(1, steps - warmup), eta_min=peak / 50)
        self.schedule = SequentialLR(self.optimizer, [warm, cool], [warmup])

    def load(self) -> None:
        """Go on where the state file stands.

        Raises:
            UserError: another recipe began it.
        """
        state = torch.load(self.state_file, weights_only=True)
        begun, asked = state.get("recipe", {}), asdict(self.recipe)
        other = [name for name, value in asked.items() if begun.get(name) != value]
        if other:
            found = ", ".join(f"{name} {begun.get(name, 'unknown')}" for name in other)
            expected = ", ".join(f"{name} {asked[name]}" for name in other)
            raise UserError(
                f"found a build begun with {found} in {self.state_file.parent}, expected "
                f"{expected}: resume it with its own options, or pass another --output"
            )
        self.step = state["step"]
        self._begin()
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def save(self) -> None:
        """Replace the state file as a whole."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"schedule": self.schedule.state_dict(), "step": self.step}
        state["recipe"] = asdict(self.recipe)
        partial = self.state_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state_file)

    def update(self, batch: dict[str, Tensor]) -> float:
        """One step of the optimiser; gives the loss, nats a token."""
        loss = reply_loss(self.model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.recipe.begins_part(self.step):
            self._begin()
        return loss.item()


def build(*, output: Path, resume: bool = False, recipe: Recipe | None = None) -> Path:
    """Train and write a Hugging Face folder to `output`; with `resume`, go on where it stopped.

    Raises:
        UserError: `output` holds something that may not be overwritten.
    """
    recipe = recipe or Recipe()
    state_file = output / "training_state.pt"
    unfinished = state_file.exists()
    if output.exists() and any(output.iterdir()) and not (resume and unfinished):
        raise UserError(
            f"{output} is not empty: pass another --output, or --resume for an unfinished build"
        )
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(recipe)
    model = build_model(tokenizer, recipe.seed)
    if recipe.curriculum.continues:
        inherit(model, tokenizer, MODEL_FOLDER)
    training = Training(model=model, recipe=recipe, state_file=state_file)
    if unfinished:
        training.load()
    with _one_thread():
        _train(training, recipe, tokenizer)
    model.save_pretrained(output)
    build_processor(tokenizer).save_pretrained(output)
    facts = json.dumps(asdict(recipe), indent=2)
    (output / "recipe.json").write_text(facts + "\n", encoding="utf-8")
    state_file.unlink(missing_ok=True)
    return output


@contextmanager
def _one_thread() -> Iterator[None]:
    """How many threads share a sum decides its last bits, and idle ones cost processor time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(training: Training, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
    data = Batches(recipe, tokenizer)
    batches = DataLoader(
        data,
        batch_size=None,
        sampler=range(training.step, len(data)),
        num_workers=1,
        prefetch_factor=8,
    )
    running = 0.0
    with ProgressDisplay(len(data), done=training.step, label="step") as display:
        for batch in batches:
            running += training.update(batch)
            if training.step % REPORT_EVERY == 0:
                display.advance(training.step, {"loss": running / REPORT_EVERY})
                running = 0.0
            if training.step % recipe.save_every == 0 and training.step < len(data):
                training.save()
