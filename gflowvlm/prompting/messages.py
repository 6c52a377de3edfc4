"""What the model is told: an observation as one user turn of a conversation.

Transcript layout: the task is said once, in the first turn; later turns say only what is new.
Nothing here knows an environment; every word comes from the observation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gflowvlm.episode import Observation
from gflowvlm.prompting.reply import ACTION_KEY, THOUGHT_KEY
from gflowvlm.prompting.wording import ask_for_json, one_of


@dataclass(frozen=True, kw_only=True)
class UserTurn:
    """One message to the model: an image, a text, or both."""

    image: NDArray[np.uint8] | None  # [H, W, 3]
    text: str  # may be empty


def first_turn(observation: Observation, *, thought: bool = True) -> UserTurn:
    """The task, what is said at the first step, and the form of the reply.

    Args:
        observation: the episode's first.
        thought: False where the reply holds nothing but the action.
    """
    keys = (*observation.reply_fields, THOUGHT_KEY, ACTION_KEY) if thought else (ACTION_KEY,)
    text = ask_for_json(
        task=observation.task,
        text=observation.text,
        keys=keys,
        choices=observation.legal_actions,
    )
    return UserTurn(image=observation.image, text=text)


def later_turn(observation: Observation, previous: Observation) -> UserTurn:
    """What is new since `previous`: the image, the step's text, the actions if they changed."""
    lines = [observation.text] if observation.text else []
    if observation.legal_actions != previous.legal_actions:
        lines.append(one_of(ACTION_KEY, observation.legal_actions))
    return UserTurn(image=observation.image, text="\n".join(lines))


def turns_of(observations: Sequence[Observation], *, thought: bool = True) -> list[UserTurn]:
    """The user turns of an episode, in order."""
    first = [first_turn(observation, thought=thought) for observation in observations[:1]]
    pairs = zip(observations[1:], observations[:-1], strict=True)
    return first + [later_turn(observation, previous) for observation, previous in pairs]
