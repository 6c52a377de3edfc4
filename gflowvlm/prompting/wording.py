"""The sentences of a prompt and the JSON of a reply; whatever they speak of is passed in."""

import json
from collections.abc import Mapping, Sequence


def quoted(words: Sequence[str]) -> str:
    """Words as they stand in a prompt: `"-", "+"`."""
    return ", ".join(json.dumps(word, ensure_ascii=False) for word in words)


def one_of(key: str, choices: Sequence[str]) -> str:
    """The sentence that lists what a key of the reply may hold."""
    return f"The {key} is one of {quoted(choices)}."


def ask_for_json(*, task: str, text: str, keys: Sequence[str], choices: Sequence[str] = ()) -> str:
    """The first question of a conversation; `choices` are the legal values of the last key."""
    request = f"Reply in JSON with the keys {quoted(keys)}."
    if choices:
        request += " " + one_of(keys[-1], choices)
    return "\n".join(line for line in (task, text, request) if line)


def write_json(fields: Mapping[str, str]) -> str:
    """A reply: one flat JSON object of strings on one line, keys in the order given."""
    return json.dumps(dict(fields), ensure_ascii=False)
