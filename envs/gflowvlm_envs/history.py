"""The record of a game: what was shown, done and earned so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One moment of a game; the first one stands for `reset`."""

    observation: NDArray[np.uint8]  # [height, width, 3], a read-only copy
    info: Mapping[str, Any]  # read-only
    action: int | None  # what led here; None at reset
    reward: float  # for that action; 0 at reset
    ended: bool  # the environment terminated or truncated here


class HistoryWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Carries everything that happened since `reset`.

    A policy that acts on the past needs it, since one image does not tell how a game came there.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap `env`; observations must be images."""
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._entries: list[HistoryEntry] = []

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The moments so far, oldest first; T + 1 of them after T steps, none before `reset`."""
        return tuple(self._entries)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew; the record holds the first observation only."""
        self._entries = []
        observation, info = self.env.reset(seed=seed, options=options)
        self._remember(observation, info, None, 0.0, False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment and record what came of it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._remember(observation, info, int(action), float(reward), terminated or truncated)
        return observation, float(reward), terminated, truncated, info

    def _remember(
        self,
        observation: Any,
        info: Mapping[str, Any],
        action: int | None,
        reward: float,
        ended: bool,
    ) -> None:
        image = np.array(observation)  # a copy: environments may draw into one buffer
        image.setflags(write=False)
        self._entries.append(
            HistoryEntry(
                observation=image,
                info=MappingProxyType(dict(info)),
                action=action,
                reward=reward,
                ended=ended,
            )
        )
