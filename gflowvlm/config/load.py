"""From a recipe and the command line's overrides to a checked RunConfig."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from gflowvlm.config.document import Document, read_document, read_value
from gflowvlm.config.error import ConfigError
from gflowvlm.config.problems import describe
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.settings import settings_of

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


def load(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a recipe (or a run's config.json), apply `a.b=value` overrides in order, check all.

    A run without a name is called after its recipe: `number_line/subtb.yaml` gives
    `number_line-subtb`.
    """
    document = read_document(_read(path), str(path))
    for override in overrides:
        _apply(document, override)
    if document.values.get("name") is None:
        folder = path.resolve().parent.name
        document.values["name"] = re.sub(r"[^\w.-]+", "-", f"{folder}-{path.stem}").strip("-.")
    return check(document)


def check(document: Document) -> RunConfig:
    """Validate a document; every problem gets its own line in the ConfigError."""
    try:
        # Strict JSON: 1e-5 for a float and a list for a tuple pass, "3" or true for 3 do not.
        return RunConfig.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        message = describe(error, document, settings_of(RunConfig))
        raise ConfigError(message) from error


def dump_json(config: RunConfig) -> str:
    """All settings, defaults included, as JSON that `load` reads back to an equal config."""
    return config.model_dump_json(indent=2)


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
    values[key] = read_value(text, place)
    for replaced in [known for known in document.origin if known.startswith(f"{path}.")]:
        del document.origin[replaced]
    document.origin[path] = place
