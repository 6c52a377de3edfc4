"""A run's policy as a plain Hugging Face folder: the adapter merged into its base."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig

from gflowvlm.batch import Row
from gflowvlm.config.schema import RunConfig
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.table import read_measured
from gflowvlm.launch.evaluate import EVALUATION_FILE
from gflowvlm.launch.parts import RESCORE_TOLERANCE, build_collector
from gflowvlm.launch.runs import open_policy, open_run
from gflowvlm.pocket.folder import find_model
from gflowvlm.policy.loading import load_model
from gflowvlm.policy.selfcheck import rescoring_gap
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.messages import first_turn
from gflowvlm.report.model_card import OBSERVATION_FILE, Exported, licence_of, model_card
from gflowvlm.rollouts.environments import observe
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.loop import POLICY_FOLDER


def export(run: Path, target: Path) -> Path:
    """Write base and adapter as one model that Transformers loads alone; gives its folder.

    The folder is written beside `target`, loaded again, compared with the run's policy token by
    token, and renamed only then.

    Raises:
        UserError: no run, no complete checkpoint, a target in use, or weights that disagree.
    """
    config, newest = open_run(run)
    target = target.resolve()
    _require_free(target)
    _, policy = open_policy(run, seed=config.seed)
    shown = first_observation(config)
    turn = first_turn(shown, thought=policy.settings.thought)
    with written_whole(target) as folder:
        _write_model(config, newest / POLICY_FOLDER, policy, folder)
        gap = _require_equal(config, policy, folder)
        base = find_model(config.policy.model)
        about = Exported(
            name=target.name,
            base=base,
            licence=licence_of(base),
            updates=checkpoint.step_of(newest),
            prompt=policy.rules.vocabulary.neutralise(turn.text),
            gap=gap,
            measured=_figures_of(run, newest),
        )
        (folder / "README.md").write_text(model_card(config, about), encoding="utf-8")
        Image.fromarray(shown.image).save(folder / OBSERVATION_FILE)
    return target


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end, or vanishes on any failure."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_free(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{target} already exists and is never overwritten, expected a new or empty folder; "
            "pass another one to --merged"
        )


def first_observation(config: RunConfig) -> Observation:
    """What the policy is shown first in a game, for the card's example."""
    environment = build_collector(config, config.environment.train_split).make()
    pixels, info = environment.reset(seed=config.seed)
    environment.close()
    return observe(pixels, info)


def _write_model(config: RunConfig, adapter: Path, policy: VLMPolicy, folder: Path) -> None:
    """Merge in float32, whatever type the run computes in: the sum is rounded once."""
    base, processor = load_model(
        find_model(config.policy.model), dtype=torch.float32, device="cpu", attention=None
    )
    peft: Any = PeftModel.from_pretrained(base, str(adapter))
    merged = peft.merge_and_unload(safe_merge=True).to(policy.model.dtype)
    merged.generation_config = _generation_config(policy)
    merged.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


def _generation_config(policy: VLMPolicy) -> GenerationConfig:
    """What makes `generate` sample from the law that was trained, as far as nothing is bound."""
    tokenizer = policy.processor.tokenizer
    forbidden = policy.chat.vocabulary.forbidden(policy.chat.end_ids, constrained=False)
    return GenerationConfig(
        do_sample=True,
        temperature=policy.settings.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=policy.settings.max_reply_tokens,
        suppress_tokens=forbidden,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(policy.chat.end_ids),
        pad_token_id=policy.chat.closing_id
        if tokenizer.pad_token_id is None
        else tokenizer.pad_token_id,
    )


def _require_equal(config: RunConfig, policy: VLMPolicy, folder: Path) -> float:
    """Largest difference of a token's log-prob between the folder's model and the run's, nats."""
    _, probe = rescoring_gap(policy)
    expected, device = _log_probs(policy, probe), policy.model.device
    model: Any = policy.model
    model.to("cpu")  # room for the other one
    alone = VLMPolicy.from_folder(
        folder,
        policy.settings,
        dtype=policy.model.dtype,
        device=device,
        attention=config.policy.attention,
    )
    gap = float((_log_probs(alone, probe) - expected).abs().max())
    tolerance = RESCORE_TOLERANCE[config.policy.dtype]
    if not gap <= tolerance:
        raise UserError(
            f"found log-probs of the merged weights {gap:.3g} nats away from the adapter's, "
            f"expected at most {tolerance:g}: export from a run with policy.dtype: float32"
        )
    return gap


@torch.no_grad()
def _log_probs(policy: VLMPolicy, row: Row) -> Tensor:
    return policy.score([row]).token_log_prob


def _figures_of(run: Path, newest: Path) -> dict[str, list[Measurement]]:
    """The run's own measurements; what is older than the checkpoint is not about it."""
    file = run / EVALUATION_FILE
    measured = read_measured(file)
    if "after" in measured and file.stat().st_mtime < newest.stat().st_mtime:
        print(
            f"{file} is older than {newest.name}, so its figures stay out of the card; "
            f"`gflowvlm evaluate {run}` measures this checkpoint"
        )
        del measured["after"]
    return measured
