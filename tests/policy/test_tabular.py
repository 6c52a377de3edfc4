import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gflowvlm.batch import Row, TrajectoryBatch
from gflowvlm.episode import Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.exact.law import solve, terminal_law, tv
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.objectives.subtrajectory import SubTrajectoryBalanceLoss
from gflowvlm.objectives.trajectory import (
    DetailedBalanceLoss,
    TrajectoryBalanceLoss,
    VarianceLoss,
)
from gflowvlm.policy.base import EpisodeKey, Policy
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.environments import observe
from gflowvlm_envs.number_line import NumberLine

TRAJECTORY = (TrajectoryBalanceLoss(), VarianceLoss(), DetailedBalanceLoss())
OBJECTIVES = [*TRAJECTORY, SubTrajectoryBalanceLoss(0.9)]


class Words:
    """Words of at most three letters from two starts; `stop` ends one early."""

    def __init__(self, starts: str = "xy") -> None:
        self.first = starts

    def starts(self) -> list[str]:
        return list(self.first)

    def legal(self, state: str) -> tuple[str, ...]:
        return ("a", "b") if len(state) == 1 else ("a", "b", "stop")

    def outcomes(self, state: str, action: int) -> list[tuple[float, str, float, bool]]:
        word = self.legal(state)[action]
        return [(1.0, state + word[0], 0.0, word == "stop" or len(state) == 3)]


class Weather(Words):
    """One word, then sun or rain."""

    def outcomes(self, state: str, action: int) -> list[tuple[float, str, float, bool]]:
        after = state + self.legal(state)[action][0]
        return [(0.25, after + "s", 0.0, len(after) > 2), (0.75, after + "r", 0.0, len(after) > 2)]


def uneven(history: History, legal: tuple[str, ...]) -> list[float]:
    weights = [1.0 + place + len(history.actions) for place in range(len(legal))]
    return [math.log(weight / sum(weights)) for weight in weights]


def log_reward(history: History) -> float:
    word = str(history.states[-1])
    return 0.8 * word.count("a") - 0.4 * len(history.actions) + (0.5 if word[0] == "y" else 0.0)


def read_text(seen: Observation) -> str:
    return seen.text


def shown(process: Any, state: str) -> Observation:
    return Observation(
        image=np.zeros((1, 1, 3), np.uint8), task="", text=state, legal_actions=process.legal(state)
    )


def play(
    policy: Policy, process: Any, starts: Sequence[str], keys: Sequence[EpisodeKey], **options: Any
) -> tuple[list[str], list[Row], list[dict[int, Reply]]]:
    """Deterministic games to their ends: last states, rows, replies of each turn."""
    session = policy.session(keys, **options)
    states, live, turns = list(starts), set(range(len(keys))), []
    while live:
        turns.append(session.reply({slot: shown(process, states[slot]) for slot in sorted(live)}))
        for slot, reply in turns[-1].items():
            assert reply.action is not None
            [(_, states[slot], _, ended)] = process.outcomes(states[slot], reply.action)
            live -= {slot} if ended else set()
    return states, [session.rows(slot)[0] for slot in range(len(keys))], turns


def keys(count: int, first: int = 0) -> list[EpisodeKey]:
    return [EpisodeKey(run_seed=7, episode=first + number) for number in range(count)]


@pytest.fixture
def tree() -> Tree:
    return enumerate_tree(Words(), log_reward, uneven)


@pytest.fixture
def policy(tree: Tree) -> TabularPolicy:
    """With weights of its own, away from the reference."""
    policy = TabularPolicy(tree, read_text)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        policy.logits.normal_(generator=draw)
        policy.log_flow.normal_(generator=draw)
    return policy


def test_training_starts_at_the_reference(tree: Tree) -> None:
    np.testing.assert_allclose(TabularPolicy(tree).log_policy(), tree.log_ref, atol=1e-15)


def test_sampled_frequencies_match_the_law(tree: Tree, policy: TabularPolicy) -> None:
    count = 3000
    ends, _, _ = play(policy, Words(), ["x", "y"] * (count // 2), keys(count))
    law = terminal_law(tree, policy.log_policy())
    found = Counter(ends)
    for leaf, expected in zip(tree.leaves, law, strict=True):
        share = found[str(tree.nodes[leaf].history.states[-1])] / count
        # four standard errors
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / count))


