import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gflowvlm.batch import TrajectoryBatch
from gflowvlm.exact.law import solve
from gflowvlm.exact.tree import Tree, enumerate_tree

OPTIONAL = ("log_flow", "log_reward_to_date", "log_p_done", "log_ref_done", "log_reward_done")


def _trajectories(**fields: Any) -> TrajectoryBatch:
    """A float64 batch from nested lists; what is left out is zero, one group, all ended."""
    rows = len(fields["log_pf"])
    scalars = {name: fields.pop(name) for name in ("alpha", "beta") if name in fields}
    fields.setdefault("group", [0] * rows)
    fields.setdefault("ended", [True] * rows)
    tensors: dict[str, Any] = {}
    for name, value in fields.items():
        exact = name not in ("length", "group", "ended", "said_done")
        tensors[name] = torch.tensor(value, dtype=torch.float64 if exact else None)
    for name in ("log_pb", "log_ref"):
        tensors.setdefault(name, torch.zeros_like(tensors["log_pf"]))
    for name in ("log_pf", "log_flow", "log_p_done"):
        if name in tensors:
            tensors[name].requires_grad_()
    return TrajectoryBatch(**tensors, **scalars)


@pytest.fixture
def trajectories() -> Callable[..., TrajectoryBatch]:
    return _trajectories


@pytest.fixture
def worked(trajectories: Callable[..., TrajectoryBatch]) -> TrajectoryBatch:
    """Two episodes with everything in play.

    Row 0: steps -1 + 0.5 = -0.5 and -2 + 0.5 = -1.5, so S = 0, -0.5, -2 and a = 0.2, 0.2, 2.5.
    Row 1: step -0.5 + 1 = 0.5, so S = 0, 0.5 and a = 1, 0.5.
    """
    nan = math.nan
    return trajectories(
        log_pf=[[-1.0, -2.0], [-0.5, nan]],
        log_pb=[[0.0, 0.0], [0.0, nan]],
        log_ref=[[-0.5, -0.5], [-1.0, nan]],
        log_flow=[[0.2, -0.3, nan], [1.0, nan, nan]],
        log_reward=[0.5, 1.0],
        length=[2, 1],
    )


@pytest.fixture
def random_batch(
    trajectories: Callable[..., TrajectoryBatch],
) -> Callable[..., TrajectoryBatch]:
    def build(lengths: Sequence[int], groups: Sequence[int] | None = None, seed: int = 0):
        draw = np.random.default_rng(seed)
        rows, steps = len(lengths), max(lengths)
        batch = {
            "log_pf": -draw.exponential(size=(rows, steps)),
            "log_pb": -draw.exponential(size=(rows, steps)),
            "log_ref": -draw.exponential(size=(rows, steps)),
            "log_flow": draw.normal(size=(rows, steps + 1)),
            "log_reward": draw.normal(size=rows),
        }
        return trajectories(
            **{name: value.tolist() for name, value in batch.items()},
            length=list(lengths),
            group=list(groups or [0] * rows),
            alpha=0.7,
            beta=1.3,
        )

    return build


@pytest.fixture
def rows_of() -> Callable[[TrajectoryBatch, Sequence[int], int], TrajectoryBatch]:
    """Some rows of a batch, the time axis padded with NaN by so many steps."""

    def take(batch: TrajectoryBatch, rows: Sequence[int], pad: int = 0) -> TrajectoryBatch:
        changes: dict[str, Tensor] = {}
        for name in ("log_pf", "log_pb", "log_ref", "log_reward", "length", "group", "ended"):
            changes[name] = getattr(batch, name)[list(rows)]
        if batch.said_done is not None:
            changes["said_done"] = batch.said_done[list(rows)]
        for name in OPTIONAL:
            if (value := getattr(batch, name)) is not None:
                changes[name] = value[list(rows)]
        for name in ("log_pf", "log_pb", "log_ref", *OPTIONAL):
            if name in changes:
                changes[name] = torch.nn.functional.pad(changes[name], (0, pad), value=math.nan)
        return replace(batch, **changes)

    return take


class Coins:
    """Up to three tosses of words; `stop` ends early, so paths have unequal lengths."""

    def starts(self) -> list[str]:
        return ["x", "y"]

    def legal(self, state: str) -> tuple[str, ...]:
        return ("a", "b") if len(state) == 1 else ("a", "b", "stop")

    def outcomes(self, state: str, action: int) -> list[tuple[float, str, float, bool]]:
        word = self.legal(state)[action]
        after = state + word[0]
        return [(1.0, after, 0.0, word == "stop" or len(after) == 4)]


@pytest.fixture(scope="session")
def coins() -> Tree:
    def log_ref(history: Any, legal: tuple[str, ...]) -> list[float]:
        weights = [1.0 + place + len(history.actions) for place in range(len(legal))]
        return [math.log(weight / sum(weights)) for weight in weights]

    def log_reward(history: Any) -> float:
        return 0.7 * history.states[-1].count("a") - 0.4 * len(history.actions)

    return enumerate_tree(Coins(), log_reward, log_ref)


@pytest.fixture
def on_target(
    coins: Tree, trajectories: Callable[..., TrajectoryBatch]
) -> Callable[[float, float], TrajectoryBatch]:
    """One row per path of the tree, with the analytic policy and flows of its target."""

    def build(alpha: float, beta: float) -> TrajectoryBatch:
        solution = solve(coins, alpha=alpha, beta=beta)
        paths = [coins.path(leaf) for leaf in coins.leaves]
        steps = max(map(len, paths)) - 1
        log_pf, log_ref = (np.full((len(paths), steps), math.nan) for _ in range(2))
        log_flow = np.full((len(paths), steps + 1), math.nan)
        for row, path in enumerate(paths):
            actions = coins.nodes[path[-1]].history.actions
            for time, (number, action) in enumerate(zip(path, actions, strict=False)):
                log_pf[row, time] = solution.log_policy[number, action]
                log_ref[row, time] = coins.log_ref[number, action]
                log_flow[row, time] = solution.log_flow[number]
        return trajectories(
            log_pf=log_pf.tolist(),
            log_ref=log_ref.tolist(),
            log_flow=log_flow.tolist(),
            log_reward=[coins.nodes[leaf].log_reward for leaf in coins.leaves],
            length=[len(path) - 1 for path in paths],
            group=[path[0] for path in paths],
            alpha=alpha,
            beta=beta,
        )

    return build
