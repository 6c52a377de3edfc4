import numpy as np

from gflowvlm.episode import Observation
from gflowvlm.prompting.messages import first_turn, later_turn, turns_of


def observation(text: str = "", actions: tuple[str, ...] = ("-", "+")) -> Observation:
    return Observation(
        image=np.zeros((4, 4, 3), np.uint8),
        task="Reach the target.",
        text=text,
        legal_actions=actions,
        reply_fields=("current number",),
    )


def test_the_first_turn_says_task_text_and_form() -> None:
    assert first_turn(observation("You are at 3.")).text == (
        "Reach the target.\nYou are at 3.\n"
        'Reply in JSON with the keys "current number", "thoughts", "action". '
        'The action is one of "-", "+".'
    )


def test_an_empty_text_leaves_no_empty_line() -> None:
    assert first_turn(observation(), thought=False).text == (
        'Reach the target.\nReply in JSON with the keys "action". The action is one of "-", "+".'
    )


def test_a_later_turn_says_only_what_is_new() -> None:
    assert later_turn(observation(), observation("before")).text == ""
    assert later_turn(observation("now"), observation("before")).text == "now"


def test_changed_actions_are_said_again() -> None:
    turn = later_turn(observation("now", ("stay",)), observation())
    assert turn.text == 'now\nThe action is one of "stay".'


def test_an_episode_has_one_turn_per_observation() -> None:
    texts = [turn.text for turn in turns_of([observation("a"), observation("b"), observation()])]
    assert texts[1:] == ["b", ""]
    assert "Reach the target." in texts[0]
