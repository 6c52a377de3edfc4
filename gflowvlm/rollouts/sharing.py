"""Equal pixels as one object: what many stored episodes show is held once."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Episode, Observation


class ImageStore:
    """Images and the tensors made of them, by content; each lives as long as someone holds it."""

    def __init__(self) -> None:
        """Start empty."""
        self._known: WeakValueDictionary[bytes, Any] = WeakValueDictionary()

    def __len__(self) -> int:
        """Different arrays and tensors in use."""
        return len(self._known)

    def episode(self, episode: Episode) -> Episode:
        """The same episode, its images shared."""
        decisions = [
            replace(d, observation=replace(d.observation, image=self._array(d.observation.image)))
            for d in episode.decisions
        ]
        return replace(episode, decisions=tuple(decisions))

    def row(self, row: Row) -> Row:
        """The same row, its vision tensors shared."""
        return replace(row, vision=tuple(self._tensors(image) for image in row.vision))

    def _tensors(self, image: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._tensor(tensor) for name, tensor in image.items()}

    def _array(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        key = _digest(array, str(array.dtype), array.shape)
        if key not in self._known:
            self._known[key] = (kept := array.copy())  # a view would keep more than itself alive
            return kept
        return self._known[key]

    def _tensor(self, tensor: Tensor) -> Tensor:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        key = _digest(flat.view(torch.uint8).numpy(), str(tensor.dtype), tuple(tensor.shape))
        if key not in self._known:
            self._known[key] = (kept := tensor.detach().clone())
            return kept
        return self._known[key]


def start_of(observation: Observation) -> str:
    """Names the start h_0 that an episode's first observation shows: text and pixels alike."""
    said = repr((observation.task, observation.text, observation.legal_actions))
    return _digest(observation.image, said, observation.image.shape).hex()


def _digest(array: NDArray[Any], said: str, shape: tuple[int, ...]) -> bytes:
    return sha256(f"{said} {shape} ".encode() + np.ascontiguousarray(array).tobytes()).digest()
