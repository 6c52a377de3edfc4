"""From a recipe and the command line's overrides to a checked RunConfig."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gflowvlm.config.comparison import CompareConfig
from gflowvlm.config.document import Document, read_document, read_value
from gflowvlm.config.error import ConfigError
from gflowvlm.config.problems import describe
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.section import Section
from gflowvlm.config.settings import part_of, settings_of

T = TypeVar("T", bound=Section)

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


def load(
    path: Path, overrides: Sequence[str] = (), changes: Mapping[str, tuple[Any, str]] | None = None
) -> RunConfig:
    """Read a recipe (or a run's config.json), apply `a.b=value` overrides in order, check all.

    A run without a name is called after its recipe: `number_line/subtb.yaml` gives
    `number_line-subtb`. `extends: tb.yaml` takes all but the name from another recipe, found from
    this one's folder or else from here, setting by setting; lists, plain dicts, schedules and
    sections that are chosen by their `type` as a whole.

    Args:
        path: the recipe.
        overrides: as on the command line.
        changes: dotted path -> (value, where it was written), applied last.
    """
    document = _document(path, overrides, extends=True)
    for name, (value, place) in (changes or {}).items():
        _change(document, name, value, place)
    return check(document)


def load_comparison(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[CompareConfig, dict[str, RunConfig]]:
    """Read a comparison by the rules of `load`.

    Returns:
        The comparison, and each method's recipe with its overrides. A mistake in an override is
        told with the line it was written in.
    """
    document = _document(path, overrides)
    comparison = check(document, CompareConfig)
    recipes = {}
    for label in comparison.methods:
        changes = {
            name: (value, document.place(where))
            for name, (value, where) in comparison.changed(label).items()
        }
        for name, (_, place) in changes.items():
            if not _PATH.fullmatch(name):
                raise ConfigError(
                    f"{place}: found {name}, expected a path such as trainer.group_size"
                )
        recipe = _beside(comparison.recipe_of(label), path)
        recipes[label] = load(recipe, changes=changes)
    return comparison, recipes


def check(document: Document, kind: type[T] = RunConfig) -> T:
    """Validate a document; every problem gets its own line in the ConfigError."""
    try:
        # Strict JSON: 1e-5 for a float and a list for a tuple pass, "3" or true for 3 do not.
        return kind.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        message = describe(error, document, settings_of(kind))
        raise ConfigError(message) from error


def dump_json(config: Section) -> str:
    """All settings, defaults included, as JSON that `load` reads back to an equal config."""
    return config.model_dump_json(indent=2)


def _document(path: Path, overrides: Sequence[str], *, extends: bool = False) -> Document:
    document = read_document(_read(path), str(path))
    if extends:
        document = _extended(document, path, (path,))
    for override in overrides:
        _apply(document, override)
    if document.values.get("name") is None:
        folder = path.resolve().parent.name
        document.values["name"] = re.sub(r"[^\w.-]+", "-", f"{folder}-{path.stem}").strip("-.")
    return document


def _extended(document: Document, path: Path, chain: tuple[Path, ...]) -> Document:
    """A recipe's settings laid over those of the one that it extends, if it does.

    Args:
        document: the recipe.
        path: its file.
        chain: the files that lead to it, the first recipe's first, its own last.
    """
    if "extends" not in document.values:
        return document
    other = _parent(document, path, chain)
    below = _extended(read_document(_read(other), str(other)), other, (*chain, other))
    below.values.pop("name", None)
    origin = dict(below.origin)
    _lay_over(below.values, document.values, origin, RunConfig)
    return Document(document.source, below.values, {**origin, **document.origin})


def _parent(document: Document, path: Path, chain: tuple[Path, ...]) -> Path:
    """The file that `extends` names, taken out of the recipe: from its folder, else from here."""
    place, named = document.place("extends"), document.values.pop("extends")
    if not isinstance(named, str):
        raise ConfigError(
            f"{place}: found extends: {json.dumps(named)}, expected the file of a recipe, such as "
            "sft.yaml: name it, or remove the line"
        )
    other = next((f for f in (path.parent / named, Path(named)) if f.is_file()), None)
    known = [each.resolve() for each in chain]
    if other is None:
        beside = [f.name for f in path.parent.glob("*.yaml") if f.resolve() not in known]
        close = difflib.get_close_matches(named, beside, n=3, cutoff=0.6)
        remedy = f"did you mean {' or '.join(close)}?" if close else "correct the path"
        raise ConfigError(
            f"{place}: found extends: {named}, expected a file, seen from {path.parent} or from "
            f"here; {remedy}"
        )
    if other.resolve() in known:
        way = " -> ".join(each.name for each in (*chain, other))
        raise ConfigError(
            f"{place}: found extends: {named}, which leads in a circle ({way}), expected a recipe "
            "that ends it: remove one of these extends"
        )
    return other


def _lay_over(
    below: dict[str, Any],
    above: dict[str, Any],
    origin: dict[str, str],
    kind: type[Section],
    prefix: str = "",
) -> None:
    """Put settings over others, plain sections one setting at a time, all else as a whole.

    Args:
        below: changed in place.
        above: what counts where both say something.
        origin: where the ones below were written; those that go are taken out.
        kind: the section that both are.
        prefix: its dotted path and a dot, empty at the top.
    """
    for key, value in above.items():
        part, path = part_of(kind, key), f"{prefix}{key}"
        if part is not None and isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value, origin, part, f"{path}.")
            continue
        below[key] = value
        for gone in [known for known in origin if known.startswith(f"{path}.")]:
            del origin[gone]


def _beside(recipe: Path, path: Path) -> Path:
    """A recipe named in another file: as seen from here, else from that file's folder."""
    return (
        path.parent / recipe if not recipe.exists() and (path.parent / recipe).exists() else recipe
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{_neighbours(path)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: found a folder, expected a recipe file in YAML") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not UTF-8, expected YAML text") from error


def _neighbours(path: Path) -> str:
    """What a mistyped path may have meant, from what lies in the deepest folder that exists."""
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    names = [p.name for p in missing.parent.iterdir() if p.is_dir() or p.suffix == ".yaml"]
    close = difflib.get_close_matches(missing.name, names, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(str(missing.parent / name) for name in close)}?"
    return "; pass the path of a recipe"


def _apply(document: Document, override: str) -> None:
    place = f"override {override}"
    path, equals, text = override.partition("=")
    if not equals or not _PATH.fullmatch(path):
        raise ConfigError(
            f"{place}: found no setting and value, expected a.b=value, "
            "for example trainer.max_updates=100"
        )
    _change(document, path, read_value(text, place), place)


def _change(document: Document, path: str, value: Any, place: str) -> None:
    """Put a value at a dotted path; what stood there goes as a whole."""
    *sections, key = path.split(".")
    values, so_far = document.values, ""
    for section in sections:
        so_far = f"{so_far}.{section}" if so_far else section
        values = values.setdefault(section, {})
        document.origin.setdefault(so_far, place)
        if not isinstance(values, dict):
            raise ConfigError(
                f"{place}: {so_far} is {json.dumps(values)}, which has no settings inside; "
                f"override {so_far} itself"
            )
    values[key] = value
    for replaced in [known for known in document.origin if known.startswith(f"{path}.")]:
        del document.origin[replaced]
    document.origin[path] = place
