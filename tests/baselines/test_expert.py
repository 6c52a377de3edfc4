import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest

from gflowvlm.baselines.conversations import from_dataset, to_dataset
from gflowvlm.baselines.expert import ExpertPlayer, conversations_of, expert_games
from gflowvlm.errors import ContextExceeded, UserError
from gflowvlm.exact.tree import enumerate_tree
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.policy.transcript import require_room
from gflowvlm.prompting.reply import DONE_REPLY
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import Plan

make = partial(make_environment, "gflowvlm/NumberLine-v0", "id")


def small_game(limit: int) -> tuple[Callable[[], Any], ExpertPlayer, TabularPolicy]:
    """Numbers 0-3: what makes the game, its expert without mistakes, a policy."""
    small = partial(make, {"low": 0, "high": 3, "limit": limit})
    player = ExpertPlayer(
        environment=small(),
        environment_id="gflowvlm/NumberLine-v0",
        split="id",
        mistakes=0.0,
        max_reply_tokens=1,
    )
    tree = enumerate_tree(small().unwrapped, lambda history: 0.0)  # type: ignore[arg-type]
    return small, player, TabularPolicy(tree, read_starts(small()))


def replies(mistakes: float, seeds: range) -> list[dict[str, str]]:
    games = expert_games(make, seeds=seeds, mistakes=mistakes)
    return [json.loads(turn.reply) for game in games for turn in game]


def test_an_expert_without_mistakes_states_the_truth_and_moves_towards_the_target() -> None:
    for reply in replies(0.0, range(20)):
        smaller = int(reply["current number"]) < int(reply["target number"])
        assert reply["thoughts"] == f"current is {'smaller' if smaller else 'larger'}"
        assert reply["action"] == ("+" if smaller else "-")


def test_mistakes_are_as_frequent_as_asked_and_the_thought_leads_to_the_action() -> None:
    said = replies(0.4, range(150))
    wrong = 0
    for reply in said:
        smaller = int(reply["current number"]) < int(reply["target number"])
        thought = "current is smaller" if reply["action"] == "+" else "current is larger"
        assert reply["thoughts"] == thought
        wrong += reply["action"] != ("+" if smaller else "-")
    # 0.4 +- 4 standard errors of a share over some 800 moves, 4 * sqrt(0.24 / 800) = 0.07
    assert wrong / len(said) == pytest.approx(0.4, abs=0.07)


@pytest.mark.parametrize("done_at", ["goal", "prefix"])
def test_some_games_end_with_done(done_at: Literal["goal", "prefix"]) -> None:
    plain = list(expert_games(make, seeds=range(60), mistakes=0.0))
    games = list(expert_games(make, seeds=range(60), mistakes=0.0, done_share=0.5, done_at=done_at))
    stops = [game[-1].reply == DONE_REPLY for game in games]
    # 0.5 +- 3 standard errors of a share of 60 games, 3 * sqrt(0.25 / 60) = 0.19
    assert sum(stops) / 60 == pytest.approx(0.5, abs=0.19)
    for game, whole, stopped in zip(games, plain, stops, strict=True):
        said = len(game) - stopped
        assert [turn.reply for turn in game[:said]] == [turn.reply for turn in whole[:said]]
        assert said == len(whole) if done_at == "goal" or not stopped else said < len(whole)


def test_no_number_above_five_is_shown_in_training() -> None:
    shown = [int(r[key]) for r in replies(0.4, range(60)) for key in r if key.endswith("number")]
    assert max(shown) == 5


def test_a_rewritten_game_is_a_conversation_for_each_decision() -> None:
    seeds = range(3)
    whole = list(expert_games(make, seeds=seeds, mistakes=0.4))
    games = list(expert_games(make, seeds=seeds, mistakes=0.4, layout="rewritten"))
    game = max(games, key=len)
    stored = list(from_dataset(to_dataset(conversations_of(game, "rewritten", episode=7))))
    assert [(c.episode, len(c.turns)) for c in stored] == [(7, 1)] * len(game)
    first, last = game[0], game[-1]
    assert last.text.count("Reply ") == len(game)  # one line a reply, and the request
    assert f"\nReply 1: {first.reply}\n" in last.text
    # the same moves as in the transcript, which says nothing after its first turn
    transcript = max(whole, key=len)
    assert [turn.reply for turn in transcript] == [turn.reply for turn in game]
    assert transcript[0].text == first.text
    assert transcript[-1].text == ""


