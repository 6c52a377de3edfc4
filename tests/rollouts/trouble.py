"""An environment that does a worker harm; apart, so that a worker need not import a test."""

import os
import time
from typing import Any

from gflowvlm_envs.number_line import NumberLine

BAD = 3  # seed of the start that does it


class Trouble(NumberLine):
    """The start BAD does what `trouble` says, at its first step or at the reset."""

    def __init__(self, trouble: str = "", at: str = "step", **more: Any) -> None:
        super().__init__(**more)
        self.trouble, self.at = trouble, at

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.troubled = seed == BAD
        if self.at == "reset":
            self.act()
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self.act()
        return super().step(action)

    def act(self) -> None:
        match self.trouble if self.troubled else "":
            case "dies":
                os._exit(9)
            case "hangs":
                time.sleep(60)
            case "raises":
                raise KeyError("lost key")
            case "refuses":
                raise ValueError("found a broken game, expected a whole one")
