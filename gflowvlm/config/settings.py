"""Every dotted path that a configuration understands, for messages that name the nearest one."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

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
        for part in _sections_in(field.annotation):
            tag = part.model_fields.get("type")
            found += settings_of(part, f"{path}.", tag.default if tag else owner)
    return found


def nearest(name: str, candidates: list[str]) -> str | None:
    """The dotted path that `name` most likely stands for, or None.

    A key whose last part is spelled right but which sits in the wrong section is found too.
    """
    in_other_section = [c for c in candidates if c.split(".")[-1] == name.split(".")[-1]]
    by_spelling = difflib.get_close_matches(name, candidates, n=1, cutoff=0.8)
    by_last_part = difflib.get_close_matches(
        name.split(".")[-1], [c.split(".")[-1] for c in candidates], n=1, cutoff=0.75
    )
    if in_other_section:
        return in_other_section[0]
    if by_spelling:
        return by_spelling[0]
    return next((c for c in candidates if c.split(".")[-1] in by_last_part), None)


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)
