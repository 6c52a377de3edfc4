"""What the model is told before a reply: a user turn made of observations and earlier replies.

Four layouts say how the history enters:

- `transcript`: one conversation that grows; the task is said once, later turns say only what is
  new, and every image stays.
- `news`: the same, but an image is shown again only when it has changed, or nothing else is said.
- `rewritten`: each decision is a conversation of its own, with the history as text and the present
  image alone (Kang et al. 2025, whose prompts list earlier states and actions); where
  `history_length` bounds it, the latest steps stand there and one line names those left out.
- `none`: the same without the history; a Markovian ablation.

A first decision has no history, so all begin with the same turn. Nothing here knows an
environment; every word comes from observations and replies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation
from gflowvlm.prompting.reply import ACTION_KEY, reply_keys
from gflowvlm.prompting.wording import ask_for_json, left_out, now_one_of


@dataclass(frozen=True, kw_only=True)
class UserTurn:
    """One message to the model: an image, a text, or both."""

    image: NDArray[np.uint8] | None  # [H, W, 3]
    text: str  # may be empty
    steps_left_out: int = 0  # earlier steps of which the text says only that it leaves them out


def grows(layout: Layout) -> bool:
    """Whether an episode is one conversation, to which every turn adds."""
    return layout in ("transcript", "news")


def next_turn(
    layout: Layout,
    observations: Sequence[Observation],
    replies: Sequence[str],
    *,
    thought: bool,
    history_length: int | None = None,
) -> UserTurn:
    """The user turn that asks for the next reply.

    Args:
        layout: how the history enters. The turn continues a conversation that `grows`, else it
            opens a new one.
        observations: everything seen so far, the present one last.
        replies: everything said so far, one fewer.
        thought: False where a reply holds nothing but the action.
        history_length: at most so many of the latest steps stand in a `rewritten` prompt, each of
            them whole; None for all.
    """
    match layout:
        case "transcript" | "news" if len(observations) > 1:
            now, before = observations[-1], observations[-2]
            return later_turn(now, before, show_again=layout == "transcript")
        case "rewritten":
            most = len(replies) if history_length is None else history_length
            skipped = max(0, len(replies) - most)
            history = history_lines(observations, replies, skipped=skipped)
            turn = first_turn(observations[-1], thought=thought, history=history)
            return replace(turn, steps_left_out=skipped)
        case _:
            return first_turn(observations[-1], thought=thought)


def history_lines(
    observations: Sequence[Observation], replies: Sequence[str], *, skipped: int = 0
) -> list[str]:
    """What was said at each step so far, by the environment where it spoke, and by the policy.

    One line stands for the first `skipped` steps.
    """
    lines = [left_out(skipped)] if skipped else []
    steps = list(enumerate(zip(observations[:-1], replies, strict=True), start=1))
    for step, (seen, reply) in steps[skipped:]:
        if seen.text:
            lines.append(f"Step {step}: {seen.text}")
        lines.append(f"Reply {step}: {reply}")
    return lines


def first_turn(
    observation: Observation, *, thought: bool = True, history: Sequence[str] = ()
) -> UserTurn:
    """The task, the history if any, what is said at this step, and the form of the reply.

    Args:
        observation: the present one.
        thought: False where the reply holds nothing but the action.
        history: lines that stand between the task and what is said now.
    """
    text = ask_for_json(
        task=observation.task,
        text="\n".join([*history, *([observation.text] if observation.text else [])]),
        keys=reply_keys(observation.reply_fields, thought=thought),
        choices=observation.legal_actions,
    )
    return UserTurn(image=observation.image, text=text)


def later_turn(
    observation: Observation, previous: Observation, *, show_again: bool = True
) -> UserTurn:
    """What is new since `previous`: the image, the step's text, the actions if they changed.

    Of a long list of actions the changes alone may be said, see `wording.now_one_of`. Without
    `show_again` an image equal to the one of `previous` is left out where there is a text.
    """
    lines = [observation.text] if observation.text else []
    if observation.legal_actions != previous.legal_actions:
        lines.append(now_one_of(ACTION_KEY, observation.legal_actions, previous.legal_actions))
    text = "\n".join(line for line in lines if line)
    known = not show_again and np.array_equal(observation.image, previous.image)
    return UserTurn(image=None if known and text else observation.image, text=text)


def turns_of(
    layout: Layout,
    observations: Sequence[Observation],
    replies: Sequence[str],
    *,
    thought: bool,
    history_length: int | None = None,
) -> list[UserTurn]:
    """The user turns of an episode, one per decision; the arguments are those of `next_turn`."""
    return [
        next_turn(
            layout,
            observations[: step + 1],
            replies[:step],
            thought=thought,
            history_length=history_length,
        )
        for step in range(len(observations))
    ]