def test_news_are_stored_as_one_conversation_with_the_images_it_shows() -> None:
    points = partial(make_environment, "gflowvlm/EZPoints-v0", "id")
    (game,) = expert_games(points, seeds=[1], mistakes=0.0, layout="news", thought=False)
    (stored,) = from_dataset(to_dataset(conversations_of(game, "news", episode=7)))
    assert [turn.image is None for turn in stored.turns] == [False, True, True, True]
    assert [turn.text for turn in stored.turns] == [turn.text for turn in game]
    first, shown = stored.turns[0].image, game[0].image
    assert first is not None
    assert shown is not None
    assert np.array_equal(first, shown)


def test_a_taught_history_is_shortened_too() -> None:
    games = expert_games(make, seeds=range(3), mistakes=0.4, layout="rewritten", history_length=2)
    game = max(games, key=len)
    last = game[-1].text
    assert f"\nSteps 1-{len(game) - 3} are left out.\nReply {len(game) - 2}: " in last
    assert last.count("Reply ") == 3  # two lines of history, and the request


def test_an_expert_plays_a_planned_start_as_an_episode_of_the_policy() -> None:
    small, player, policy = small_game(limit=4)
    plans = [Plan(index=40 + g, group=g, seed=100 + g) for g in range(5)]
    for plan, played in zip(plans, player.play(policy, plans), strict=True):
        _, info = small().reset(seed=plan.seed)
        facts = info["facts"]
        apart = abs(int(facts["current number"]) - int(facts["target number"]))
        episode = played.episode
        assert (episode.group, episode.index, episode.seed) == (plan.group, plan.index, plan.seed)
        assert episode.success
        assert len(episode.decisions) == played.rows[0].num_decisions == apart
        assert episode.decisions[0].facts == facts
        # nothing sampled these replies, so no log-prob is claimed for them
        assert all(d.reply.log_probs == () for d in episode.decisions)
        assert list(played.rows[0].input_ids[1::2]) == [d.reply.action for d in episode.decisions]


def test_an_expert_goes_on_after_what_others_have_said() -> None:
    _, player, policy = small_game(limit=6)
    plans = [Plan(index=0, group=0, seed=7), Plan(index=1, group=1, seed=8)]
    begun, wrong = [], []
    for played in player.play(policy, plans):
        reply = played.episode.decisions[0].reply
        said, other = ('"-"', '"+"') if reply.action == 0 else ('"+"', '"-"')
        wrong.append(1 - (reply.action or 0))
        begun.append([replace(reply, text=reply.text.replace(said, other), action=wrong[-1])])
    for played, strayed in zip(player.play(policy, plans, begun), wrong, strict=True):
        first, *others = [d.reply.action for d in played.episode.decisions]
        assert first == played.rows[0].input_ids[1] == strayed
        assert others
        assert set(others) == {1 - strayed}
        assert played.episode.success


def test_a_game_that_others_made_too_long_is_cut_and_the_experts_own_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, player, policy = small_game(limit=6)
    plans = [Plan(index=0, group=0, seed=1)]
    (whole,) = player.play(policy, plans)
    assert len(whole.episode.decisions) > 1
    said = [[whole.episode.decisions[0].reply]]

    def no_room(*args: object) -> None:
        require_room(9, 8)

    monkeypatch.setattr(policy, "rows_of_episode", no_room)
    (cut,) = player.play(policy, plans, said)
    assert cut.rows == ()
    assert cut.cut is not None
    assert cut.cut.startswith("found a prompt or game of 9 tokens, expected at most 8")
    with pytest.raises(ContextExceeded, match="9 tokens"):
        player.play(policy, plans)


def test_an_environment_without_an_expert_is_named() -> None:
    game = partial(make_environment, "CartPole-v1")
    with pytest.raises(UserError, match="CartPoleEnv has no expert"):
        list(expert_games(game, seeds=[0], mistakes=0.0))
