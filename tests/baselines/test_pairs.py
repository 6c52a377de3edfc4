"""What a pair is made of, and that its format tells nothing."""

import json
import re

import numpy as np
import pytest

from gflowvlm.baselines.pairs import NoPair, Step, corrupted_reply, matched_reply
from gflowvlm.batch import Row, last_decision_alone
from gflowvlm.episode import Observation
from gflowvlm.prompting.reply import format_reply

FACTS = {"number 1": "3", "number 2": "5"}


def step(reply: str | None = None, truth: dict[str, str] | None = None) -> Step:
    seen = Observation(
        image=np.zeros((4, 4, 3), np.uint8),
        task="",
        text="",
        legal_actions=("10", "-", "+"),
        reply_fields=("number 1", "number 2"),
    )
    return Step(
        observations=(seen,),
        replies=(),
        chosen=reply or format_reply(FACTS, "3 is below 5", "10"),
        truth=truth or {},
    )


def test_a_corruption_keeps_keys_action_and_every_other_sign() -> None:
    for seed in range(50):
        texts = corrupted_reply(step(), np.random.default_rng(seed), verify=False)
        assert not isinstance(texts, NoPair)
        chosen, rejected = texts
        # a reader of punctuation and length alone cannot tell which is which
        assert re.sub("[0-9]", "#", chosen) == re.sub("[0-9]", "#", rejected)
        one, other = json.loads(chosen), json.loads(rejected)
        assert list(one) == list(other)
        assert other["action"] == "10"
        assert {**other, "action": ""} != {**one, "action": ""}


def test_what_states_no_digit_makes_no_pair_whatever_its_action() -> None:
    plain = step(format_reply({}, "below", "10"))
    assert corrupted_reply(plain, np.random.default_rng(0), verify=False) is NoPair.NO_DIGITS


def test_a_misreading_corrupted_into_the_truth_is_dropped_where_asked() -> None:
    misread = step(format_reply({"number 1": "4"}, None, "+"), truth={"number 1": "3"})
    made = [corrupted_reply(misread, np.random.default_rng(s), verify=True) for s in range(200)]
    dropped = sum(each is NoPair.STILL_TRUE for each in made)
    # one of nine corruptions; 200 / 9 = 22, +- 4 standard deviations of 4.4
    assert 22 - 18 < dropped < 22 + 18
    rejected = {json.loads(each[1])["number 1"] for each in made if not isinstance(each, NoPair)}
    assert rejected == set("01256789")


def test_a_weak_reply_lends_its_thought_and_not_its_action_or_its_spacing() -> None:
    weak = '{"number 1":"3",  "number 2":"4", "thoughts": "3 is above 4", "action": "up"}'
    texts = matched_reply(step(), weak)
    expected = format_reply({"number 1": "3", "number 2": "4"}, "3 is above 4", "10")
    assert texts == (step().chosen, expected)


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        ("I would go up", NoPair.OTHER_FORMAT),
        ('{"thoughts": "3 is above 4", "action": "+"}', NoPair.OTHER_FORMAT),
        ('{"number 2": "5", "number 1": "3", "thoughts": "x", "action": "+"}', NoPair.OTHER_FORMAT),
        (format_reply(FACTS, "3 is below 5", "-"), NoPair.SAME),
    ],
)
def test_a_weak_reply_of_another_form_or_the_same_thought_makes_no_pair(
    weak: str, reason: NoPair
) -> None:
    assert matched_reply(step(), weak) is reason


def test_actions_are_compared_where_nothing_is_thought() -> None:
    alone = step(format_reply({}, None, "+"))
    minus = format_reply({}, None, "-")
    assert matched_reply(alone, minus) == (alone.chosen, minus)
    assert matched_reply(alone, format_reply({}, None, "up")) is NoPair.OTHER_FORMAT


def test_of_an_episode_the_last_reply_counts_alone() -> None:
    row = Row(
        input_ids=(9, 1, 2, 9, 3, 4),
        decision_of=(-1, 0, 0, -1, 1, 1),
        segment=(0, 1, 2, 0, 1, 2),
        state_at=(0, 3, 5),
        vision=(),
        allowed={},
    )
    last = last_decision_alone([row])
    assert (last.decision_of, last.segment) == ((-1, -1, -1, -1, 0, 0), (0, 0, 0, 0, 1, 2))
    assert (last.num_decisions, last.state_at) == (1, (3, 5))
    thought = last_decision_alone([row], thought_alone=True)
    assert (thought.decision_of, thought.segment) == ((-1, -1, -1, -1, 0, -1), (0, 0, 0, 0, 1, 0))
