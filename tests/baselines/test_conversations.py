from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, load_from_disk
from PIL import Image

from gflowvlm.baselines.conversations import (
    Conversation,
    from_dataset,
    read_pairs,
    rows_of_episodes,
    to_dataset,
)
from gflowvlm.baselines.expert import expert_games
from gflowvlm.baselines.pairs import NoPair, StoredPairs
from gflowvlm.batch import Row
from gflowvlm.errors import UserError
from gflowvlm.launch.supervised import StoredEpisodes
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.rollouts.environments import make_environment

make = partial(make_environment, "gflowvlm/NumberLine-v0", "id")


def test_a_data_set_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    games = [
        Conversation(source="expert", episode=4 + number, turns=game)
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
        for turn, back in zip(game.turns, read.turns, strict=True):
            assert (back.text, back.reply) == (turn.text, turn.reply)
            np.testing.assert_array_equal(turn.image, back.image)


def test_a_row_without_one_image_for_each_question_is_refused() -> None:
    turn = TaughtTurn(image=np.zeros((4, 4, 3), np.uint8), text="a", reply="b")
    dataset = to_dataset([Conversation(source="expert", episode=0, turns=[turn])])
    broken = Dataset.from_list([{**dataset[0], "images": []}], features=dataset.features)
    with pytest.raises(UserError, match=r"row 0.*one image"):
        list(from_dataset(broken))


def test_rows_of_an_episode_are_made_when_it_is_asked_for_and_named_by_their_number() -> None:
    turn = TaughtTurn(image=np.zeros((4, 4, 3), np.uint8), text="a", reply="b")
    games = [Conversation(source="expert", episode=e, turns=[turn]) for e in (0, 0, 3, 4, 4, 4)]
    dataset = to_dataset(games)
    assert rows_of_episodes(dataset) == [range(2), range(2, 3), range(3, 6)]
    assert len(rows_of_episodes(dataset.remove_columns("episode"))) == len(games)

    made: list[int] = []
    row = Row(input_ids=(), decision_of=(), segment=(), state_at=(), vision=(), allowed={})

    def row_of(conversation: Conversation) -> Row:
        made.append(conversation.episode)
        return row

    def without_picture(images: list[Any], number: int) -> dict[str, list[Any]]:
        return {"images": [] if number == 4 else images}

    broken = dataset.map(without_picture, with_indices=True, input_columns="images")
    places = rows_of_episodes(broken)
    episodes = StoredEpisodes(folder=Path("games"), dataset=broken, places=places, row=row_of)
    assert (len(episodes), made) == (3, [])
    assert episodes[0] == [row, row]
    assert made == [0, 0]
    with pytest.raises(UserError, match=r"games: row 4: .*one image .* --resume"):
        episodes[2]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def pair(**changes: Any) -> dict[str, Any]:
    shown = [Image.new("RGB", (4, 4), shade) for shade in ("white", "black")]
    return {
        "prompt": [user("one"), assistant("two"), user("three")],
        "chosen": [assistant("four")],
        "rejected": [assistant("five")],
        "images": shown,
        **changes,
    }


def test_a_stored_pair_is_two_answers_to_one_conversation(tmp_path: Path) -> None:
    Dataset.from_list([pair(), pair()]).save_to_disk(str(tmp_path / "pairs"))
    stored = read_pairs(tmp_path / "pairs")
    assert len(stored) == 2
    told: list[list[TaughtTurn]] = []

    def row_of_turns(turns: Any) -> Row:
        told.append(list(turns))
        return Row(
            input_ids=(1, 2, 3, 4),
            decision_of=(-1, 0, -1, 1),
            segment=(0, 2, 0, 2),
            state_at=(0, 2, 3),
            vision=({},),
            allowed={},
        )

    (made,) = StoredPairs(row_of_turns=row_of_turns)(stored[:1], [0])
    assert not isinstance(made, NoPair)
    chosen, rejected = made.compared
    assert [[(t.text, t.reply) for t in turns] for turns in told] == [
        [("one", "two"), ("three", "four")],
        [("one", "two"), ("three", "five")],
    ]
    assert told[0][1].image is not None
    assert told[0][1].image.max() == 0  # the second picture belongs to the second question
    assert chosen.decision_of == rejected.decision_of == (-1, -1, -1, 0)  # the last answer alone


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([pair(), pair(rejected=[assistant("four")])], "row 1.*chosen answer equal.*'four'"),
        ([pair(images=[])], r"row 0.*\[1, 1\] images said and 0 stored"),
        ([pair(chosen=[user("four")])], "row 0: found roles .*expected user and assistant in turn"),
        (
            [{"prompt": "a", "chosen": "b"}],
            "found .*expected one split with rows of chosen, images",
        ),
    ],
    ids=["equal", "no picture", "no answer", "other columns"],
)
def test_what_is_no_pair_is_refused(rows: list[Any], said: str, tmp_path: Path) -> None:
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "pairs"))
    with pytest.raises(UserError, match=said):
        read_pairs(tmp_path / "pairs")


def test_missing_data_and_broken_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no stored data set"):
        read_pairs(tmp_path / "pairs")
    row = pair(prompt=[user("one")], images=[{"path": None, "bytes": b"no picture"}])
    features = Dataset.from_list([pair()]).features
    Dataset.from_list([row], features=features).save_to_disk(str(tmp_path / "pairs"))
    with pytest.raises(UserError, match="row 0: found a picture that cannot be opened"):
        read_pairs(tmp_path / "pairs")
