"""What all views of a household game have in common: its arguments, its choice, its rules."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gflowvlm_envs.alfworld.games import FOLDERS, find_games
from gflowvlm_envs.alfworld.world import TASKS

MOST_MOVES = 256
WIN = 50.0


class HouseholdGame(gymnasium.Env[NDArray[np.uint8], int | np.int64]):
    """A game of a split, drawn or chosen, played by an index into the legal actions."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 2}  # pyright: ignore[reportIncompatibleVariableOverride]
    splits: ClassVar[dict[str, dict[str, Any]]] = {name: {"split": name} for name in FOLDERS}

    def __init__(
        self,
        split: str,
        data: str | Path | None,
        task_types: Sequence[str] | None,
        limit: int,
        image_size: int,
        render_mode: str | None,
    ) -> None:
        """Check the arguments and find the games.

        Raises:
            ValueError: one of them will not do, or there are no games.
        """
        if limit < 1:
            raise ValueError(f"found a limit of {limit} steps, expected at least 1: pass limit")
        if image_size < 64:
            raise ValueError(f"found image_size = {image_size}, expected at least 64: raise it")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"found render_mode {render_mode!r}, expected None or 'rgb_array': change it"
            )
        self.games = find_games(data, split, TASKS if task_types is None else tuple(task_types))
        self.limit, self.image_size, self.render_mode = limit, image_size, render_mode
        self.action_space = spaces.Discrete(MOST_MOVES)
        self.observation_space = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self._game: Path | None = None
        self._ended = False

    @property
    def game(self) -> Path:
        """File of the game in progress."""
        if self._game is None:
            raise ValueError("found no game in progress, expected one: call reset() first")
        return self._game

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The present observation, or None without a render mode."""
        assert self.game
        return None if self.render_mode is None else self._draw()

    def _chosen(self, options: dict[str, Any] | None) -> Path:
        """The game in `options["game"]`, or one drawn uniformly."""
        game = (options or {}).get("game")
        if game is None:
            game = self.games.paths[int(self.np_random.integers(len(self.games.paths)))]
        return Path(game)

    def _require_action(self, action: int | np.int64) -> None:
        """Refuse a step that cannot be taken."""
        assert self.game
        if self._ended:
            raise ValueError("found a game that has ended, expected one in progress: call reset()")
        if not self.action_space.contains(int(action)):
            raise ValueError(
                f"found action {action}, expected one of {self.action_space}: choose an index into "
                "the legal actions"
            )

    @abstractmethod
    def _draw(self) -> NDArray[np.uint8]:
        """[image_size, image_size, 3] what is seen now."""


def introduced(words: str, limit: int) -> tuple[str, str]:
    """(task with the limit, the room) out of the words that open a game."""
    room, _, task = words.partition("Your task is to: ")
    room = room.split("=-", 1)[-1].strip()
    return f"Your task is to: {task.strip()} You have {limit} steps.", room
