"""AI2-THOR as alfworld drives it: what it needs, how it is asked, and what to do when it is silent.

What alfworld's `AlfredThorEnv` starts a thread for is asked directly here: the thread takes no
choice of game, and one that dies on an exception leaves its caller waiting forever.
"""

import json
import os
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")

MODULES = ("ai2thor", "cv2", "torch", "torchvision")
"""What `AlfredThorEnv` imports beside alfworld."""
INSTALL = "pip install 'alfworld[vis]==0.4.2'"
SIDE = 300  # pixels of a frame; AI2-THOR draws no smaller one

_SCENE = ("scene_num", "object_poses", "dirty_and_empty", "object_toggles", "init_action")
_MOVE = re.compile(r"move (.+) to (.+)")


def require_simulator() -> None:
    """Refuse to go on without what AI2-THOR needs.

    Raises:
        ValueError: a package or a display is missing.
    """
    missing = [name for name in MODULES if not find_spec(name)]
    if missing:
        raise ValueError(
            f"found no package {', '.join(missing)}, expected those of AI2-THOR's 3D views: "
            f"`{INSTALL}`; gflowvlm/ALFWorld-v0 draws without"
        )
    if problem := display_problem():
        raise ValueError(problem)


def display_problem() -> str | None:
    """Why AI2-THOR cannot draw here, as far as can be told; None where nothing speaks against."""
    if platform.system() != "Linux":
        return None
    name = os.environ.get("DISPLAY")
    probe = shutil.which("xdpyinfo")
    if probe is None:
        found = None if name else "found no DISPLAY and no xdpyinfo (Debian: x11-utils)"
    else:
        asked = {**os.environ, "DISPLAY": name or ":0.0"}
        try:
            run = subprocess.run([probe], env=asked, capture_output=True, timeout=10, check=False)
            answers = run.returncode == 0
        except subprocess.TimeoutExpired:
            answers = False
        found = None if answers else f"found no X server at DISPLAY {asked['DISPLAY']}"
    return found and (
        f"{found}, expected one that AI2-THOR can draw on: start one with OpenGL and set DISPLAY; "
        "gflowvlm/ALFWorld-v0 draws without"
    )


class Simulator:
    """One Unity process and the game in it."""

    def __init__(self, limit: int, patience: float) -> None:
        """Start Unity, which AI2-THOR downloads first where it never has; `patience` in seconds.

        Raises:
            ValueError: it does not start.
        """
        self._patience = patience
        self._worker = self._ask("start", lambda: _worker(limit))

    def reset(self, story: Path, seed: int) -> str:
        """Play the game of a `traj_data.json` and give the words that open it.

        Raises:
            ValueError: the game has no scene, or AI2-THOR fails.
        """
        _check(story)

        def start() -> None:
            kept = random.getstate()  # alfworld draws the words of the task from it
            random.seed(seed)
            try:
                self._worker.reset(str(story))
            finally:
                random.setstate(kept)

        self._ask(f"begin {story}", start)
        return self._told[0]

    def step(self, command: str) -> str:
        """Do what a command says and give the answer.

        Raises:
            ValueError: AI2-THOR fails.
        """
        self._ask(f"do '{command}'", lambda: self._worker.step(understood(command)))
        return self._told[0]

    @property
    def commands(self) -> tuple[str, ...]:
        """What is offered now, in alphabetical order; alfworld guesses it from its own words."""
        return tuple(sorted({*self._told[2]}))

    @property
    def won(self) -> bool:
        """Whether the goal has been reached."""
        return bool(self._told[3])

    @property
    def subgoals(self) -> tuple[int, int]:
        """(conditions of the goal that hold, all of them)."""
        met, total = self._worker.env.get_goal_conditions_met()
        return int(met), int(total)

    @property
    def place(self) -> str:
        """Receptacle that the agent stands at; empty at the start."""
        name = self._worker.controller.curr_recep
        return "" if name == "nothing" else name

    @property
    def holding(self) -> str:
        """Object in the agent's hand; empty without one."""
        return next(iter(self._worker.controller.inventory), "")

    def frame(self) -> NDArray[np.uint8]:
        """What the agent's camera sees, uint8 [height, width, 3], red first."""
        return np.ascontiguousarray(
            self._worker.get_last_frame()[:, :, ::-1]
        )  # it gives blue first

    def close(self) -> None:
        """Stop Unity and what serves it."""
        self._ask("stop", self._worker.env.stop)

    @property
    def _told(self) -> tuple[Any, ...]:
        """(words, ended, commands, won, share of the goal's conditions, expert's commands)."""
        return self._worker.get_results()

    def _ask(self, what: str, work: Callable[[], Result]) -> Result:
        """Have something done, silently; AI2-THOR waits forever for a Unity that has died."""
        answer: Future[Result] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)

        thread = Thread(target=run, daemon=True)
        with redirect_stdout(StringIO()):
            thread.start()
            thread.join(self._patience)
        if thread.is_alive():
            raise ValueError(
                f"found AI2-THOR silent for {self._patience:g} s when asked to {what}, expected an "
                "answer: see whether Unity runs and its display has OpenGL, or raise patience"
            )
        if error := answer.exception():
            lines = str(error).strip().splitlines() or [""]
            raise ValueError(
                f"AI2-THOR cannot {what} ({type(error).__name__}: {lines[0]}); `gflowvlm doctor` "
                "says what it needs"
            ) from error
        return answer.result()


def understood(command: str) -> str:
    """A command in the words that alfworld 0.4.2 reads here.

    Its list offers `move X to Y`, as its text games do; its controllers still read
    `put X in/on Y` alone and do nothing otherwise, so that nothing could ever be put down.
    """
    moved = _MOVE.fullmatch(command)
    return f"put {moved[1]} in/on {moved[2]}" if moved else command


def settings(limit: int) -> dict[str, Any]:
    """All keys of alfworld's configuration that are read here."""
    thor = {
        "screen_height": SIDE,
        "screen_width": SIDE,
        "smooth_nav": False,
        "save_frames_to_disk": False,
        "save_frames_path": "",
    }
    return {
        "env": {"thor": thor, "goal_desc_human_anns_prob": 0},
        "controller": {"type": "oracle", "load_receps": False, "debug": False},
        "general": {"training_method": "dqn"},
        "rl": {"training": {"max_nb_steps_per_episode": limit}},
    }


def _worker(limit: int) -> Any:
    from alfworld.agents.environment.alfred_thor_env import (  # pyright: ignore[reportMissingImports]
        AlfredThorEnv,
    )

    # Any split but `train`: there upstream's expert plays along, which knows `put` alone as well.
    worker = AlfredThorEnv.Thor(Queue(), train_eval="eval_out_of_distribution")
    worker.init_env(settings(limit))
    return worker


def _check(story: Path) -> None:
    """Refuse a game that AI2-THOR cannot set up."""
    try:
        scene = json.loads(story.read_text(encoding="utf-8"))["scene"]
        missing = [key for key in _SCENE if key not in scene]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{story}: found no story to set up a room by; get the games again"
        ) from error
    if missing:
        raise ValueError(
            f"{story}: found a scene without {', '.join(missing)}, expected all: only the official "
            "games have them, `alfworld-download` gets those"
        )
