"""YAML text to plain values, with the line of every key.

Scalars follow YAML 1.2's core schema, not PyYAML's default: `1e-5` is a number, `no` is text,
`010` is ten. Infinity and NaN have no spelling here, so no bound can be dodged with them.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from gflowvlm.config.error import ConfigError

_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass
class Document:
    """A configuration before validation: nested plain values and where each key was written."""

    source: str
    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)  # dotted path -> "recipe.yaml:12"

    def place(self, path: str) -> str:
        """Where a setting, or else the closest section around it, was written."""
        while path and path not in self.origin:
            path = path.rpartition(".")[0]
        return self.origin.get(path, self.source)

    def get(self, path: str) -> Any:
        """The value at a dotted path, None where there is none."""
        value: Any = self.values
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def read_document(text: str, source: str) -> Document:
    """Parse the YAML of one recipe; `source` names it in messages."""
    node = _compose(text, source)
    document = Document(source)
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{source}: found {_kind(node)} at the top, expected `key: value` lines; "
            "write sections such as `environment:` there"
        )
    document.values = _mapping(node, source, "", document.origin)
    return document


def read_value(text: str, source: str) -> Any:
    """Parse the right-hand side of an override by the same rules."""
    node = _compose(text, source)
    return None if node is None else _value(node, source, "", {})


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark is not None and "\n" in text else ""
        raise ConfigError(f"{source}: not valid YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def _value(node: yaml.Node, source: str, path: str, origin: dict[str, str]) -> Any:
    match node:
        case yaml.MappingNode():
            return _mapping(node, source, path, origin)
        case yaml.SequenceNode():
            return [
                _value(item, source, f"{path}.{index}", origin)
                for index, item in enumerate(node.value)
            ]
        case yaml.ScalarNode():
            return _scalar(node)
    raise AssertionError(node)


def _mapping(
    node: yaml.MappingNode, source: str, path: str, origin: dict[str, str]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = f"{source}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{place}: found {_kind(key_node)} as a key, expected a name")
        key = key_node.value
        full = f"{path}.{key}" if path else key
        if key in result:
            raise ConfigError(
                f"{place}: {full} is given twice, first at {origin[full]}; keep one of them"
            )
        origin[full] = place
        result[key] = _value(value_node, source, full, origin)
    return result


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style is not None:  # quoted or a block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a section"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
