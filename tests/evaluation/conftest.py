from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply, ReplyProblem, Segment

Play = Callable[..., Episode]


@pytest.fixture
def play() -> Play:
    """Builds an episode from its moves: `-` and `+`, or `?` for an invalid reply."""

    def build(
        moves: str,
        *,
        rewards: Sequence[float] | None = None,
        extra_steps: Sequence[int] | None = None,
        fields: Sequence[dict[str, str]] | None = None,
        facts: Sequence[dict[str, str]] | None = None,
        success: bool = True,
        group: int = 0,
    ) -> Episode:
        seen = Observation(
            image=np.zeros((2, 2, 3), np.uint8), task="", text="", legal_actions=("-", "+")
        )
        decisions = tuple(
            Decision(
                observation=seen,
                reply=Reply(
                    text=move,
                    token_ids=(1, 2, 3),
                    segment=(Segment.CONTEXT, Segment.THOUGHT, Segment.ACTION),
                    log_probs=(0.0, -1.0, -1.0),
                    fields=fields[step] if fields else {},
                    action=None if move == "?" else "-+".index(move),
                    problem=ReplyProblem.NOT_JSON if move == "?" else None,
                ),
                reward=rewards[step] if rewards else 0.0,
                facts=facts[step] if facts else {},
                extra_steps=extra_steps[step] if extra_steps else 0,
            )
            for step, move in enumerate(moves)
        )
        return Episode(
            environment="game",
            split="id",
            seed=group,
            group=group,
            index=0,
            decisions=decisions,
            ending=Ending.INVALID_REPLY if moves.endswith("?") else Ending.TERMINATED,
            success=success,
        )

    return build
