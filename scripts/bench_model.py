"""What the benchmarks share: a small LLaVA with random weights, made-up games, a table, a clock."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers import LlavaForConditionalGeneration as Llava

from gflowvlm.episode import Observation
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy

MIB = 2**20
PATCH = 8  # pixels; an image of 12 x 12 patches is 144 tokens
TASK = "Bring the current number to the target number in at most 20 steps."


def random_policy(
    *, image_tokens: int, hidden: int, layers: int, device: str, **settings: Any
) -> VLMPolicy:
    """A policy on a LLaVA that reads images of `image_tokens` tokens, weights drawn from seed 0."""
    side = round(image_tokens**0.5)
    if side * side != image_tokens:
        raise SystemExit(f"found {image_tokens} image tokens, expected a square: 16, 144, 576")
    processor: Any = AutoProcessor.from_pretrained(MODEL_FOLDER)
    processor.patch_size = PATCH
    processor.image_processor.size = {"height": side * PATCH, "width": side * PATCH}
    tokenizer = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=side * PATCH,
            patch_size=PATCH,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=65536,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    model: Any = Llava(config)
    model.to(device).eval().requires_grad_(False)
    return VLMPolicy(model, processor, PolicySettings(rank=8, **settings))


def observation(game: int, turn: int, side: int = 32) -> Observation:
    """A picture of noise that depends on game and turn, as an environment would show one."""
    random = np.random.default_rng([game, turn])
    return Observation(
        image=random.integers(0, 255, (side, side, 3), dtype=np.uint8),
        task=TASK,
        text="",
        legal_actions=("-", "+"),
        reply_fields=("current number", "target number"),
    )


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Time of one call: processor time, which other processes do not lengthen.

    On a GPU it is wall time, the device's queue emptied before and after.
    """
    if device == "cpu":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def median_seconds(work: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    """Median wall time of `repeats` calls after one that is not counted."""
    work()
    return median(seconds(work, device) for _ in range(repeats))


def peak_mib(work: Callable[[], object], device: str = "cpu") -> float:
    """Most memory that `work` holds beyond what was held before it, MiB; Linux or a GPU.

    Call it in a process of its own: on a CPU it sees resident memory, and memory that earlier work
    left to the allocator would be used again unseen.
    """
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - rest) / MIB
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
    rest = _resident("VmRSS")
    work()
    return _resident("VmHWM") - rest


def _resident(field: str) -> float:
    """A line of /proc/self/status, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns aligned to the right; floats with three digits."""
    shown = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in r] for r in rows]
    width = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    for line in [list(head), *shown]:
        print("  ".join(cell.rjust(size) for cell, size in zip(line, width, strict=True)))
