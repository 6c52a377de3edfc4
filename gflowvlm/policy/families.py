"""What differs between model families, in one table keyed by `config.model_type`.

Exactness here means: the log-prob of a token sampled with a living cache equals the one computed
by a single pass over the whole row. Families that were measured to be exact are in the table; an
unknown one is treated as `plain`; `selfcheck.require_exactness` looks harder at it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from gflowvlm.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Family:
    """Facts about one model family."""

    positions: Literal["plain", "mrope"] = "plain"
    """plain: the count of real tokens so far. mrope: three rows; an image spans a grid."""
    image_axis: int = 0
    """Axis of the vision tensors along which images are counted."""
    tiles: bool = False
    """Images come as [images, tiles, C, H, W] and must be padded to the most tiles."""
    processor_options: Mapping[str, Any] = field(default_factory=dict)
    known: bool = True


_MROPE = Family(positions="mrope")
_NESTED = Family(image_axis=1)  # the processor answers [batch, images, C, H, W]

FAMILIES: Mapping[str, Family] = {
    "llava": Family(),
    "llava_next": Family(tiles=True),
    "idefics3": _NESTED,
    "smolvlm": _NESTED,
    # One tile a frame: the processor's own default cuts each frame into up to a dozen.
    "internvl": Family(processor_options={"crop_to_patches": False}),
    "qwen2_vl": _MROPE,
    "qwen2_5_vl": _MROPE,
    "qwen3_vl": _MROPE,
}

REFUSED: Mapping[str, str] = {
    "gemma3": "tokens of an image see each other in both directions across the cache",
    "paligemma": "whether a token sees the future depends on the padding of its batch",
    "qwen3_5": "its recurrent layers cannot skip the padding of other rows",
}


def family_of(model_type: str) -> Family:
    """Look a family up.

    Raises:
        UserError: the family is known not to be exact here.
    """
    if model_type in REFUSED:
        raise UserError(
            f"model family {model_type!r} is not supported: {REFUSED[model_type]}; "
            f"use one of {', '.join(FAMILIES)}"
        )
    return FAMILIES.get(model_type, Family(known=False))


def merge_vision(family: Family, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join the vision tensors of several chunks or rows, in the order of their placeholders."""
    parts = [part for part in parts if part]
    if not parts:
        return {}
    merged = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if family.tiles and name == "pixel_values":
            tensors = _pad_axis(tensors, 1)
        elif family.image_axis == 1:
            tensors = _pad_axis(_pad_axis(tensors, -2), -1)
        merged[name] = torch.cat(tensors, family.image_axis)
    return merged


def _pad_axis(tensors: list[Tensor], axis: int) -> list[Tensor]:
    """Pad one axis with zeros at its end, to the longest."""
    longest = max(tensor.shape[axis] for tensor in tensors)
    after = [0] * (2 * tensors[0].ndim)
    padded = []
    for tensor in tensors:
        after[2 * (tensor.ndim - 1 - axis % tensor.ndim) + 1] = longest - tensor.shape[axis]
        padded.append(pad(tensor, after))
    return padded
