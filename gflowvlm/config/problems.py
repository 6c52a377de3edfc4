"""A failed validation as one line per problem: place, setting, what was found, what to change."""

import json
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from gflowvlm.config.document import Document
from gflowvlm.config.settings import Setting, nearest

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "a section of `key: value` lines",
    "model": "a section of `key: value` lines",
}
_NO_TYPE = {"union_tag_invalid", "union_tag_not_found"}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


_OTHER_NAMES = {"method": "objective", "algorithm": "objective", "algo": "objective"}
"""What a section is called elsewhere -> here, where likeness would not find it."""


def describe(error: ValidationError, document: Document, settings: list[Setting]) -> str:
    """The message of a ConfigError for everything that pydantic found wrong."""
    problems = error.errors(include_url=False)
    places = [details["loc"] for details in problems]
    # A list whose entries are wrong is also reported as too short: only the entries are news. So
    # is a section under another name, which is missing under its own.
    told = {("too_short", *loc[:-1]) for loc in places}
    told |= {("missing", meant) for name, meant in _OTHER_NAMES.items() if (name,) in places}
    lines = [
        _line(details, document, settings)
        for details in problems
        if (details["type"], *details["loc"]) not in told
    ]
    return "\n".join(dict.fromkeys(lines))  # a bare number may be wrong as start and as end


def _line(details: ErrorDetails, document: Document, settings: list[Setting]) -> str:
    path = _path(details, document.values)
    kind = details["type"]
    if kind == "extra_forbidden":
        path = _down_to_the_leaf(path, details["input"])
        text = f"{path}: {_unknown(path, document, settings)}"
    elif kind in _NO_TYPE:
        path, types = f"{path}.type", _types(path, settings)
        found = "nothing" if kind == "union_tag_not_found" else json.dumps(document.get(path))
        text = f"{path}: found {found}, expected one of {', '.join(types)}"
    elif kind == "missing":
        text = f"{path} is missing; add it, or give {path}=... on the command line"
    elif kind == "value_error":
        reason = str(details.get("ctx", {})["error"])
        text = f"{path}: {reason}" if path else reason
    else:
        text = f"{path}: found {_shown(details)}, expected {_expected(details)}"
        text += _remedy(details, path, document, settings)
    return " ".join(f"{document.place(path)}: {text}".split())


def _path(details: ErrorDetails, values: Any) -> str:
    """Dotted path of an error; the tags that pydantic inserts for unions are left out."""
    parts: list[str] = []
    for number, part in enumerate(details["loc"]):
        last = number == len(details["loc"]) - 1
        inside = part in values if isinstance(values, dict) else isinstance(values, list)
        if inside:
            values = values[part]
        elif not (last and details["type"] == "missing"):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _down_to_the_leaf(path: str, value: Any) -> str:
    while isinstance(value, dict) and len(value) == 1:
        key, value = next(iter(value.items()))
        path = f"{path}.{key}"
    return path


def _unknown(path: str, document: Document, settings: list[Setting]) -> str:
    named = path.partition(".")[0]
    if path.rpartition(".")[2] == "extends":
        return (
            "stands at the top of a recipe's file alone; in a comparison name base or "
            "methods.NAME.recipe"
        )
    if types := _types(_OTHER_NAMES.get(named, ""), settings):
        return f"unknown setting; {_meant(named, types, document)}"
    elsewhere = [s.owner for s in settings if s.path == path and s.owner is not None]
    if elsewhere:
        section = path.rpartition(".")[0]
        chosen = document.get(f"{section}.type")
        return (
            f"no setting of type {chosen}, only of {' and '.join(elsewhere)}; "
            f"remove it or change {section}.type"
        )
    live = [s.path for s in settings if s.owner is None or s.owner == _type_above(s.path, document)]
    guess = nearest(path, live)
    if guess is not None:
        return f"unknown setting; did you mean {guess}?"
    return "unknown setting; remove it (`gflowvlm config` prints all settings of a recipe)"


def _meant(named: str, types: list[str], document: Document) -> str:
    """What to write instead of a section under another name."""
    section, said = _OTHER_NAMES[named], document.get(named)
    kind = said.get("type") if isinstance(said, dict) else said
    if kind not in types:
        return f"the {named} is chosen by {section}.type, one of {', '.join(types)}"
    override = document.place(named).startswith("override ")
    form = f"'{section}={{type: {kind}}}'" if override else f"`{section}: {{type: {kind}}}`"
    return f"the {named} is chosen by {section}.type: write {form}"


def _type_above(path: str, document: Document) -> Any:
    return document.get(f"{path.rpartition('.')[0]}.type")


def _shown(details: ErrorDetails) -> str:
    value = details["input"]
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _types(section: str, settings: list[Setting]) -> list[str]:
    return [str(s.owner) for s in settings if s.path == f"{section}.type"]


def _expected(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]:g}"
    if kind in {"literal_error", "enum"}:
        return str(context["expected"]).replace("'", "")
    if kind == "string_too_short":
        return "text that is not empty"
    if kind == "too_short":
        return f"a list of at least {context['min_length']}"
    stem = kind.split("_")[0]
    return _KINDS.get(stem, details["msg"][:1].lower() + details["msg"][1:])


def _remedy(details: ErrorDetails, path: str, document: Document, settings: list[Setting]) -> str:
    if str(details["input"]) in _types(path, settings):
        return f", such as {{type: {details['input']}}}"
    for setting in settings:
        if setting.path != path or setting.field.default is PydanticUndefined:
            continue
        if setting.owner not in (None, _type_above(path, document)):
            continue
        default = setting.field.default
        if isinstance(default, int | float | str | bool):
            return f"; change it, or leave it out for the default {json.dumps(default)}"
    return ""
