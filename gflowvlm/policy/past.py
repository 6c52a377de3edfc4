"""What a model has read of some sequences, kept so that they can be read on."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE = 64  # columns: most replies


@dataclass(eq=False)
class Past:
    """A cache without a config, whose layers keep every column, [B, heads, C, head size]."""

    cache: DynamicCache
    mask: Tensor  # [B, C]  1 where a column holds a real token
    position: Tensor  # [B]  next free

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> Self:
        """Of sequences without a token."""
        mask = torch.zeros(rows, 0, dtype=torch.long, device=device)
        return cls(_cache_of([]), mask, mask.new_zeros(rows))

    def keep(self, rows: Sequence[int] | None = None) -> None:
        """Keep some rows, perhaps several times, and move their holes to the left, in place.

        Afterwards no row has a hole between two real tokens, so that the distance in columns is the
        distance in tokens; sliding-window layers need this, the others get less to attend to.

        Args:
            rows: [B'] indices of the rows to keep; None keeps all.
        """
        index = None if rows is None else torch.tensor(rows, device=self.mask.device)
        if index is not None:
            self.mask, self.position = self.mask[index], self.position[index]
        width = int(self.mask.sum(1).max())
        order = None
        if width < self.mask.shape[1] or bool((self.mask[:, 1:] < self.mask[:, :-1]).any()):
            order = self.mask.sort(dim=1, stable=True).indices[:, self.mask.shape[1] - width :]
            self.mask = self.mask.gather(1, order)
        for layer in self._layers:
            for name in ("keys", "values"):
                kept = getattr(layer, name)
                if index is not None:
                    kept = kept[index]
                if order is not None:
                    columns = order[:, None, :, None]
                    kept = kept.gather(2, columns.expand(-1, kept.shape[1], -1, kept.shape[3]))
                setattr(layer, name, kept)

    def fork(self, rows: Sequence[int]) -> "Past":
        """Some rows without holes, as a past of their own; this one stays as it is."""
        fork = Past(_cache_of([copy(layer) for layer in self._layers]), self.mask, self.position)
        fork.keep(rows)
        return fork

    @property
    def _layers(self) -> list[Any]:
        return self.cache.layers


def joined(parts: Sequence[Past], rows: Sequence[Sequence[int]]) -> Past:
    """One past of several, the fewer columns on the right; `rows` says where each one's go.

    What the parts hold is let go on the way.
    """
    width = max(part.mask.shape[1] for part in parts)

    def together(tensors: Sequence[Tensor], columns: int) -> Tensor:
        shape = list(tensors[0].shape)
        shape[0], shape[columns] = sum(map(len, rows)), width
        whole = tensors[0].new_zeros(shape)
        for tensor, places in zip(tensors, rows, strict=True):
            narrow = whole.narrow(columns, width - tensor.shape[columns], tensor.shape[columns])
            narrow[torch.tensor(places, device=whole.device)] = tensor
        return whole

    layers = []
    for same in zip(*(part.cache.layers for part in parts), strict=True):
        layer: Any = copy(same[0])
        for name in ("keys", "values"):
            setattr(layer, name, together([getattr(each, name) for each in same], 2))
            for each in same:
                delattr(each, name)
        layers.append(layer)
    mask = together([part.mask for part in parts], 1)
    position = parts[0].position.new_zeros(len(mask))
    for part, places in zip(parts, rows, strict=True):
        position[torch.tensor(places, device=position.device)] = part.position
    return Past(_cache_of(layers), mask, position)


def _cache_of(layers: list[Any]) -> DynamicCache:
    cache = DynamicCache()
    cache.layers, cache.layer_class_to_replicate = layers, RoomyLayer
    return cache


class RoomyLayer(DynamicLayer):
    """Grows into spare columns, where its parent copies all that it holds for every token.

    Who copies a layer and lets both grow has to give one of them tensors of its own.
    """

    _rooms: tuple[Tensor | None, Tensor | None] = (None, None)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take in [B, heads, new, head size] keys and values; all there are, new ones last."""
        if torch.is_grad_enabled():
            return super().update(key_states, value_states, *args, **kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        keys, values = self._rooms
        keys, self.keys = _grown(keys, self.keys, key_states)
        values, self.values = _grown(values, self.values, value_states)
        self._rooms = keys, values
        return self.keys, self.values


def _grown(room: Tensor | None, held: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """(room, its part in use): `held`, which lies in `room` or else is moved, with `new` behind."""
    used = held.shape[2] if held.numel() else 0
    end = used + new.shape[2]
    if room is None or room.data_ptr() != held.data_ptr() or end > room.shape[2]:
        room = new.new_empty(*new.shape[:2], end + SPARE, new.shape[3])
        if used:
            room[:, :, :used] = held
    room[:, :, used:end] = new
    return room, room[:, :, :end]
