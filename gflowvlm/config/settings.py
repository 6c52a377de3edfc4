"""Every dotted path that a configuration understands, for messages that name the nearest one."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from gflowvlm.config.schedule import Schedule
from gflowvlm.config.section import Section


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key of a configuration."""

    path: str  # "objective.decay"
    owner: str | None  # value of `type` under which the key exists, None if always
    field: FieldInfo


def settings_of(
    section: type[Section], prefix: str = "", owner: str | None = None
) -> list[Setting]:
    """All settings below a section, those of every alternative of a union included."""
    found = []
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        found.append(Setting(path=path, owner=owner, field=field))
        named = "NAME." if get_origin(field.annotation) is dict else ""
        for part in _sections_in(field.annotation):
            tag = part.model_fields.get("type")
            found += settings_of(part, f"{path}.{named}", tag.default if tag else owner)
    return found


def part_of(section: type[Section] | None, name: str) -> type[Section] | None:
    """The section that a key holds, where settings inside it may be changed one by one.

    None for a schedule and for what is chosen by its `type`: what is said of one is no addition to
    another, so they stay whole.
    """
    field = None if section is None else section.model_fields.get(name)
    kind: Any = None if field is None else field.annotation
    plain = isinstance(kind, type) and issubclass(kind, Section) and kind is not Schedule
    return kind if plain else None


def leaves_of(section: type[Section], path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value at a dotted path sets, setting by setting; see `part_of`."""
    kind: type[Section] | None = section
    for name in path.split("."):
        kind = part_of(kind, name)
    if isinstance(value, dict) and kind is not None:
        for name, inner in value.items():
            yield from leaves_of(section, f"{path}.{name}", inner)
    else:
        yield path, value


def nearest(name: str, candidates: list[str]) -> str | None:
    """The dotted path that `name` most likely stands for, or None.

    A slip of the pen comes first, then a right key in the wrong section, then looser likeness.
    """
    keys = {path: path.rpartition(".")[2] for path in candidates}
    key = name.rpartition(".")[2]
    slip = difflib.get_close_matches(name, candidates, n=1, cutoff=0.9)
    misplaced = [path for path in candidates if keys[path] == key]
    alike = difflib.get_close_matches(name, candidates, n=1, cutoff=0.8)
    close_keys = difflib.get_close_matches(key, list(keys.values()), n=1, cutoff=0.75)
    key_alike = [path for path in candidates if keys[path] in close_keys]
    return next(iter([*slip, *misplaced, *alike, *key_alike]), None)


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)
