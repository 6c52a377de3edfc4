"""Tiny random vision-language models, sharpened so that a wrong mask or position shows."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel

from gflowvlm.episode import Observation
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy

os.environ.setdefault("HF_HUB_OFFLINE", "1")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["action", 'action"', "thoughts", "shelf", " 1", " 11", '":', ' "', '", ', '"}', "--", "++"]


def sharpen(model: torch.nn.Module, seed: int = 0) -> None:
    """Redraw every matrix with std 1.6 / sqrt(fan in); initial weights give nearly flat logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                scale = 1.6 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def byte_level_tokenizer(special: dict[str, str]) -> Any:
    """A byte-level tokenizer with a few merged words, among them ones that straddle a key."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    merges = []
    for word in WORDS:
        letters = list(word.replace(" ", "\u0120"))
        left = letters[0]
        for letter in letters[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
                vocabulary.setdefault(left + letter, len(vocabulary))
            left += letter
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = ByteLevel()
    bpe.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="<eos>",
        extra_special_tokens=special,
    )


SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    tokenizer = byte_level_tokenizer({"image_token": "<image>"})
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=32, patch_size=8, **SIZES),
        text_config=transformers.LlamaConfig(
            vocab_size=len(tokenizer) + 7, num_key_value_heads=2, **SIZES
        ),
        vision_feature_layer=-1,
        image_token_index=tokenizer.image_token_id,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    sharpen(model)
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHATML.replace("IMAGE", "<image>"),
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


QWEN_TOKENS = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 2, 2],
                "rope_theta": 1e4,
            },
            **SIZES,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": SIZES["hidden_size"],
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.vision_start_token_id,
        vision_end_token_id=tokenizer.vision_end_token_id,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    sharpen(model)
    area = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    pixels = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "size": area}
    processor = transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(**pixels),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(**pixels),
        chat_template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapted() -> Callable[..., VLMPolicy]:
    """Make a policy whose adapter says something; a fresh one's B is zero."""

    def make(folder: Path, start: Path | None = None, **settings: Any) -> VLMPolicy:
        chosen = PolicySettings(**{"rank": 4, "max_reply_tokens": 16, **settings})
        policy = VLMPolicy.from_folder(folder, chosen, start_adapter=start)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in policy.parameter_groups().get("adapter", []):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
        return policy

    return make


@pytest.fixture(scope="session")
def observe() -> Callable[..., Observation]:
    """Make an observation whose pixels, size and text length depend on (slot, turn)."""

    def make(
        slot: int,
        turn: int,
        actions: tuple[str, ...] = ("shelf 1", "shelf 11", "shelf 2"),
        size: tuple[int, int] = (32, 32),
    ) -> Observation:
        random = np.random.default_rng([slot, turn])
        return Observation(
            image=random.integers(0, 255, (*size, 3), dtype=np.uint8),
            task="Find it" + "!" * slot,
            text="look " * ((slot + 2 * turn) % 4),
            legal_actions=actions,
            reply_fields=("number",),
        )

    return make


MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] "
    "{% for c in m['content'] if c['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %} [/INST]"
    "{% else %}{{ ' ' + m['content'][0]['text'] + '<\\\\s> ' }}{% endif %}{% endfor %}"
)
"""What LLaVA-1.6-Mistral's template writes, its misspelt end of text included."""


@pytest.fixture(scope="session")
def llava_next_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA-1.6 in small: a Mistral decoder, several tiles an image, one token without a duty."""
    folder = tmp_path_factory.mktemp("llava_next")
    tokenizer = byte_level_tokenizer({"image_token": "<image>", "unk_like": "<unk>"})
    grid = [[32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=32, patch_size=8, **SIZES),
        text_config=transformers.MistralConfig(
            vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=None, **SIZES
        ),
        vision_feature_layer=-1,
        image_grid_pinpoints=grid,
        image_token_index=tokenizer.image_token_id,
    )
    model = transformers.LlavaNextForConditionalGeneration(config)
    sharpen(model)
    processor = transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=grid,
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=MISTRAL,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
