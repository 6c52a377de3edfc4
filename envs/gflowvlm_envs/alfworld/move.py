"""Something that can be done in a game."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Move:
    """An action of the PDDL domain with its arguments, and the command that does it."""

    id: int  # the planner's number for it
    action: str  # name in the domain, lower case: gotolocation, pickupobject, ...
    arguments: Mapping[str, str]  # parameter -> id of an entity
    template: str  # of the command
    feedback: str  # of the answer
    mapping: Mapping[Any, Any]  # Placeholder -> Variable: the arguments in textworld's terms
    command: str = ""

    def said(self, command: str) -> "Move":
        """The same with its command."""
        return replace(self, command=command)
