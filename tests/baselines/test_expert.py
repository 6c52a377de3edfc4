import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, load_from_disk

from gflowvlm.baselines.expert import (
    Conversation,
    Exchange,
    conversations_of,
    expert_games,
    from_dataset,
    to_dataset,
)
from gflowvlm.errors import UserError
from gflowvlm.rollouts.environments import make_environment

make = partial(make_environment, "gflowvlm/NumberLine-v0", "id")


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


def test_no_number_above_five_is_shown_in_training() -> None:
    shown = [int(r[key]) for r in replies(0.4, range(60)) for key in r if key.endswith("number")]
    assert max(shown) == 5


def test_a_data_set_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    games = [
        Conversation(source="expert", episode=4 + number, exchanges=game)
        for number, game in enumerate(expert_games(make, seeds=range(3), mistakes=0.4))
    ]
    to_dataset(games).save_to_disk(str(tmp_path / "data"))
    stored = load_from_disk(str(tmp_path / "data"))
    assert isinstance(stored, Dataset)
    first = stored[0]["messages"][0]
    assert first["role"] == "user"
    assert [part["type"] for part in first["content"]] == ["image", "text"]
    again = list(from_dataset(stored))
    assert [(read.source, read.episode) for read in again] == [("expert", n) for n in (4, 5, 6)]
    for game, read in zip(games, again, strict=True):
        for turn, back in zip(game.exchanges, read.exchanges, strict=True):
            assert (back.text, back.reply) == (turn.text, turn.reply)
            np.testing.assert_array_equal(turn.image, back.image)


def test_a_rewritten_game_is_a_conversation_for_each_decision() -> None:
    seeds = range(3)
    whole = list(expert_games(make, seeds=seeds, mistakes=0.4))
    games = list(expert_games(make, seeds=seeds, mistakes=0.4, layout="rewritten"))
    game = max(games, key=len)
    stored = list(from_dataset(to_dataset(conversations_of(game, "rewritten", episode=7))))
    assert [(c.episode, len(c.exchanges)) for c in stored] == [(7, 1)] * len(game)
    first, last = game[0], game[-1]
    assert last.text.count("Reply ") == len(game)  # one line a reply, and the request
    assert f"\nReply 1: {first.reply}\n" in last.text
    # the same moves as in the transcript, which says nothing after its first turn
    transcript = max(whole, key=len)
    assert [turn.reply for turn in transcript] == [turn.reply for turn in game]
    assert transcript[0].text == first.text
    assert transcript[-1].text == ""


def test_a_row_without_one_image_for_each_question_is_refused() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    exchange = Exchange(image=image, text="a", reply="b")
    dataset = to_dataset([Conversation(source="expert", episode=0, exchanges=[exchange])])
    broken = Dataset.from_list([{**dataset[0], "images": []}], features=dataset.features)
    with pytest.raises(UserError, match=r"row 0.*one image"):
        list(from_dataset(broken))


def test_an_environment_without_an_expert_is_named() -> None:
    game = partial(make_environment, "CartPole-v1")
    with pytest.raises(UserError, match="CartPoleEnv has no expert"):
        list(expert_games(game, seeds=[0], mistakes=0.0))
