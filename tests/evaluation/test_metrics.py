from collections.abc import Callable
from dataclasses import replace

import pytest

from gflowvlm.episode import Episode
from gflowvlm.evaluation.metrics import (
    diversity,
    invalid_replies,
    mean_length,
    mean_reply_tokens,
    pass_at,
    reach,
    reading_accuracy,
    reply_entropy,
    right_moves,
    shortened_prompts,
    strict,
    wilson,
)
from gflowvlm.evaluation.share import Share, mean_share
from gflowvlm.evaluation.starts import by_start

Play = Callable[..., Episode]


def test_reach_counts_goals_and_strict_those_with_a_positive_return(play: Play) -> None:
    episodes = [
        play("+", rewards=[1]),
        play("-++", rewards=[-1, 0, 1]),  # arrives, return 0
        play("-", rewards=[-1], success=False),
        play("++", rewards=[1, 0], success=False),  # a part of the goal
        play("?", success=False),
    ]
    assert reach(episodes) == 0.4
    assert strict(episodes) == 0.2


def test_wilson_agrees_with_the_formula_by_hand() -> None:
    # 8 of 10, z = 1.96: centre (0.8 + 0.19208) / 1.38416 = 0.71674,
    # spread 1.96 sqrt(0.016 + 0.009604) / 1.38416 = 0.22658
    low, high = wilson(8, 10, z=1.96)
    assert low == pytest.approx(0.49016, abs=1e-5)
    assert high == pytest.approx(0.94332, abs=1e-5)


def test_wilson_stays_inside_zero_and_one() -> None:
    # nothing of n: the upper end is z^2 / (n + z^2)
    low, high = wilson(0, 10, z=2.0)
    assert (low, high) == (0.0, pytest.approx(4 / 14))
    assert wilson(10, 10, z=2.0) == (pytest.approx(10 / 14), 1.0)
    with pytest.raises(ValueError, match="found 3 successes in 2 trials"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(0, 0)


def test_a_mean_of_shares_is_as_sure_as_all_of_them_together() -> None:
    shares = [Share(value=0.7, low=0.4, high=0.9), Share(value=0.1, low=0.0, high=0.5)]
    # below: sqrt(0.3^2 + 0.1^2) / 2 = 0.15811; above: sqrt(0.2^2 + 0.4^2) / 2 = 0.22361
    mean = mean_share(shares)
    assert mean.value == pytest.approx(0.4)
    assert mean.low == pytest.approx(0.24189, abs=1e-5)
    assert mean.high == pytest.approx(0.62361, abs=1e-5)
    assert mean_share(shares[1:]) == shares[1]
    # all of n, twice: the lower end is n / (n + z^2) for each, so 1 - z^2 / (n + z^2) / sqrt(2)
    low, high = wilson(10, 10, z=2.0)
    sure = mean_share([Share(value=1.0, low=low, high=high)] * 2)
    assert (sure.low, sure.high) == (pytest.approx(1 - 4 / 14 / 2**0.5), 1.0)
    with pytest.raises(ValueError, match="found no shares"):
        mean_share([])


def test_a_move_is_right_when_it_adds_no_extra_step(play: Play) -> None:
    # wrong, right, right; then right, wrong; the invalid reply is no move
    episodes = [
        play("-++", extra_steps=[2, 2, 2]),
        play("+-?", extra_steps=[0, 1, 1], success=False),
    ]
    assert right_moves(episodes) == pytest.approx(3 / 5)
    assert right_moves([play("?", success=False)]) is None
    assert right_moves([play("+-")]) is None  # nobody counts


def test_diversity_counts_different_successes_of_starts_that_have_any(play: Play) -> None:
    episodes = [
        play("+-+", group=0),
        play("+-+", group=0),
        play("-++", group=0),
        play("-+-", group=0, success=False),
        play("+", group=1),
        play("-", group=2, success=False),
    ]
    assert diversity(episodes) == pytest.approx((2 + 1) / 2)
    # up to the order of moves, both ways of the first start are one
    assert diversity(episodes, lambda episode: tuple(sorted(episode.actions))) == 1.0
    assert diversity(episodes[-1:]) is None


def test_invalid_replies_and_lengths_are_means_over_replies_and_episodes(play: Play) -> None:
    episodes = [play("+++"), play("?", success=False)]
    assert invalid_replies(episodes) == 0.25
    assert mean_length(episodes) == 2.0
    assert mean_reply_tokens(episodes) == 2.0  # of three tokens one is forced


def test_every_prompt_that_left_steps_out_counts_once(play: Play) -> None:
    episode = play("+-+-")
    decisions = tuple(
        replace(each, reply=replace(each.reply, steps_left_out=max(0, number - 1)))
        for number, each in enumerate(episode.decisions)
    )
    episodes = [play("++"), replace(episode, decisions=decisions)]
    assert shortened_prompts(episodes) == 2 / 6


def test_reading_is_right_when_every_field_is(play: Play) -> None:
    truth = {"current": "3", "target": "5"}
    fields = [truth, {"current": "3", "target": "4"}, {"current": "3"}, {**truth, "mood": "fine"}]
    episode = play("++++", facts=[truth] * 4, fields=fields)
    assert reading_accuracy([episode]) == 0.5
    assert reading_accuracy([play("+")]) is None


@pytest.mark.parametrize("metric", [reach, strict, invalid_replies, mean_length])
def test_nothing_played_is_nothing_measured(metric: Callable[[list[Episode]], float]) -> None:
    with pytest.raises(ValueError, match="found no episodes"):
        metric([])


def test_pass_at_k_counts_the_sets_of_games_that_hold_a_success(play: Play) -> None:
    # start 0: 1 of 4 won, start 1: 3 of 4
    games = [play("+", group=0, success=i == 0) for i in range(4)]
    games += [play("+", group=1, success=i != 0) for i in range(4)]
    assert pass_at(games, 1) == pytest.approx((1 / 4 + 3 / 4) / 2)
    # of 6 pairs 3 have no success at start 0, none at start 1; of 4 triples 1 and none
    assert pass_at(games, 2) == pytest.approx((3 / 6 + 1) / 2)
    assert pass_at(games, 3) == pytest.approx((3 / 4 + 1) / 2)
    assert pass_at(games, 4) == 1.0
    with pytest.raises(ValueError, match="found k = 5 and a start with 4 games"):
        pass_at(games, 5)


def test_the_entropy_of_replies_counts_every_start_alike(play: Play) -> None:
    # each reply of the fixture has log p = -2
    game = play("+++", group=0)
    sure = replace(
        game,
        group=1,
        decisions=(
            replace(
                game.decisions[0],
                reply=replace(game.decisions[0].reply, log_probs=(0.0, -0.5, -0.5)),
            ),
        ),
    )
    assert reply_entropy([game]) == pytest.approx(2.0)
    assert reply_entropy([game, sure]) == pytest.approx((2.0 + 1.0) / 2)


def test_figures_of_starts_have_the_split_s_figures_as_means(play: Play) -> None:
    games = [play("+", rewards=[1], group=0), play("-+", rewards=[-1, 1], group=0)]
    games += [play("-", group=1, success=False)] * 2
    found = by_start(games, lambda: None, covered=False)  # type: ignore[arg-type, return-value]
    assert found["reach"] == [1.0, 0.0]
    assert found["strict"] == [0.5, 0.0]
    assert found["diversity"] == [2.0, None]
    assert found["pass@2"] == [1.0, 0.0]
    assert found["reply_entropy"] == pytest.approx([2.0, 2.0])
    assert set(found) == {"reach", "strict", "diversity", "reply_entropy", "pass@1", "pass@2"}