def test_replies_carry_the_log_probs_that_scoring_gives(policy: TabularPolicy) -> None:
    _, rows, turns = play(policy, Words(), ["x", "y", "x"], keys(3))
    scores = policy.score(rows)
    # rows one after the other
    said = [turn[slot].log_probs[0] for slot in range(3) for turn in turns if slot in turn]
    assert scores.action_log_prob.tolist() == pytest.approx(said, abs=1e-15)
    assert not scores.thought_log_prob.any()
    assert scores.token_decision.tolist() == list(range(len(said)))
    reference = policy.score_reference(rows)
    assert reference.flow is None
    assert not reference.action_log_prob.requires_grad


def test_noise_is_the_same_whatever_the_batch(policy: TabularPolicy) -> None:
    together = play(policy, Words(), ["x", "y", "x"], keys(3))[0]
    alone = [
        play(policy, Words(), [start], keys(1, first=number))[0][0]
        for number, start in enumerate("xyx")
    ]
    assert together == alone


def test_greedy_play_takes_the_likeliest_action(tree: Tree, policy: TabularPolicy) -> None:
    _, (row,), _ = play(policy, Words(), ["x"], keys(1), exploration_temperature=0.0)
    for node, action in zip(row.input_ids[::2], row.input_ids[1::2], strict=True):
        assert action == policy.log_policy()[node].argmax()


def test_exploration_changes_what_is_sampled_not_what_is_scored(policy: TabularPolicy) -> None:
    _, rows, turns = play(policy, Words(), ["x"], keys(1), exploration_temperature=2.0)
    node, action = rows[0].input_ids[:2]
    legal = len(policy.tree.nodes[node].legal)
    tempered = (policy.logits[node, :legal] / 2).log_softmax(0)
    assert turns[0][0].log_probs[0] == pytest.approx(tempered[action].item())
    assert policy.score(rows).action_log_prob[0].item() == pytest.approx(
        policy.log_policy()[node, action]
    )


def test_row_names_histories_and_actions_in_turn(tree: Tree, policy: TabularPolicy) -> None:
    (end,), (row,), _ = play(policy, Words(), ["y"], keys(1))
    nodes = row.input_ids[::2]
    states = [tree.nodes[node].history.states[-1] for node in nodes]
    assert states == [end[: place + 1] for place in range(len(nodes))]
    assert row.decision_of == tuple(each for step in range(len(nodes)) for each in (-1, step))
    assert row.state_at == (*range(0, 2 * len(nodes), 2), 2 * len(nodes) - 1)
    assert row.num_decisions == len(nodes)
    flow = policy.score([row]).flow
    assert flow is not None
    # the last one belongs to the history that the last action leads to
    following = tree.nodes[nodes[-1]].branches[row.input_ids[-1]][0].child
    assert flow.tolist() == policy.log_flow[[*nodes, following]].tolist()


def test_entropy_by_hand() -> None:
    policy = TabularPolicy(enumerate_tree(Words("x"), log_reward))
    with torch.no_grad():
        policy.logits[0] = torch.tensor([math.log(3.0), 0.0, 99.0])  # the third is no action
    _, rows, _ = play(policy, Words("x"), ["x"], keys(1))
    # of 3/4 and 1/4: ln 4 - 3/4 ln 3
    entropy = policy.score(rows).entropy
    assert entropy[0].item() == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert not entropy.requires_grad


def test_gradients_are_finite_where_actions_are_missing(policy: TabularPolicy) -> None:
    _, rows, _ = play(policy, Words(), ["x", "y"], keys(2))
    policy.score(rows).action_log_prob.sum().backward()
    assert policy.logits.grad is not None
    assert policy.logits.grad.isfinite().all()
    assert not policy.logits.grad[~policy.legal].any()


def test_chance_is_read_from_what_is_shown() -> None:
    process = Weather("x")
    tree = enumerate_tree(process, log_reward)
    policy = TabularPolicy(tree, read_text)
    session = policy.session(keys(1))
    action = session.reply({0: shown(process, "x")})[0].action
    flow = policy.score(session.rows(0)).flow
    assert flow is not None
    assert flow[1].isnan()  # not seen yet whether sun or rain follows
    session.reply({0: shown(process, f"x{'ab'[action or 0]}r")})
    (row,) = session.rows(0)
    assert tree.nodes[row.input_ids[2]].history.states[-1] == f"x{'ab'[action or 0]}r"


