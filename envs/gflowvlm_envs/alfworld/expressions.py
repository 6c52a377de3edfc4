"""The expressions inside a game's text templates, evaluated without running code.

A game file carries templates such as `{o.indefinite + ' ' + o.name | inreceptacle(o, r)}`. Upstream
hands what stands before the bar to `eval`, so that a game file is a program. Here an expression is
names, their public attributes, string literals, `+` and `or`, and nothing else.
"""

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Evaluate = Callable[[Mapping[str, Any]], Any]


@lru_cache(maxsize=1024)
def compiled(expression: str) -> Evaluate:
    """A function from the values of the names to the value of the expression.

    Raises:
        ValueError: the expression holds anything but names, attributes, strings, `+` and `or`.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise _refused(expression) from error
    return _compile(tree.body, expression)


def _compile(node: ast.expr, expression: str) -> Evaluate:
    match node:
        case ast.Name(id=name):
            return lambda values: _value(values, name, expression)
        case ast.Attribute(value=inner, attr=name) if not name.startswith("_"):
            owner = _compile(inner, expression)
            return lambda values: getattr(owner(values), name)
        case ast.Constant(value=str(text)):
            return lambda values: text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _compile(left, expression), _compile(right, expression)
            return lambda values: first(values) + second(values)
        case ast.BoolOp(op=ast.Or(), values=choices):
            parts = [_compile(choice, expression) for choice in choices]
            return lambda values: (
                next((value for part in parts[:-1] if (value := part(values))), None)
                or parts[-1](values)
            )
    raise _refused(expression)


def _value(values: Mapping[str, Any], name: str, expression: str) -> Any:
    if name not in values:
        raise ValueError(
            f"template {{{expression}}}: found name {name!r}, expected one of "
            f"{', '.join(sorted(values)) or 'none'}: take a game made for this alfworld"
        )
    return values[name]


def _refused(expression: str) -> ValueError:
    return ValueError(
        f"template {{{expression}}}: found code, expected names, attributes, strings, '+' and "
        "'or': do not play game files from a source that you do not trust"
    )
