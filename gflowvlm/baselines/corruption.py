"""Rejected thoughts made of chosen ones by corrupting digits (Lahlou et al. 2024, PORT).

PORT replaces each digit of a reasoning step by a uniformly drawn one. A step of d digits then stays
as it is with probability 10^-d, and a step without digits always; here a corruption always differs,
and what has no digits gives none.
"""

import re
from collections.abc import Mapping

import numpy as np

_DIGIT = re.compile(r"[0-9]")
_NUMBER = r"-?\d+(?:\.\d+)?"
_EQUATION = re.compile(rf"(?P<left>{_NUMBER}(?:\s*[-+*/]\s*{_NUMBER})+)\s*=\s*(?P<right>{_NUMBER})")
_TERM = re.compile(rf"\s*(?P<operator>[-+*/])?\s*(?P<number>{_NUMBER})")


def corrupt_digits(text: str, rng: np.random.Generator) -> str | None:
    """`text` with its digits drawn anew, uniformly among all that differ from it somewhere.

    Of the same length, and different at digits only; None where it has no digit.
    """
    places = [match.start() for match in _DIGIT.finditer(text)]
    if not places:
        return None
    while True:  # ends at once but for one draw in 10^(number of digits)
        letters = list(text)
        for place, digit in zip(places, rng.integers(10, size=len(places)), strict=True):
            letters[place] = str(digit)
        corrupted = "".join(letters)
        if corrupted != text:
            return corrupted


def still_true(text: str, stated: Mapping[str, str], truth: Mapping[str, str]) -> bool:
    """Whether a corrupted thought says nothing false, as far as that can be seen.

    `3+4=7` may become `1+6=7`, and a misread number the right one: neither is a worse thought. What
    can be seen are the fields that a reply states, beside the environment's truth, and equations
    within `text`; without either, a corruption counts as false.

    Args:
        text: of the thought.
        stated: fields of the corrupted reply.
        truth: of those fields that the environment knows.
    """
    claims = [truth[name] == value for name, value in stated.items() if name in truth]
    claims += [_holds(equation) for equation in _EQUATION.finditer(text)]
    return bool(claims) and all(claims)


def _holds(equation: re.Match[str]) -> bool:
    """Whether `a op b op ... = c` is right, multiplication and division first."""
    total, product = 0.0, 0.0
    for term in _TERM.finditer(equation["left"]):
        number = float(term["number"])
        match term["operator"]:
            case "*":
                product *= number
            case "/" if number:
                product /= number
            case "/":
                return False
            case operator:
                total, product = total + product, -number if operator == "-" else number
    return abs(total + product - float(equation["right"])) < 1e-9
