"""ALFWorld seen by a camera in AI2-THOR's rooms, for those who have AI2-THOR."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gflowvlm_envs import drawing
from gflowvlm_envs.alfworld.base import WIN, HouseholdGame, introduced
from gflowvlm_envs.alfworld.games import STORY, require_packages
from gflowvlm_envs.alfworld.simulator import Simulator, require_simulator
from gflowvlm_envs.alfworld.world import TASKS
from gflowvlm_envs.contract import StepInfo


class ALFWorldThor(HouseholdGame):
    """Do a household task in a room of AI2-THOR, seen by the agent's camera.

    ## Description
    The games of `ALFWorld-v0` in three dimensions: alfworld's own `AlfredThorEnv` (Shridhar et al.
    2021) moves the agent by the same commands, through its oracle controller, which knows where
    receptacles stand. Needs `alfworld[vis]`, a display with OpenGL, AI2-THOR's Unity build, and
    the official games: generated ones have no scene. Every environment has a Unity process of its
    own, from its first reset to `close()`.

    ## Action Space
    `Discrete(256)`, an index into `info["legal_actions"]`: the commands that alfworld offers, in
    alphabetical order. It guesses them from its own words, so that some do nothing. An index beyond
    their number counts from their first again.

    ## Observation Space
    `Box(0, 255, (image_size, image_size, 3), uint8)`: what the camera sees, scaled from 300 x 300
    pixels. `info["text"]`, `info["task"]`, `info["facts"]` and `info["progress"]` are as in
    `ALFWorld-v0`. The task is worded by one of alfworld's templates, drawn at reset.

    ## Rewards
    As in `ALFWorld-v0`: +50 for the step that wins, and +1 for each condition of the goal that
    comes to hold, -1 for each that ceases to.

    ## Starting State
    A game of the split, drawn uniformly; `reset(options={"game": path})` plays one file. AI2-THOR
    promises no equal pixels for equal commands: its physics is its own.

    ## Episode End
    Terminates when the goal is reached (success), or after `limit` steps (failure). Never
    truncates.

    ## Arguments
    - `split`, `data`, `task_types`, `limit`, `image_size`, `render_mode`: as in `ALFWorld-v0`.
    - `patience`: seconds that AI2-THOR may be silent before it is given up; 600, which the first
      start needs where the Unity build has to be downloaded.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        split: str = "train",
        data: str | Path | None = None,
        task_types: Sequence[str] | None = None,
        limit: int = 50,
        image_size: int = 336,
        render_mode: str | None = None,
        patience: float = 600.0,
    ) -> None:
        """See the class for the arguments."""
        if patience <= 0:
            raise ValueError(f"found patience = {patience} s, expected more than 0: raise it")
        require_packages()
        require_simulator()
        super().__init__(split, data, task_types, limit, image_size, render_mode)
        if self.games.generated:
            raise ValueError(
                f"found generated games in {self.games.folder}, expected official ones: AI2-THOR "
                "sets up rooms by what those alone tell; `alfworld-download` gets them"
            )
        self.patience = patience
        self._simulator: Simulator | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Draw a game, or take the one in `options["game"]`.

        Raises:
            ValueError: AI2-THOR does not start, or cannot set up the game.
        """
        super().reset(seed=seed)
        game = self._chosen(options)
        self._game = None
        if self._simulator is None:
            self._simulator = Simulator(self.limit, self.patience)
        words = self._simulator.reset(
            game.with_name(STORY), seed=int(self.np_random.integers(2**32))
        )
        self._game = game
        self._task, self._text = introduced(words, self.limit)
        self._steps, self._ended = 0, False
        return self._draw(), self._info()

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Do one thing; `truncated` is always False."""
        self._require_action(action)
        simulator = self._playing()
        commands, (before, _) = simulator.commands, simulator.subgoals
        self._text = simulator.step(commands[int(action) % len(commands)])
        self._steps += 1
        won = simulator.won
        self._ended = won or self._steps >= self.limit
        reward = WIN * won + simulator.subgoals[0] - before
        return self._draw(), float(reward), self._ended, False, self._info()

    def close(self) -> None:
        """Stop the Unity process."""
        if self._simulator is not None:
            simulator, self._simulator, self._game = self._simulator, None, None
            simulator.close()

    def _playing(self) -> Simulator:
        assert self.game
        assert self._simulator is not None
        return self._simulator

    def _info(self) -> dict[str, Any]:
        simulator = self._playing()
        met, total = simulator.subgoals
        info: StepInfo = {
            "task": self._task,
            "legal_actions": simulator.commands,
            "facts": {
                "place": simulator.place or "the middle of the room",
                "holding": simulator.holding or "nothing",
            },
            "text": self._text,
            "success": simulator.won,
            "extra_steps": 0,
            "progress": met / total,
        }
        task_type = self.game.parent.parent.name.partition("-")[0]  # as the official layout has it
        if task_type in TASKS:
            info["task_type"] = task_type
        return dict(info)

    def _draw(self) -> NDArray[np.uint8]:
        """The camera's frame at the size that was asked for."""
        side = (self.image_size, self.image_size)
        frame = Image.fromarray(self._playing().frame())
        return drawing.pixels(frame.resize(side, Image.Resampling.LANCZOS))
