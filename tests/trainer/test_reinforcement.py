"""Policy gradients through the trainer: a closed form, minibatches, cuts, resuming, prompts."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gflowvlm.batch import Row, rows_of
from gflowvlm.config.reinforcement import (
    GroupRelativePolicyOptimisation,
    ProximalPolicyOptimisation,
)
from gflowvlm.errors import UserError
from gflowvlm.exact.tree import Tree, enumerate_tree
from gflowvlm.pocket.folder import find_model
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import ExpReturn
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.tracking import read_metrics

State = tuple[str, ...]


class Doors(gymnasium.Env[NDArray[np.uint8], int]):
    """Two states: stay outside for 0.5, or go in and there earn 1.5 or -0.5."""

    action_space: Any = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    cut = False  # whether a game is cut off inside

    def starts(self) -> list[State]:
        return [("outside",)]

    def legal(self, state: State) -> State:
        return ("stay", "enter") if len(state) == 1 else ("look", "touch")

    def outcomes(self, state: State, action: int) -> list[tuple[float, State, float, bool]]:
        word = self.legal(state)[action]
        earned = {"stay": 0.5, "enter": 0.0, "look": 1.5, "touch": -0.5}[word]
        return [(1.0, (*state, word), earned, word != "enter")]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state = self.starts()[0]
        return self._picture(), self._info()

    def step(self, action: int) -> Any:
        [(_, self.state, reward, ended)] = self.outcomes(self.state, action)
        inside = self.cut and self.state[-1] == "look"
        return self._picture(), reward, ended and not inside, inside, self._info()

    def _info(self) -> dict[str, Any]:
        return {"legal_actions": self.legal(self.state), "task": "choose"}

    def _picture(self) -> NDArray[np.uint8]:
        return np.full((8, 8, 3), len(self.state), np.uint8)


class Interrupted(Doors):
    cut = True


@pytest.fixture(scope="module")
def tree() -> Tree:
    return enumerate_tree(
        Doors(),
        lambda history: math.fsum(history.rewards),
        lambda history, legal: [math.log(0.8), math.log(0.2)],
    )


Reinforce = Callable[..., Trainer]
SETTINGS: dict[str, Any] = {
    "make": Doors,
    "reward": ExpReturn(scale=1.0, floor=-20.0),
    "max_updates": 80,
    "groups_per_update": 8,
    "group_size": 4,
    "learning_rate": 0.05,
    "head_learning_rate": 0.05,
}


def test_ppo_solves_two_states_as_their_closed_form_does(
    tree: Tree, tmp_path: Path, reinforce: Reinforce
) -> None:
    """`V = c log sum p_ref exp(Q / c)`, `p = p_ref exp((Q - V) / c)`, at gamma 0.9 and c = 0.5."""
    config = ProximalPolicyOptimisation(
        gamma=0.9, kl_coefficient=0.5, normalise_advantages=False, epochs=4
    )
    policy = TabularPolicy(tree)
    assert reinforce(policy, config, tmp_path, **SETTINGS).run()
    # inside: 0.8 e^3 + 0.2 e^-1 = 16.142005, V = 0.5 * 2.781425 = 1.390713
    # outside: entering is worth 0.9 * 1.390713 = 1.251641; 0.8 e^1 + 0.2 e^2.503283 = 4.618806,
    # V = 0.5 * 1.530136 = 0.765068
    inside = tree.nodes[tree.roots[0]].branches[1][0].child
    law = np.exp(policy.log_policy())
    assert law[tree.roots[0], 1] == pytest.approx(0.2 * math.exp(2.503283) / 4.618806, abs=0.03)
    assert law[inside, 0] == pytest.approx(0.8 * math.exp(3) / 16.142005, abs=0.03)
    value = policy.value.detach().numpy()
    assert value[tree.roots[0]] == pytest.approx(0.765068, abs=0.05)
    assert value[inside] == pytest.approx(1.390713, abs=0.05)
    assert read_metrics(tmp_path)[-1]["explained_variance"] > 0.5


def test_an_update_takes_its_steps_on_whole_groups_and_all_of_them(
    tree: Tree, tmp_path: Path, reinforce: Reinforce
) -> None:
    config = ProximalPolicyOptimisation(epochs=3, minibatches=4)
    trainer = reinforce(TabularPolicy(tree), config, tmp_path, **SETTINGS)
    works = list(trainer.method.prepare(5))
    assert len(works) == 12
    assert [len(work.episodes) for work in works] == [8] * 12  # two groups of four
    assert all(work.share(slice(0, 8)) == pytest.approx(1) for work in works)
    epochs = [works[first : first + 4] for first in (0, 4, 8)]
    taken = [sorted(id(rows) for work in epoch for rows in work.episodes) for epoch in epochs]
    assert taken[0] == taken[1] == taken[2]
    assert len(set(taken[0])) == 32
    made = [[id(rows) for rows in epoch[0].episodes] for epoch in epochs]
    assert made[0] != made[1] or made[1] != made[2]


def test_a_game_that_was_cut_teaches_ppo_what_came_before(
    tree: Tree, tmp_path: Path, reinforce: Reinforce
) -> None:
    config, interrupted = ProximalPolicyOptimisation(), {**SETTINGS, "make": Interrupted}
    trainer = reinforce(TabularPolicy(tree), config, tmp_path, **interrupted)
    metrics, _ = trainer.update(0)
    assert metrics["cut"] > 0
    lengths = {
        (len(rows[0].state_at), rows[0].num_decisions)
        for work in trainer.method.prepare(1)
        for rows in work.episodes
    }
    assert (2, 1) in lengths  # entered: V inside stands for the rest
    # grpo compares returns, which a cut game has not
    relative = GroupRelativePolicyOptimisation()
    grpo = reinforce(TabularPolicy(tree), relative, tmp_path, **interrupted)
    [work] = grpo.method.prepare(0)
    assert len(work.episodes) == 32 - work.metrics["cut"]


def test_a_resumed_run_equals_an_uninterrupted_one(
    tree: Tree, tmp_path: Path, reinforce: Reinforce
) -> None:
    config = ProximalPolicyOptimisation(epochs=2, minibatches=4)
    changes = {**SETTINGS, "max_updates": 6, "checkpoint_every": 3}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = reinforce(TabularPolicy(tree), config, tmp_path / "whole", **changes)
    assert whole.run()
    third = Path("checkpoints") / "step_000003"
    shutil.copytree(tmp_path / "whole" / third, tmp_path / "parts" / third)
    parts = reinforce(TabularPolicy(tree), config, tmp_path / "parts", **changes)
    assert parts.run(done=parts.resume(tmp_path / "parts" / third))
    for one, other in zip(
        *(t.policy.parameter_groups().values() for t in (whole, parts)), strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def behind_first_prompt(rows: list[Row]) -> list[Row]:
    """RL4VLM's fault: all replies are scored behind the prompt and the picture of the first one."""
    first = rows[0]
    prompt = first.input_ids[: first.state_at[0] + 1]
    moved = []
    for row in rows:
        begin, shift = row.state_at[0] + 1, len(prompt) - row.state_at[0] - 1
        nothing = (-1,) * len(prompt)
        moved.append(
            replace(
                row,
                input_ids=(*prompt, *row.input_ids[begin:]),
                decision_of=(*nothing, *row.decision_of[begin:]),
                segment=((0,) * len(prompt) + row.segment[begin:]),
                state_at=tuple(at + shift for at in row.state_at),
                vision=first.vision,
                allowed={at + shift: ids for at, ids in row.allowed.items()},
            )
        )
    return moved