def test_several_starts_need_to_be_told_apart(tree: Tree) -> None:
    session = TabularPolicy(tree).session(keys(1))
    with pytest.raises(UserError, match="2 histories could be meant"):
        session.reply({0: shown(Words(), "x")})


def test_slots_left_out_are_gone_for_good(policy: TabularPolicy) -> None:
    session = policy.session(keys(2))
    session.reply({1: shown(Words(), "x")})
    with pytest.raises(ValueError, match=r"slots \[0\] were left out"):
        session.reply({0: shown(Words(), "x")})


def test_other_environment_than_the_trees_is_noticed(policy: TabularPolicy) -> None:
    stranger = replace(shown(Words(), "x"), legal_actions=("-", "+"))
    with pytest.raises(ValueError, match="enumerate the tree of this very environment"):
        policy.session(keys(1)).reply({0: stranger})


def test_saved_tables_are_read_back(tree: Tree, policy: TabularPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path / "new")
    other = TabularPolicy(tree, read_text)
    other.load(tmp_path / "new")
    assert torch.equal(other.logits, policy.logits)
    assert torch.equal(other.log_flow, policy.log_flow)
    with pytest.raises(UserError, match="policy of the same game"):
        TabularPolicy(enumerate_tree(Words("x"), log_reward)).load(tmp_path / "new")


def test_starts_of_the_number_line_are_known_by_their_pictures() -> None:
    environment = NumberLine(low=0, high=2, limit=3)
    tree = enumerate_tree(environment, lambda history: sum(history.rewards))
    policy = TabularPolicy(tree, read_starts(environment))
    for number, start in enumerate(environment.starts()):
        session = policy.session(keys(1))
        session.reply({0: observe(*environment.reset(options={"start": start}))})
        assert session.rows(0)[0].input_ids[0] == tree.roots[number]


def trajectories(policy: Policy, tree: Tree, rows: Sequence[Row], alpha: float) -> TrajectoryBatch:
    """Scores of whole rows, padded."""
    scores, reference = policy.score(rows), policy.score_reference(rows)
    assert scores.flow is not None
    length = [row.num_decisions for row in rows]

    def padded(values: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values.split(sizes)), True, math.nan)

    ends = [tree.nodes[row.input_ids[-2]].branches[row.input_ids[-1]][0].child for row in rows]
    log_pf = padded(scores.action_log_prob, length)
    return TrajectoryBatch(
        log_pf=log_pf,
        log_pb=torch.zeros_like(log_pf),
        log_ref=padded(reference.action_log_prob, length),
        log_reward=torch.tensor([tree.nodes[end].log_reward for end in ends]),
        length=torch.tensor(length),
        group=torch.tensor([row.input_ids[0] for row in rows]),
        ended=torch.ones(len(rows), dtype=torch.bool),
        log_flow=padded(scores.flow, [each + 1 for each in length]),
        alpha=alpha,
    )


@pytest.mark.parametrize("alpha", [1.0, 0.0])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_objective_reaches_the_exact_law(
    objective: Objective, alpha: float, tree: Tree
) -> None:
    policy = TabularPolicy(tree, read_text)
    groups = policy.parameter_groups()
    optimiser = torch.optim.Adam(
        [{"params": groups["adapter"], "lr": 0.05}, {"params": groups["heads"], "lr": 0.1}]
    )
    target = solve(tree, alpha=alpha)
    assert tv(terminal_law(tree, policy.log_policy()), target.law) > 0.1
    for step in range(160):
        _, rows, _ = play(policy, Words(), "xy" * 8, keys(16, first=16 * step))
        optimiser.zero_grad()
        objective(trajectories(policy, tree, rows, alpha)).loss.backward()
        optimiser.step()
    assert tv(terminal_law(tree, policy.log_policy()), target.law) <= 0.01
    if objective.needs_flow:
        roots = policy.log_flow.detach().numpy()[list(tree.roots)]
        np.testing.assert_allclose(roots, target.log_z, atol=0.02)
