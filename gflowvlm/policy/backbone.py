"""The model's body: token ids and images in, hidden states out, positions always explicit."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from gflowvlm.policy.families import Family, merge_vision


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
            past_key_values=cache,
            use_cache=cache is not None,
            **(vision or {}),
        )
        return output[0], following

    def feed(
        self,
        new: Sequence[Sequence[int]],
        mask: Tensor,
        start: Tensor,
        *,
        vision: Mapping[str, Tensor],
        cache: DynamicCache,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Feed each row its new tokens on top of a cache; the fewer leave holes on the right.

        Args:
            new: [B] token ids of each row.
            mask: [B, C] of the cache.
            start: [B] position of each row's first new token.
            vision: tensors of the images among the new tokens.
            cache: grows by S columns, the most new tokens of a row.

        Returns:
            Hidden states [B, S, H], the mask [B, C + S], and each row's next free position [B].
        """
        width, device = max(map(len, new)), self.device
        ids = torch.tensor([[*n, *[self.pad_id] * (width - len(n))] for n in new], device=device)
        length = torch.tensor([len(n) for n in new], device=device)
        real = (torch.arange(width, device=device)[None] < length[:, None]).long()
        mask = torch.cat([mask, real], 1)
        types = None
        if self.family.positions == "mrope":
            types = (ids == self.model.config.image_token_id).long()
        hidden, following = self.hidden(ids, mask, start, types=types, vision=vision, cache=cache)
        return hidden, mask, following

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


def compact(cache: DynamicCache, mask: Tensor, rows: Tensor | None = None) -> Tensor:
    """Keep some rows of the cache and move their holes to the left, in place.

    Afterwards no row has a hole between two real tokens, so that the distance in columns is the
    distance in tokens; sliding-window layers need this, the others get less to attend to.

    Args:
        cache: of C columns.
        mask: [B, C].
        rows: [B'] indices of the rows to keep; None keeps all.

    Returns:
        [B', C'] the new mask, C' = the most real tokens of any row.
    """
    if rows is not None:
        mask = mask[rows]
    width = int(mask.sum(1).max())
    if width == mask.shape[1]:
        order = None
    else:
        order = mask.sort(dim=1, stable=True).indices[:, mask.shape[1] - width :]
        mask = mask.gather(1, order)
    layers: Any = cache.layers  # all of them keep plain keys and values, [B, heads, C, head size]
    for layer in layers:
        keys, values = layer.keys, layer.values
        assert keys is not None, "compacting an empty cache"
        assert values is not None, "compacting an empty cache"
        if rows is not None:
            keys, values = keys[rows], values[rows]
        if order is not None:
            index = order[:, None, :, None]
            keys = keys.gather(2, index.expand(-1, keys.shape[1], -1, keys.shape[3]))
            values = values.gather(2, index.expand(-1, values.shape[1], -1, values.shape[3]))
        layer.keys, layer.values = keys, values
    return mask
