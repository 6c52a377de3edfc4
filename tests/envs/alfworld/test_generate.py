import json
from dataclasses import replace
from pathlib import Path

import pytest

from gflowvlm.cli import main
from gflowvlm_envs.alfworld.games import LAYOUT
from gflowvlm_envs.alfworld.generate import check_disjoint, generate


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_seeds_give_equal_files_and_a_game_does_not_depend_on_the_counts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["alfworld", "generate", "--output", str(tmp_path / "a"), "--train", "2", "--seed", "3"]
    assert main(again) == 0
    few, many = files(tmp_path / "a" / LAYOUT), files(data / LAYOUT)
    assert few.items() <= many.items()
    assert len(few) == 6
    said = capsys.readouterr().out
    assert "generated games" in said
    assert "2 games," in said
    other = [*again[:3], str(tmp_path / "b"), "--train", "2", "--seed", "4"]
    assert main(other) == 0
    assert not files(tmp_path / "b" / LAYOUT).keys() & few.keys()


def test_unseen_games_share_no_room_and_no_pair(data: Path) -> None:
    asked: dict[str, set] = {}
    for story in (data / LAYOUT).rglob("traj_data.json"):
        told = json.loads(story.read_text())
        words = told["pddl_params"]
        pair = (words["object_target"], words["parent_target"] or words["toggle_target"])
        kind = "unseen" if "valid_unseen" in story.parts else "known"
        asked.setdefault(kind, set()).update([pair, told["scene"]["scene_num"]])
        assert told["generated"]
    assert len(asked["unseen"]) > 6
    assert not asked["unseen"] & asked["known"]


def test_a_shared_room_or_pair_would_be_seen(tmp_path: Path) -> None:
    made = generate(tmp_path / "g", train=1, seen=0, unseen=1, report=lambda line: None)
    check_disjoint(made)
    train, unseen = made
    for twin in (replace(unseen, scene=train.scene), replace(unseen, pair=train.pair)):
        with pytest.raises(AssertionError, match="of unseen games in other games as well"):
            check_disjoint([train, twin])


def test_what_cannot_be_made_is_refused_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = ["alfworld", "generate", "--output"]
    assert main([*verb, str(data), "--train", "1"]) == 2
    assert main([*verb, str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in said] == [
        f"found games in {data / LAYOUT}",
        "found counts {'train': 0",
    ]
    assert not (tmp_path / "new").exists()