def test_each_decision_is_scored_behind_its_own_prompt(
    tmp_path: Path, reinforce: Reinforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PolicySettings(
        layout="rewritten",
        history_length=1,
        actions="constrained",
        max_reply_tokens=32,
        rank=4,
        flow_head=False,
        value_head=True,
    )
    policy = VLMPolicy.from_folder(find_model("pocket"), settings)

    def make() -> Any:
        return make_environment("gflowvlm/NumberLine-v0", "id", {"high": 3, "limit": 4})

    config = ProximalPolicyOptimisation(epochs=1, minibatches=1)
    changes = {"make": make, "room_needed": 64, "rescore_tolerance": 1e-3}
    few = {"groups_per_update": 2, "group_size": 2}
    trainer = reinforce(policy, config, tmp_path, **{**SETTINGS, **changes, **few})
    [work] = trainer.method.prepare(0)
    rows = rows_of(work.episodes)
    lengths = [len(episode) for episode in work.episodes]  # a row for each decision
    assert max(lengths) > 2
    shortened = sum(max(0, length - 2) for length in lengths) / len(rows)
    assert work.metrics["shortened_prompts"] == pytest.approx(shortened)
    output = work.loss(policy.score(rows), slice(0, len(work.episodes)))
    assert output.metrics["approx_kl"] < 1e-6  # every ratio is 1 before the first step
    sound = policy.score
    monkeypatch.setattr(policy, "score", lambda rows: sound(behind_first_prompt(rows)))
    with pytest.raises(UserError, match="sampled and re-scored log-probs"):
        next(iter(trainer.method.prepare(0)))
