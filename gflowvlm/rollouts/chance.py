"""Whether an environment leaves anything to chance, which off-policy episodes do not allow."""

from collections.abc import Sequence
from typing import Any

import gymnasium

from gflowvlm.errors import UserError

LOOKED_AT = 10_000
"""States of an enumerable environment that are searched for chance, nearest to the starts first."""


def require_no_chance(environment: gymnasium.Env[Any, Any], settings: Sequence[str]) -> None:
    """Refuse an environment in which an action has more than one outcome.

    Where transitions are left to chance no policy makes all residuals zero, and what a loss
    settles on depends on who sampled the episodes. Found out from the registration's
    `nondeterministic` and from `outcomes` where the environment can be enumerated; of any other
    environment nothing is known here, and the replay itself compares what it is given.

    Args:
        environment: to be looked at; nothing is played, and it is closed.
        settings: names of what asks for this.

    Raises:
        UserError: there is chance in it.
    """
    spec, game = environment.spec, environment.unwrapped
    environment.close()
    found = "its registration says nondeterministic" if spec and spec.nondeterministic else None
    if found or (found := _first_chance(game)):
        raise UserError(
            f"{spec.id if spec else type(game).__name__}: {found}, expected transitions without "
            f"chance for {' and '.join(settings)}: leave the setting out or train on another "
            "environment"
        )


def _first_chance(game: Any) -> str | None:
    """The first action found that may end in several ways, in words."""
    if not all(hasattr(game, name) for name in ("starts", "legal", "outcomes")):
        return None
    queue = list(dict.fromkeys(game.starts()))
    seen = set(queue)
    for state in queue:  # grows while it is walked
        for action, word in enumerate(game.legal(state)):
            outcomes = game.outcomes(state, action)
            if len(outcomes) > 1:
                return f"action {word!r} has {len(outcomes)} outcomes in state {state}"
            after = outcomes[0]
            if not after.ended and after.state not in seen and len(seen) < LOOKED_AT:
                seen.add(after.state)
                queue.append(after.state)
    return None
