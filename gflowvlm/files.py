"""Files that are there whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> Path:
    """Put `text` into a file in one step: whoever reads it meanwhile gets the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def write_json(path: Path, plain: Mapping[str, Any]) -> Path:
    """Put plain values into a file in one step, laid out for people."""
    return write_text(path, json.dumps(plain, indent=2) + "\n")
