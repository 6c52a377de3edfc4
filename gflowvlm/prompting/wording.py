"""The sentences of a prompt and the JSON of a reply; whatever they speak of is passed in."""

import json
from collections.abc import Mapping, Sequence

LONG_LIST = 8
"""A list of more choices stands on a line of its own, and once said is told by its changes."""


def quoted(words: Sequence[str]) -> str:
    """Words as they stand in a prompt: `"-", "+"`."""
    return ", ".join(json.dumps(word, ensure_ascii=False) for word in words)


def one_of(key: str, choices: Sequence[str]) -> str:
    """The sentence that lists what a key of the reply may hold."""
    return f"The {key} is one of {quoted(choices)}."


def now_one_of(key: str, choices: Sequence[str], before: Sequence[str]) -> str:
    """What a key may hold now, for a reader who knows what it might hold `before`.

    Of a long list (more than `LONG_LIST` choices) only the changes are said, where that takes less
    than half the characters; without those that are gone and with the new ones, what the reader
    knew is the list, as a set. Every other list is said in full.
    """
    new = [choice for choice in choices if choice not in before]
    gone = [choice for choice in before if choice not in choices]
    said = [f"also be {quoted(new)}"] if new else []
    said += [f"not be {quoted(gone)}"] if gone else []
    whole, change = one_of(key, choices), f"The {key} may {' and '.join(said)}." if said else ""
    return change if len(choices) > LONG_LIST and 2 * len(change) < len(whole) else whole


def left_out(steps: int) -> str:
    """The line that stands for a history's first `steps` steps."""
    return "Step 1 is left out." if steps == 1 else f"Steps 1-{steps} are left out."


def ask_for_json(*, task: str, text: str, keys: Sequence[str], choices: Sequence[str] = ()) -> str:
    """The first question of a conversation; `choices` are the legal values of the last key."""
    request = f"Reply in JSON with the keys {quoted(keys)}."
    if choices:
        request += "\n" if len(choices) > LONG_LIST else " "
        request += one_of(keys[-1], choices)
    return "\n".join(line for line in (task, text, request) if line)


def write_json(fields: Mapping[str, str]) -> str:
    """A reply: one flat JSON object of strings on one line, keys in the order given."""
    return json.dumps(dict(fields), ensure_ascii=False)
