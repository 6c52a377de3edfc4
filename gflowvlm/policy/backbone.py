"""The model's body: token ids and images in, hidden states out, positions always explicit."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from gflowvlm.policy.families import Family, merge_vision
from gflowvlm.policy.past import Past


class Backbone:
    """A Hugging Face vision-language model without its language head.

    The cache is a `DynamicCache` without a config, whose layers keep every column. Columns are
    shared by the rows of a batch; a 2D mask over all columns says which hold a real token.
    """

    def __init__(self, model: PreTrainedModel, family: Family, pad_id: int) -> None:
        """Wrap a model.

        Args:
            model: with its language head, which is not used here.
            family: what is special about it.
            pad_id: fills columns without a token; must not be an image placeholder.
        """
        self.model: Any = model
        self.pad_id = pad_id
        self.family = family
        self.body: Any = model.base_model
        # newer transformers (5.24 does) call `cache` what was `past_key_values`
        taken = inspect.signature(self.body.forward).parameters
        self._cache_key = "cache" if "cache" in taken else "past_key_values"

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.body.device

    def hidden(
        self,
        ids: Tensor,
        mask: Tensor,
        start: Tensor,
        *,
        types: Tensor | None = None,
        vision: Mapping[str, Tensor] | None = None,
        cache: DynamicCache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Last hidden states of the new columns, and each row's next free position.

        Args:
            ids: [B, S] the new columns; padding anywhere.
            mask: [B, C + S] 1 where a column holds a real token, the cache's C columns first.
            start: [B] position of each row's first new token.
            types: [B, S] 1 where a token stands for a piece of an image; mrope families only.
            vision: tensors of the images among the new columns, in reading order.
            cache: grows by S columns; None where nothing is kept.

        Returns:
            [B, S, H] and [B].
        """
        positions, following = self.positions(ids, mask[:, -ids.shape[1] :], start, types, vision)
        output = self.body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self._cache_key: cache},
            **(vision or {}),
        )
        return output[0], following

    def feed(
        self,
        new: Sequence[Sequence[int]],
        past: Past,
        *,
        vision: Mapping[str, Tensor],
    ) -> Tensor:
        """Feed each row its new tokens on top of its past; the fewer leave holes on the right.

        Args:
            new: [B] token ids of each row.
            past: of the same rows; grows by S columns, the most new tokens of a row.
            vision: tensors of the images among the new tokens.

        Returns:
            Hidden states [B, S, H].
        """
        width, device = max(map(len, new)), self.device
        ids = torch.tensor([[*n, *[self.pad_id] * (width - len(n))] for n in new], device=device)
        length = torch.tensor([len(n) for n in new], device=device)
        real = (torch.arange(width, device=device)[None] < length[:, None]).long()
        past.mask = torch.cat([past.mask, real], 1)
        types = None
        if self.family.positions == "mrope":
            types = (ids == self.model.config.image_token_id).long()
        hidden, past.position = self.hidden(
            ids, past.mask, past.position, types=types, vision=vision, cache=past.cache
        )
        return hidden

    def positions(
        self,
        ids: Tensor,
        mask: Tensor,
        start: Tensor,
        types: Tensor | None,
        vision: Mapping[str, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Position ids ([B, S], or [3, B, S] under mrope) and each row's next free position."""
        if self.family.positions == "mrope" and vision and types is not None:
            grid, _ = self.body.get_rope_index(
                ids,
                mm_token_type_ids=types,
                image_grid_thw=vision["image_grid_thw"],
                attention_mask=mask,
            )
            positions = grid + start[None, :, None]
            seen = torch.where(mask.bool()[None], positions, -1).amax((0, 2))
            return positions, torch.maximum(seen + 1, start)
        counted = mask.long().cumsum(-1)
        positions = (counted - 1).clamp(min=0) + start[:, None]
        following = start + counted[:, -1]
        if self.family.positions == "mrope":
            positions = positions[None].expand(3, -1, -1)
        return positions, following

    def merge(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Join vision tensors and bring them to the model's device."""
        merged = merge_vision(self.family, parts)
        return {name: tensor.to(self.device) for name, tensor in merged.items()}
