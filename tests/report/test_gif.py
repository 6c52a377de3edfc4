from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply, ReplyProblem
from gflowvlm.report.gif import (
    BANNER,
    COLUMN,
    GREEN,
    LONGEST,
    PICTURE,
    SHARE,
    WORD,
    Line,
    wrapped,
    write_gif,
)
from gflowvlm.report.playback import Move, Playback, choices_of
from gflowvlm_envs.drawing import font

LONG = "the shelf is behind the table, " * 20


def move(thought: str, action: int | None = 0) -> Move:
    decision = Decision(
        observation=Observation(
            image=np.full((32, 32, 3), 200, np.uint8),
            task="Find it",
            text="",
            legal_actions=tuple(f"shelf {number}" for number in range(12)),
        ),
        reply=Reply(
            text="...",
            token_ids=(),
            segment=(),
            log_probs=(),
            fields={"number": "3"},
            action=action,
            problem=ReplyProblem.CUT_OFF if action is None else None,
        ),
        reward=1.0,
        facts={"number": "4"},
    )
    choices = choices_of(decision, [0.01, 0.89, *[0.01] * 10]) if action is not None else ()
    return Move(decision=decision, thought=thought, choices=choices, legal_share=0.9)


def playback(*moves: Move) -> Playback:
    episode = Episode(
        environment="E-v0",
        split="id",
        seed=0,
        group=0,
        index=0,
        decisions=tuple(m.decision for m in moves),
        ending=Ending.TERMINATED,
        success=True,
    )
    return Playback(episode=episode, moves=moves, title="E-v0 id, game 1 of 1")


def test_every_move_and_the_outcome_get_a_frame(tmp_path: Path) -> None:
    path = write_gif(
        [playback(move("short"), move(LONG), move("cut", None))], tmp_path / "a" / "o.gif"
    )
    with Image.open(path) as gif:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
        times = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert len(frames) == 4
    assert times[1] == LONGEST > times[0]
    corner = (2, frames[0].height - BANNER // 2)
    assert [frame.getpixel(corner) == GREEN for frame in frames] == [False, False, False, True]
    # 32 pixels by the largest whole factor: the picture fills its square with its own grey
    assert frames[0].getpixel((24 + PICTURE - 2, 64 + PICTURE - 2)) == (200, 200, 200)
    below = frames[0].crop((24, 64 + PICTURE + 4, 24 + PICTURE, 64 + PICTURE + 34))
    assert np.asarray(below).min() < 160  # the task, grey on white
    assert [file.name for file in path.parent.iterdir()] == ["o.gif"]


@pytest.mark.parametrize("text", [LONG, "a" * 200, "one\ntwo three"])
def test_wrapped_lines_fit_and_lose_no_letter(text: str) -> None:
    lines = wrapped(text, 20.0, 300)
    assert all(font(20.0).getlength(line) <= 300 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "word", ["go to cabinet 12", "clean butterknife 12 with sinkbasin 11", "a" * 90]
)
def test_a_command_is_shown_whole_where_it_can_be_and_leaves_room_for_its_bar(word: str) -> None:
    shown, size = Line(word, share=0.5).fitted
    assert font(size).getlength(shown) <= WORD
    assert COLUMN - WORD - SHARE > 60
    assert (shown == word) == (len(word) < 90)


def test_an_unlikely_action_that_was_taken_is_listed_still() -> None:
    taken = move("thought", action=11)
    listed, others, rest = taken.listed()
    assert listed[0].word == "shelf 1"  # the likeliest
    assert listed[-1].word == "shelf 11"
    assert listed[-1].taken
    assert (len(listed), others, round(rest, 6)) == (9, 3, 0.03)
    assert taken.stated == "number: 3 (wrong: 4)"
