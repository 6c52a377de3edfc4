import pytest

from gflowvlm.episode import ReplyProblem
from gflowvlm.prompting.reply import (
    action_ending,
    format_reply,
    glue_after,
    opening_of,
    parse_reply,
    reply_keys,
)

MINUS_PLUS = ("-", "+")
EXPERT = (
    '{"current number": "3", "target number": "5", "thoughts": "current is smaller", "action": "+"}'
)


def test_a_reply_is_written_with_exactly_this_spacing() -> None:
    fields = {"current number": "3", "target number": "5"}
    assert format_reply(fields, "current is smaller", "+") == EXPERT


def test_a_reply_without_thought_holds_the_action_alone() -> None:
    assert format_reply({}, None, "+") == '{"action": "+"}'


def test_a_written_reply_reads_back() -> None:
    parsed = parse_reply(EXPERT, MINUS_PLUS)
    assert parsed.problem is None
    assert parsed.action == 1
    assert parsed.thought == "current is smaller"
    assert parsed.fields == {"current number": "3", "target number": "5"}
    assert EXPERT[parsed.action_start :] == '"action": "+"}'
    assert {k: EXPERT[slice(*s)] for k, s in parsed.field_spans.items()} == parsed.fields


def test_a_thought_that_quotes_the_action_key_is_still_thought() -> None:
    text = r'{"thoughts": "I say \"action\": \"-\"", "action": "+"}'
    parsed = parse_reply(text, MINUS_PLUS)
    assert parsed.action == 1
    assert parsed.action_start == text.rindex('"action"')


def test_an_action_key_inside_another_object_is_not_the_action() -> None:
    text = '{"thoughts": {"action": "-"}, "action": "+"}'
    parsed = parse_reply(text, MINUS_PLUS)
    assert (parsed.action, parsed.action_start) == (1, text.rindex('"action"'))


def test_a_fence_and_a_preface_are_accepted() -> None:
    parsed = parse_reply('Set {x}.\n```json\n{"action": "-"}\n```', MINUS_PLUS)
    assert parsed.action == 0


def test_of_a_repeated_key_the_first_counts() -> None:
    text = '{"n": "1", "n": "2", "action": "-", "action": "+"}'
    parsed = parse_reply(text, MINUS_PLUS)
    assert (parsed.action, parsed.fields) == (0, {"n": "1"})
    assert parsed.action_start == text.index('"action"')


def test_a_number_is_read_as_its_text() -> None:
    parsed = parse_reply('{"n": 3, "action": 10}', ("1", "10"))
    assert (parsed.action, parsed.fields) == (1, {"n": "3"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("go left", ReplyProblem.NOT_JSON),
        ('{"action": "+"', ReplyProblem.NOT_JSON),
        ('{"action": "+', ReplyProblem.NOT_JSON),
        ('{"action" "+"}', ReplyProblem.NOT_JSON),
        ('{"thoughts": "none"}', ReplyProblem.NO_ACTION),
        ("{}", ReplyProblem.NO_ACTION),
        ('{"action": "up"}', ReplyProblem.ILLEGAL_ACTION),
        ('{"action": " +"}', ReplyProblem.ILLEGAL_ACTION),
        ('{"action": true}', ReplyProblem.ILLEGAL_ACTION),
        ('{"action": ["+"]}', ReplyProblem.ILLEGAL_ACTION),
        ('{"a": ' + "[" * 100_000, ReplyProblem.NOT_JSON),
        ('{"a": ' + "9" * 10_000 + "}", ReplyProblem.NOT_JSON),
    ],
)
def test_what_is_wrong_with_a_reply_is_named(text: str, problem: ReplyProblem) -> None:
    parsed = parse_reply(text, MINUS_PLUS)
    assert (parsed.problem, parsed.action) == (problem, None)


def test_without_an_action_key_everything_is_thought() -> None:
    text = '{"thoughts": "none"}'
    assert parse_reply(text, MINUS_PLUS).action_start == len(text)


def test_a_broken_reply_keeps_the_place_of_its_action_key() -> None:
    text = '{"thoughts": "x", "action": "+'
    assert parse_reply(text, MINUS_PLUS).action_start == text.index('"action"')


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('{"number": "3"', (', "thoughts": "', False)),
        ('{"number": "3",', (' "thoughts": "', False)),
        ('{"number": "3", "', ('thoughts": "', False)),
        ('{"number": "3", "thoughts": "', ("", False)),
        ('{"number": "3", "thoughts": "so"', (', "action": "', True)),
        ('{"number": "3", "thoughts": "so", "action": "', ("", True)),
        ('{"number": "3', None),
        ('{"number": "3 \\"', None),
        ('{"number": "3"}', None),
        ('{"number": "3", "action": "', None),
        ('{"thoughts": "so"', None),
        ('{"number": "3", "thoughts": "so", "action": "+"', None),
        ("", None),
    ],
)
def test_the_glue_after_a_value_is_what_is_missing(
    text: str, after: tuple[str, bool] | None
) -> None:
    assert glue_after(text, reply_keys(["number"], thought=True)) == after


def test_a_reply_opens_with_its_first_key() -> None:
    assert opening_of(reply_keys(["number"], thought=True)) == '{"number": "'
    assert opening_of(reply_keys(["number"], thought=False)) == '{"action": "'


def test_an_action_word_ends_with_quote_and_brace() -> None:
    assert action_ending('say "hi"') == r'say \"hi\""}'


def test_a_lone_surrogate_can_be_saved() -> None:
    parsed = parse_reply('{"n": "\\ud800", "action": "+"}', MINUS_PLUS)
    assert parsed.fields["n"].encode() == b"?"
