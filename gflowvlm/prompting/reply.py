r"""The reply format: one JSON object, facts first, then the thought, then the action.

    {"current number": "3", "target number": "5", "thoughts": "3 is below 5", "action": "+"}

What counts as thought and what as action is decided here, by character offset in the reply's text:
everything from the opening quote of the top-level `"action"` key to the end is action (closing
brace and end of turn included), everything before it is thought. Offsets come from reading the
object member by member, so a thought that quotes `"action":` does not fool the reader.

Text around the object is accepted (a Markdown fence, a sentence before it): the object begins at
the first `{` that is followed by a quote or by `}`. Of a repeated key the first one counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gflowvlm.episode import ReplyProblem
from gflowvlm.prompting.wording import write_json

ACTION_KEY = "action"
THOUGHT_KEY = "thoughts"
DONE_REPLY = "[DONE]"
"""How the reply that ends an episode is written for people and in data; it is no text to a policy,
but one reserved token of its own."""

_OBJECT = re.compile(r'\{(?=\s*["}])')
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(strict=False)  # models write raw line breaks inside strings


@dataclass(frozen=True, kw_only=True)
class ParsedReply:
    """What a reply's text says and where; character offsets count from the text's first one."""

    fields: Mapping[str, str]  # everything stated besides thought and action, as text
    thought: str
    action: int | None  # index into the legal actions
    problem: ReplyProblem | None  # None exactly when action is not None
    action_start: int  # opening quote of the action key; len(text) where there is none
    field_spans: Mapping[str, tuple[int, int]]  # value of each field, quotes excluded
    word_start: int | None  # where the value of the action key begins, its quote included


@dataclass(frozen=True)
class _Member:
    """One `key: value` of the object; offsets are half-open."""

    key: str
    key_span: tuple[int, int]  # quotes included
    value: Any
    value_span: tuple[int, int]  # quotes included


@dataclass
class _Scan:
    """How far the object could be read."""

    members: list[_Member] = field(default_factory=list)
    open_key: tuple[str, tuple[int, int]] | None = None  # a key whose value could not be read
    complete: bool = False


def format_reply(fields: Mapping[str, str], thought: str | None, action: str) -> str:
    """Write a reply the way the model is asked to; `thought=None` leaves the thought out."""
    thoughts = {} if thought is None else {THOUGHT_KEY: thought}
    return write_json({**fields, **thoughts, ACTION_KEY: action})


def parse_reply(text: str, legal_actions: Sequence[str]) -> ParsedReply:
    """Read a reply; what is wrong with it is a value in the result, never an exception.

    A number where the action should be is read as its text; any other value that is not a string
    is an illegal action. Action words are compared exactly.
    """
    scan = _scan(text)
    first: dict[str, _Member] = {}
    for member in scan.members:
        first.setdefault(member.key, member)
    said = first.get(ACTION_KEY)
    starts = [said.key_span[0]] if said else []
    if scan.open_key and scan.open_key[0] == ACTION_KEY:
        starts.append(scan.open_key[1][0])
    action, problem = None, None
    if not scan.complete:
        problem = ReplyProblem.NOT_JSON
    elif said is None:
        problem = ReplyProblem.NO_ACTION
    elif not _plain(said.value) or _as_text(text, said) not in legal_actions:
        problem = ReplyProblem.ILLEGAL_ACTION
    else:
        action = list(legal_actions).index(_as_text(text, said))
    stated = {k: m for k, m in first.items() if k not in (ACTION_KEY, THOUGHT_KEY)}
    return ParsedReply(
        fields={key: _as_text(text, member) for key, member in stated.items()},
        thought=_as_text(text, first[THOUGHT_KEY]) if THOUGHT_KEY in first else "",
        action=action,
        problem=problem,
        action_start=min(starts, default=len(text)),
        field_spans={key: _inner_span(member) for key, member in stated.items()},
        word_start=said.value_span[0] if said else None,
    )


def reply_keys(fields: Sequence[str], *, thought: bool) -> tuple[str, ...]:
    """The keys of a reply in the form that is asked for, the action's last."""
    return (*fields, THOUGHT_KEY, ACTION_KEY) if thought else (ACTION_KEY,)


def opening_of(keys: Sequence[str]) -> str:
    """How a reply with these keys begins, up to its first value: `{"number": "`."""
    return f'{{{json.dumps(keys[0], ensure_ascii=False)}: "'


def glue_before(key: str) -> str:
    """What stands between a value and the one under `key`: `, "thoughts": "`."""
    return f', {json.dumps(key, ensure_ascii=False)}: "'


def glue_after(text: str, keys: Sequence[str]) -> tuple[str, bool] | None:
    """What a reply in the making has to go on with when its latest value is complete.

    Args:
        text: all of it so far.
        keys: of the whole reply, in their order.

    Returns:
        (`, "thoughts": "` or what is left of it, whether the action's word follows); None while a
        value is being written, after the last one, and where the text has left the form.
    """
    said = _scan(text).members
    if not 0 < len(said) < len(keys) or [each.key for each in said] != list(keys[: len(said)]):
        return None
    rest = text[said[-1].value_span[1] :]
    glue = glue_before(keys[len(said)])
    if not glue.startswith(rest):
        return None
    return glue[len(rest) :], len(said) == len(keys) - 1


def action_ending(action: str) -> str:
    """What follows the opening quote when a reply ends in this action: the word, quote, brace."""
    return json.dumps(action, ensure_ascii=False)[1:] + "}"


def _scan(text: str) -> _Scan:
    """Read the object's top level as far as it goes; nested values are read whole."""
    scan = _Scan()
    begin = _OBJECT.search(text)
    if begin is None:
        return scan
    at = _skip(text, begin.end())
    if text.startswith("}", at):
        scan.complete = True
        return scan
    while text.startswith('"', at):
        key_start = at
        try:
            key, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return scan
        key_span = (key_start, at)
        colon = _skip(text, at)
        value_start = _skip(text, colon + 1)
        try:
            if not text.startswith(":", colon):
                raise ValueError("expected a colon")
            value, at = _DECODER.raw_decode(text, value_start)
        except (ValueError, RecursionError):  # ValueError: also a number of absurd length
            scan.open_key = (key, key_span)
            return scan
        scan.members.append(_Member(key, key_span, value, (value_start, at)))
        at = _skip(text, at)
        if text.startswith("}", at):
            scan.complete = True
            return scan
        if not text.startswith(",", at):
            return scan
        at = _skip(text, at + 1)
    return scan


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _as_text(text: str, member: _Member) -> str:
    """The value itself if a string, else as it was written."""
    if not isinstance(member.value, str):
        return text[slice(*member.value_span)]
    return member.value.encode("utf-8", "replace").decode()  # "\\ud800" alone could not be saved


def _inner_span(member: _Member) -> tuple[int, int]:
    start, end = member.value_span
    return (start + 1, end - 1) if isinstance(member.value, str) else (start, end)
