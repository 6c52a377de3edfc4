"""A model's law on a game small enough to know everything about it."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from gflowvlm.errors import UserError
from gflowvlm.evaluation.analysis import FlowAnalysis, Target, analyse, unfold
from gflowvlm.evaluation.calibration import calibrate, correlation, divergences, residual_by_length
from gflowvlm.evaluation.calibration_plot import plot_calibration
from gflowvlm.evaluation.unfold import likely_rates, read_tree
from gflowvlm.evaluation.views import Views
from gflowvlm.exact.law import terminal_law
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.policy.walk import Walker
from gflowvlm.prompting.reply import format_reply
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear
from gflowvlm_envs.contract import Outcome, Verdict

CONSTANT = LogLinear(success=-1.5, failure=-1.5, step_cost=0.0, floor=-40.0)
SHARP = LogLinear(success=0.0, failure=-4.0, step_cost=0.5, floor=-40.0)


@pytest.fixture(scope="module")
def policy() -> VLMPolicy:
    return VLMPolicy.from_folder(
        MODEL_FOLDER, PolicySettings(actions="constrained", thought=False, max_reply_tokens=8)
    )


@pytest.fixture(scope="module")
def walker(policy: VLMPolicy) -> Walker:
    return Walker(policy, batch_size=16)


@pytest.fixture(scope="module")
def views() -> Views:
    line = make_environment("gflowvlm/NumberLine-v0", "id", {"low": 0, "high": 2, "limit": 3})
    return Views(line, "NumberLine", "id")


def analysed(
    views: Views, walker: Walker, reward: LogLinear, *, alpha: float, **more: Any
) -> FlowAnalysis:
    return analyse(views, walker, Target(reward=reward, alpha=alpha, beta=2.0), **more)


def test_the_tree_holds_what_scoring_each_game_gives(
    views: Views, walker: Walker, policy: VLMPolicy
) -> None:
    tree = unfold(views)
    found = read_tree(tree, views, walker).log_policy
    assert terminal_law(tree, found).sum() == pytest.approx(1, abs=1e-12)
    assert len({round(value, 1) for value in found[np.isfinite(found)]}) > 5
    for leaf in tree.leaves[::3]:
        game = views.episode(tree.nodes[leaf].history)
        replies = [format_reply({}, None, word) for word in game.actions]
        rows = policy.rows_of_episode([d.observation for d in game.decisions], replies)
        with torch.no_grad():
            scored = policy.score(rows).action_log_prob.double().numpy()
        actions, path = tree.nodes[leaf].history.actions, tree.path(leaf)[:-1]
        assert found[list(path), list(actions)] == pytest.approx(scored, abs=1e-4)


def test_under_a_constant_reward_the_start_model_is_the_target(
    views: Views, walker: Walker
) -> None:
    figures = calibrate(analysed(views, walker, CONSTANT, alpha=1.0), views)
    for name in ("model", "start model", "exact sampler"):
        law = figures.laws[name]
        assert law.tv == pytest.approx(0, abs=1e-9)
        assert law.kl_from_target == pytest.approx(0, abs=1e-9)
        assert law.correlation == pytest.approx(1, abs=1e-9)
    assert figures.laws["uniform"].tv > 0.1
    assert figures.log_z is not None
    assert figures.log_z.exact == pytest.approx([-3.0] * 6)  # beta log R = 2 * -1.5 for each start
    sharp = calibrate(analysed(views, walker, SHARP, alpha=1.0), views)
    assert sharp.laws["model"].tv > 0.1
    assert sharp.laws["exact sampler"].reach > sharp.laws["model"].reach + 0.1


def test_a_plot_has_panels_for_what_there_is_alone(
    views: Views, walker: Walker, tmp_path: Path
) -> None:
    analysis = analysed(views, walker, SHARP, alpha=1.0)
    whole = calibrate(analysis, views)
    bare = replace(whole, log_z=None, residual={})
    widths = [
        Image.open(plot_calibration([(figures, analysis)], tmp_path / "exact.png")).width
        for figures in (whole, bare)
    ]
    assert widths[0] == 2 * widths[1]


def test_without_reference_and_reward_the_target_is_even_over_ends_of_a_start(
    views: Views, walker: Walker
) -> None:
    analysis = analysed(views, walker, CONSTANT, alpha=0.0)
    tree = analysis.tree
    of_start = np.bincount([tree.path(leaf)[0] for leaf in tree.leaves])[list(tree.roots)]
    # Z = ends * e^-3, H = log ends
    for root, ends in zip(tree.roots, of_start, strict=True):
        start = tree.nodes[root].history.states[0]
        assert analysis.exact.log_z(start) == pytest.approx(log(ends) - 3)
        assert analysis.exact.entropy()[root] == pytest.approx(log(ends))
    figures = calibrate(analysis, views)
    assert figures.laws["exact sampler"].entropy == pytest.approx(np.log(of_start).mean())
    assert 0 < figures.laws["exact sampler"].mutual_information <= log(6)


def test_flows_and_residuals_of_a_head_that_answers_one_half_everywhere(
    views: Views, walker: Walker, policy: VLMPolicy
) -> None:
    policy.initialise_flow(0.5)
    analysis = analysed(views, walker, CONSTANT, alpha=1.0)
    root = analysis.tree.nodes[0].history
    assert analysis.learned.log_z(root.states[0]) == pytest.approx(0.5)
    assert analysis.learned.free_energy(root) == pytest.approx(-0.5)
    assert analysis.exact.free_energy(root) == pytest.approx(3.0)
    # The policy is its reference, so a_t = 0.5 before the end and -3 there: 3.5 apart, or 0.
    residual = residual_by_length(analysis)
    assert residual[3] == pytest.approx(3.5)
    law = np.exp(analysis.learned.log_law())
    decisions = [len(analysis.tree.nodes[n].history.actions) for n in analysis.tree.leaves]
    assert residual[1] == pytest.approx(3.5 / np.sqrt(law @ decisions))  # one in T per game
    at_starts = analysed(views, walker, CONSTANT, alpha=1.0, flows_at="starts")
    assert residual_by_length(at_starts)[1] == pytest.approx(3.5)  # only games of one decision
    later = next(n.history for n in analysis.tree.nodes if n.legal and n.history.actions)
    with pytest.raises(UserError, match="starts only"):
        at_starts.learned.free_energy(later)


def test_a_forward_looking_head_learns_what_is_still_to_come(
    views: Views, walker: Walker, policy: VLMPolicy
) -> None:
    policy.initialise_flow(0.0)
    analysis = analysed(views, walker, SHARP, alpha=0.0, forward_looking=True)
    flow = analysis.learned.log_flow
    assert flow is not None
    for number, node in enumerate(analysis.tree.nodes):
        first, last = node.history.states[0], node.history.states[-1]
        extra = views.info(first, last)["extra_steps"]
        if not node.history.ended:
            assert flow[number] == pytest.approx(2.0 * -0.5 * extra)  # beta * l_t
        else:
            lost = 0.0 if views.info(first, last)["success"] else -4.0
            assert flow[number] == pytest.approx(2.0 * (lost - 0.5 * extra))


def test_distances_of_laws_by_hand() -> None:
    p, q = np.log([0.5, 0.25, 0.25]), np.log([0.25, 0.25, 0.5])
    tv, kl_from, kl_to, jsd = divergences(p, q)
    assert tv == pytest.approx(0.25)
    # 0.5 log 2 + 0.25 log 1/2 = 0.25 log 2, both ways
    assert (kl_from, kl_to) == (pytest.approx(log(2) / 4), pytest.approx(log(2) / 4))
    # against (3, 2, 3) / 8: 0.5 log 4/3 + 0.25 log 2/3
    assert jsd == pytest.approx(0.5 * log(4 / 3) + 0.25 * log(2 / 3))
    far = divergences(np.array([0.0, -2000.0]), np.array([-2000.0, 0.0]))
    assert far == pytest.approx((1.0, 2000.0, 2000.0, log(2)))


def test_correlation_leaves_out_what_differs_between_starts() -> None:
    value, start = np.array([1.0, 2.0, 11.0, 13.0]), np.array([0, 0, 1, 1])
    assert correlation(value, np.array([5.0, 6.0, -7.0, -5.0]), start) == pytest.approx(1.0)
    assert correlation(value, np.array([3.0, 3.0, 8.0, 8.0]), start) is None


class Coins(gymnasium.Env[Any, Any]):
    """Toss up to three coins or stop; won with two heads. A second, unseen coin changes nothing."""

    def starts(self) -> list[tuple[int, int, int]]:
        return [(0, 0, hidden) for hidden in (0, 1, 2)]

    def legal(self, state: tuple[int, int, int]) -> tuple[str, ...]:
        return ("+", "-")

    def outcomes(self, state: Any, action: int) -> list[Outcome]:
        tossed, heads, hidden = state
        if action == 1:
            return [Outcome(1.0, (tossed + 4, heads, hidden), 0.0, True)]
        return [
            Outcome(p, (tossed + 1, heads + h, hidden), float(h), tossed == 2)
            for p, h in ((0.3, 1), (0.7, 0))
        ]

    def judge(self, state: Any) -> Verdict:
        return Verdict(reach=state[1] >= 2, strict=state[1] > 0)

    def view(self, start: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        image = np.full((64, 64, 3), 80 * state[1], np.uint8)
        return image, {"task": "Toss.", "legal_actions": ("+", "-"), "success": state[1] >= 2}


@pytest.fixture
def coins() -> Views:
    return Views(Coins(), "Coins", "id")


@pytest.mark.parametrize("reference", [False, True])
def test_success_without_the_whole_tree_is_bounded_by_what_was_left_out(
    reference: bool, coins: Views, walker: Walker
) -> None:
    tree = unfold(coins)
    law = terminal_law(tree, read_tree(tree, coins, walker, reference=reference).log_policy)
    won = [coins.game.judge(tree.nodes[leaf].history.states[-1]) for leaf in tree.leaves]
    reach, strict = law @ np.array(won, float)
    whole = likely_rates(coins, walker, min_mass=1e-12, reference=reference)
    assert whole.reach.low == whole.reach.high == pytest.approx(reach)
    assert whole.strict.low == whole.strict.high == pytest.approx(strict)
    assert whole.histories == 1 + 2 + 4  # once for the three starts that look alike
    shares: list[float] = []
    part = likely_rates(coins, walker, min_mass=0.2, reference=reference, advance=shares.append)
    assert part.histories < whole.histories
    assert part.reach.low <= reach <= part.reach.high
    assert part.strict.low <= strict <= part.strict.high
    assert 0 < part.reach.high - part.reach.low < 0.3
    # what is left out after two tosses without heads cannot be won any more
    assert part.strict.high - part.strict.low != pytest.approx(part.reach.high - part.reach.low)
    assert sum(shares) == pytest.approx(1)


def test_chance_is_part_of_the_law_and_not_of_the_residuals(coins: Views, walker: Walker) -> None:
    analysis = analysed(coins, walker, SHARP, alpha=1.0)
    figures = calibrate(analysis, coins)
    assert np.exp(analysis.exact.log_law()).sum() == pytest.approx(1)
    assert figures.laws["exact sampler"].reach > figures.laws["start model"].reach
    # what wins most: toss to the end, and two heads of three are 3 * 0.09 * 0.7 + 0.027
    assert figures.optimum.reach == pytest.approx(0.216)


def test_an_environment_that_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(UserError, match=r"CartPole.*found no starts\(\)"):
        Views(make_environment("CartPole-v1"), "CartPole-v1", "id")
