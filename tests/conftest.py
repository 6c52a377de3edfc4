"""Shared by all tests: one thread, no hub, a way to be two processes, random games."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def two_processes() -> Callable[..., int]:
    """Runs a function that gives an exit code in two forked processes; the first bad one, or 0."""
    import torch
    from accelerate import PartialState, debug_launcher
    from torch.multiprocessing.spawn import ProcessExitedException

    def child(function: Callable[..., int | None], *arguments: object) -> None:
        torch.set_num_threads(1)  # a forked pool of threads would wait for ever
        PartialState._reset_state()  # what an earlier test of this process left behind
        sys.exit(function(*arguments) or 0)

    def launch(function: Callable[..., int | None], *arguments: object) -> int:
        try:
            debug_launcher(child, (function, *arguments), num_processes=2)
        except ProcessExitedException as exited:
            return exited.exit_code
        return 0

    return launch


class RandomGame:
    """What follows a state is drawn from the state's own name, so it is the same every time.

    One to three actions; a game lasts one to `depth` actions; any of its starts may be cut short.
    """

    def __init__(self, seed: int, starts: int, depth: int, chance: bool) -> None:
        self.seed, self.count, self.depth, self.chance = seed, starts, depth, chance

    def draw(self, purpose: int, *state: int) -> Any:
        return np.random.default_rng([self.seed, purpose, *state])

    def starts(self) -> list[tuple[int, ...]]:
        return [(start,) for start in range(self.count)]

    def legal(self, state: tuple[int, ...]) -> tuple[str, ...]:
        return ("left", "right", "wait")[: self.draw(0, *state).integers(1, 4)]

    def outcomes(
        self, state: tuple[int, ...], action: int
    ) -> list[tuple[float, tuple[int, ...], float, bool]]:
        draw = self.draw(1, *state, action)
        split = draw.dirichlet([1.0] * (draw.integers(1, 3) if self.chance else 1))
        after = [(*state, action, lot) for lot in range(len(split))]
        ended = [len(a) > 2 * self.depth or draw.random() < 0.3 for a in after]
        return [(float(p), a, 0.0, e) for p, a, e in zip(split, after, ended, strict=True)]

    def log_reward(self, history: Any) -> float:
        return float(self.draw(2, *history.states[-1]).normal(scale=1.5))

    def log_ref(self, history: Any, legal: tuple[str, ...]) -> list[float]:
        return np.log(self.draw(3, *history.states[-1]).dirichlet([0.8] * len(legal))).tolist()


@pytest.fixture(scope="session")
def random_tree() -> Callable[..., Any]:
    """Unfolds a game with random shape, rewards and reference; equal seeds give equal trees."""
    from gflowvlm.exact.replies import Replies, ReplyForm
    from gflowvlm.exact.tree import enumerate_tree

    def unfold(
        seed: int,
        *,
        starts: int = 3,
        depth: int = 4,
        chance: bool = False,
        form: Any = ReplyForm(),  # noqa: B008 (frozen)
    ) -> Any:
        game = RandomGame(seed, starts, depth, chance)
        return enumerate_tree(Replies(game, form), game.log_reward, game.log_ref)

    return unfold


@pytest.fixture(scope="session")
def actions_told() -> Callable[[Sequence[str]], list[set[str]]]:
    """The legal actions at each turn of a transcript, for one who reads nothing but its turns."""
    word = r'"(?:[^"\\]|\\.)*"'
    sentence = re.compile(rf"(one of|also be|not be) ((?:{word}(?:, )?)+)")

    def read(turns: Sequence[str]) -> list[set[str]]:
        known, found = set[str](), []
        for text in turns:
            for change, listed in sentence.findall(text):
                words = {json.loads(each) for each in re.findall(word, listed)}
                if change == "not be":
                    known = known - words
                else:
                    known = words if change == "one of" else known | words
            found.append(known)
        return found

    return read


CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WITHOUT_BROWSER = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The machine's Chromium; a test that asks for it fails where there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    assert found, (
        f"found none of {', '.join(CHROMIUMS)}: install one, as `apt-get install chromium`"
    )
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `slow` runs only where `-m` names it: `pytest -m slow`.

    What is marked `browser` is left out, and said to be, on a machine without one; never in
    continuous integration, where it fails instead.
    """
    if "slow" not in str(config.getoption("markexpr")):
        _deselect(config, items, "slow")
    if not any(map(shutil.which, CHROMIUMS)) and not os.environ.get("CI"):
        config.stash[WITHOUT_BROWSER] = _deselect(config, items, "browser")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tests that did not run are named where everybody looks."""
    if count := config.stash.get(WITHOUT_BROWSER, 0):
        terminalreporter.section("NOT TESTED", red=True, bold=True)
        terminalreporter.line(
            f"{count} browser tests did not run: found no Chromium; apt-get install chromium"
        )


def _deselect(config: pytest.Config, items: list[pytest.Item], marker: str) -> int:
    marked = [item for item in items if item.get_closest_marker(marker)]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]
    return len(marked)
