"""A real vision-language model, token by token, against the law of all its whole replies.

A game of one or two turns with pictures, actions of one and of three letters, and a LLaVA so small
that every history and every reply can be scored: the reference's own probabilities make the tree,
the trained model's make the law that is compared.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gflowvlm.batch import Row, StepScores, rows_of
from gflowvlm.episode import Observation
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.replies import Replies, ReplyForm
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.done import DoneFlow
from gflowvlm.objectives.forward_looking import ForwardLooking
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.prompting.reply import format_reply
from gflowvlm.rollouts.environments import observe
from gflowvlm.rollouts.reward import ExpReturn
from gflowvlm.trainer.loop import Trainer

State = tuple[str, ...]
REWARD = ExpReturn(scale=1.0, floor=-20.0)
EARNED = {"a": 1.0, "abc": -0.5, "c": 0.0, "b": -0.4, "bac": 0.8}
"""What each action earns by lamplight, nats; at night the first one earns the opposite."""


class Lamp(gymnasium.Env[NDArray[np.uint8], int]):
    """Night or lamplight, told by the picture alone; `c` ends the game at once."""

    action_space: Any = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def starts(self) -> list[State]:
        return [("night",), ("lamp",)]

    def legal(self, state: State) -> State:
        return ("a", "abc", "c") if len(state) == 1 else ("b", "bac")

    def outcomes(self, state: State, action: int) -> list[tuple[float, State, float, bool]]:
        word = self.legal(state)[action]
        earned = EARNED[word] * (-1 if state == ("night",) else 1)
        return [(1.0, (*state, word), earned, word == "c" or len(state) == 2)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        drawn = self.starts()[self.np_random.integers(2)]
        self.state: State = (options or {}).get("start", drawn)
        return self._picture(), self._info()

    def step(self, action: int) -> Any:
        [(_, self.state, reward, ended)] = self.outcomes(self.state, action)
        return self._picture(), reward, ended, False, self._info()

    def _info(self) -> dict[str, Any]:
        return {"legal_actions": self.legal(self.state), "task": "say"}

    def _picture(self) -> NDArray[np.uint8]:
        draw = np.random.default_rng(zlib.crc32(" ".join(self.state).encode()))
        return draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)


class Toy:
    """The game, unfolded reply by reply under a policy's own reference."""

    def __init__(self, policy: VLMPolicy) -> None:
        self.policy = policy
        self.form = ReplyForm(done=policy.settings.done)
        self.tree = self._unfold(None)
        table = self.log_policy(policy.score_reference)
        number = {node.history: n for n, node in enumerate(self.tree.nodes)}
        self.tree = self._unfold(lambda h, legal: table[number[h], : len(legal)].tolist())

    def log_policy(self, score: Callable[[Sequence[Row]], StepScores]) -> NDArray[np.float64]:
        """[N, A] log-prob of every reply at every history, from the scores of every episode."""
        tree, table = self.tree, np.full((len(self.tree.nodes), self.tree.width), -math.inf)
        with torch.no_grad():
            scores = score(rows_of(self.rows(tree.nodes[leaf].history) for leaf in self.whole))
        said = (scores.thought_log_prob + scores.action_log_prob).double().tolist()
        place = 0
        for leaf in self.whole:
            for number, reply in zip(
                tree.path(leaf), tree.nodes[leaf].history.actions, strict=False
            ):
                table[number, reply] = said[place]
                if self.policy.settings.done:
                    assert scores.log_p_done is not None
                    last = len(tree.nodes[number].legal) - 1
                    table[number, last] = scores.log_p_done[place].item()
                place += 1
        return self._normalised(table)

    @property
    def whole(self) -> list[int]:
        """Leaves at which the game itself has ended."""
        return [
            leaf for leaf in self.tree.leaves if not self._said_done(self.tree.nodes[leaf].history)
        ]

    def _normalised(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """To the last digit of float64; constrained replies leave nothing to others."""
        for number, node in enumerate(self.tree.nodes):
            legal = table[number, : len(node.legal)]
            if node.legal:
                assert abs(np.logaddexp.reduce(legal)) < 1e-5
                legal -= np.logaddexp.reduce(legal)
        return table

    def _unfold(self, log_ref: Any) -> Tree:
        """Of DONE too the reward is what has been earned."""
        return enumerate_tree(
            Replies(Lamp(), self.form), lambda history: math.fsum(history.rewards), log_ref
        )

    def _said_done(self, history: History) -> bool:
        """Whether the last reply was DONE: it leaves the game where it was."""
        return len(history.states) > 1 and history.states[-1] == history.states[-2]

    def rows(self, history: History) -> Sequence[Row]:
        """An episode as the policy would have said it."""
        game, seen, replies = Lamp(), list[Observation](), list[str]()
        picture, info = game.reset(options={"start": history.states[0]})
        for reply in history.actions:
            seen.append(observe(picture, info))
            replies.append(format_reply({}, None, info["legal_actions"][reply]))
            picture, _, _, _, info = game.step(reply)
        return self.policy.rows_of_episode(seen, replies)


SETTINGS: dict[str, Any] = {
    "actions": "constrained",
    "thought": False,
    "rank": 8,
    "lora_alpha": 8.0,
    "head_width": 64,
}
SILENT: dict[str, Any] = {}
DONE = {"done": True, "done_token": "<|reserved|>"}


def make_toy(folder: Path, seed: int, objective: Objective, **settings: Any) -> Toy:
    torch.manual_seed(seed)  # LoRA's and the head's first weights
    chosen = PolicySettings(**SETTINGS, **settings, flow_head=objective.needs_flow)
    return Toy(VLMPolicy.from_folder(folder, chosen))


CASES: dict[str, tuple[Objective, dict[str, Any]]] = {
    "tb": (TrajectoryBalanceLoss(), SILENT),
    "var_tb": (VarianceLoss(), SILENT),
    "db": (DetailedBalanceLoss(), SILENT),
    "subtb": (SubTrajectoryBalanceLoss(0.9), SILENT),
    "fl_db": (ForwardLooking(DetailedBalanceLoss()), SILENT),
    "fl_subtb": (ForwardLooking(SubTrajectoryBalanceLoss(0.9)), SILENT),
    "db_done": (DoneFlow(DetailedBalanceLoss()), DONE),
    "subtb_done": (DoneFlow(SubTrajectoryBalanceLoss(1.0)), DONE),
}


@pytest.mark.parametrize(
    ("case", "seed"),
    [
        pytest.param(case, seed, marks=pytest.mark.slow if seed or case == "db_done" else ())
        for case in CASES
        for seed in range(3)
    ],
)
def test_every_objective_reaches_the_exact_law_of_a_language_model(
    case: str,
    seed: int,
    toy_folder: Path,
    build_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    objective, settings = CASES[case]
    toy = make_toy(toy_folder, seed, objective, **settings)
    exact = solve(toy.tree)
    trainer = build_trainer(
        toy.policy,
        objective,
        tmp_path,
        make=Lamp,
        reward=REWARD,
        learning_rate=0.005 if settings else 0.01,
        head_learning_rate=0.03,
        rescore_tolerance=1e-4,
        seed=seed,
        max_updates=200 if settings else 80,
        groups_per_update=12,
    )
    assert trainer.run()
    assert tv(terminal_law(toy.tree, toy.tree.log_ref), exact.law) > 0.2
    assert tv(terminal_law(toy.tree, toy.log_policy(toy.policy.score)), exact.law) < 0.05
