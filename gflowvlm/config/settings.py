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


def leaves_of(section: type[Section], path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value at a dotted path sets, setting by setting.

    A schedule, and a section that is chosen by its `type`, stay whole: what is said of one is no
    addition to another.
    """
    kind: Any = section
    for part in path.split("."):
        fields = kind.model_fields if _is_plain(kind) else {}
        kind = fields[part].annotation if part in fields else None
    if isinstance(value, dict) and _is_plain(kind):
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


def _is_plain(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section) and kind is not Schedule
