from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation
from gflowvlm.prompting.messages import UserTurn, first_turn, later_turn, next_turn, turns_of


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


ROOMS = tuple(f"go to room {n}" for n in range(1, 9))


def test_of_a_long_list_of_actions_only_the_changes_are_said_again() -> None:
    seen = observation(actions=("look", *ROOMS))
    assert later_turn(observation("now", ("look", *ROOMS[1:], "open box")), seen).text == (
        'now\nThe action may also be "open box" and not be "go to room 1".'
    )
    more = observation(actions=("go to 9", "look", *ROOMS, "open box"))
    assert later_turn(more, seen).text == 'The action may also be "go to 9", "open box".'
    assert later_turn(seen, more).text == 'The action may not be "go to 9", "open box".'
    assert later_turn(observation(actions=(*ROOMS, "look")), seen).text == ""  # the same set


def test_a_short_list_and_one_that_is_mostly_new_are_said_in_full() -> None:
    short = observation(actions=ROOMS)  # eight
    assert later_turn(short, observation(actions=ROOMS[1:])).text.startswith("The action is one of")
    new = observation(actions=(*ROOMS[:5], *(f"open box {n}" for n in range(5))))
    assert later_turn(new, short).text.startswith("The action is one of")


def test_a_long_list_of_actions_stands_on_a_line_of_its_own() -> None:
    *_, request, actions = first_turn(observation(actions=("look", *ROOMS))).text.split("\n")
    assert request.endswith('"action".')
    assert actions.startswith('The action is one of "look", "go to room 1", ')


def test_a_reader_of_the_changes_knows_every_list(
    actions_told: Callable[[Sequence[str]], list[set[str]]],
) -> None:
    rng = np.random.default_rng(0)
    words = [f'say "{n}", not \\ {n}' for n in range(60)]
    seen, chosen = [], list(rng.permutation(60)[:30])
    for _ in range(200):
        seen.append(observation(actions=tuple(words[n] for n in chosen)))
        size = int(rng.integers(1, 40))
        kept = [n for n in chosen if rng.random() < rng.choice([0.5, 0.95])]
        chosen = kept + [n for n in rng.permutation(60)[:size] if n not in kept][: 1 + size // 6]
    texts = [turn.text for turn in turns_of("transcript", seen, ["so"] * 200, thought=True)]
    told = ["one of" not in text for text in texts]
    assert 40 < sum(told) < 160  # both ways of telling are met
    assert actions_told(texts) == [set(each.legal_actions) for each in seen]


def test_an_episode_has_one_turn_per_observation() -> None:
    seen = [observation("a"), observation("b"), observation()]
    texts = [turn.text for turn in turns_of("transcript", seen, ["1", "2", "3"], thought=True)]
    assert texts[1:] == ["b", ""]
    assert "Reach the target." in texts[0]


def test_a_rewritten_prompt_tells_the_history_between_task_and_request() -> None:
    seen = [observation("You are at 3."), observation(), observation("You are at 5.")]
    assert next_turn("rewritten", seen, ["one", "two"], thought=False).text == (
        "Reach the target.\nStep 1: You are at 3.\nReply 1: one\nReply 2: two\nYou are at 5.\n"
        'Reply in JSON with the keys "action". The action is one of "-", "+".'
    )


def test_a_shortened_history_says_which_steps_it_leaves_out() -> None:
    seen = [observation(f"You are at {n}.") for n in range(4)]

    def prompt(most: int | None) -> UserTurn:
        return next_turn(
            "rewritten", seen, ["one", "two", "three"], thought=False, history_length=most
        )

    assert (prompt(1).steps_left_out, prompt(2).steps_left_out) == (2, 1)
    assert prompt(1).text.startswith(
        "Reach the target.\nSteps 1-2 are left out.\n"
        "Step 3: You are at 2.\nReply 3: three\nYou are at 3.\nReply in"
    )
    assert "\nStep 1 is left out.\nStep 2: You are at 1.\nReply 2: two\n" in prompt(2).text
    assert prompt(3) == prompt(9) == prompt(None)
    assert prompt(3).steps_left_out == 0


def test_news_show_an_image_again_once_it_has_changed_or_nothing_is_said() -> None:
    other = replace(observation("d"), image=np.ones((4, 4, 3), np.uint8))
    seen = [observation("a"), observation("b"), other, observation("e"), observation(), other]
    turns = turns_of("news", seen, ["so"] * 6, thought=True)
    assert [turn.image is not None for turn in turns] == [True, False, True, True, True, True]
    whole = turns_of("transcript", seen, ["so"] * 6, thought=True)
    assert [turn.text for turn in turns] == [turn.text for turn in whole]
    assert all(turn.image is not None for turn in whole)


def test_without_history_a_prompt_is_a_first_turn_of_what_is_seen_now() -> None:
    seen = [observation("You are at 3."), observation("You are at 5.", ("stay",))]
    assert next_turn("none", seen, ["one"], thought=True) == first_turn(seen[1])


def test_all_layouts_begin_with_the_same_turn() -> None:
    seen = [observation("You are at 3.")]
    layouts: tuple[Layout, ...] = get_args(Layout)
    for layout in layouts:
        assert next_turn(layout, seen, [], thought=True) == first_turn(seen[0])
