"""What a policy sees of a game that can be computed: states as observations, paths as episodes."""

from collections.abc import Hashable, Mapping
from typing import Any

import gymnasium

from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.exact.tree import History
from gflowvlm.rollouts.environments import (
    distance_of,
    extra_steps_of,
    facts_of,
    observe,
    success_chance_of,
    success_of,
)

_NEEDED = ("starts", "legal", "outcomes", "judge", "view")


class Views:
    """The looks of an enumerable environment's states, each computed once."""

    def __init__(self, environment: gymnasium.Env[Any, Any], environment_id: str, split: str):
        """Look at nothing yet.

        Args:
            environment: enumerable, see `gflowvlm_envs.contract.Enumerable`.
            environment_id: its Gymnasium id.
            split: which of its splits it was made for.

        Raises:
            UserError: it cannot be enumerated.
        """
        self.game: Any = environment.unwrapped
        self.environment_id = environment_id
        self.split = split
        missing = [name for name in _NEEDED if not hasattr(self.game, name)]
        if missing:
            raise UserError(
                f"{environment_id}: found no {missing[0]}(), expected an environment that can be "
                "enumerated (starts, legal, outcomes, judge, view): leave --exact out"
            )
        self._seen: dict[tuple[Hashable, Hashable], tuple[Observation, Mapping[str, Any]]] = {}
        self._alike: dict[tuple[Hashable, ...], Observation] = {}

    def observation(self, start: Hashable, state: Hashable) -> Observation:
        """What is seen of a state; the very same object wherever the same is seen."""
        return self._look(start, state)[0]

    def info(self, start: Hashable, state: Hashable) -> Mapping[str, Any]:
        """What the environment says of a state."""
        return self._look(start, state)[1]

    def episode(self, history: History) -> Episode:
        """An ended history as a played game, for reward maps and metrics; replies hold no tokens.

        Its pictures are those of `observation`.
        """
        start = history.states[0]
        decisions, success = [], False
        for step, (action, reward) in enumerate(
            zip(history.actions, history.rewards, strict=True), start=1
        ):
            info = self.info(start, history.states[step])
            last = step == len(history.actions)
            success = success_of(info, reward, last and history.ended)
            decisions.append(
                Decision(
                    observation=self.observation(start, history.states[step - 1]),
                    reply=Reply(text="", token_ids=(), segment=(), log_probs=(), action=action),
                    reward=reward,
                    facts=facts_of(self.info(start, history.states[step - 1])),
                    extra_steps=extra_steps_of(info),
                    success=success,
                    distance=distance_of(info),
                    success_chance=success_chance_of(info),
                )
            )
        return Episode(
            environment=self.environment_id,
            split=self.split,
            seed=0,
            group=0,
            index=0,
            decisions=tuple(decisions),
            ending=Ending.TERMINATED,
            success=success,
            start_distance=distance_of(self.info(start, start)),
        )

    def _look(self, start: Hashable, state: Hashable) -> tuple[Observation, Mapping[str, Any]]:
        if (start, state) not in self._seen:
            image, info = self.game.view(start, state)
            seen = observe(image, info)
            key = (seen.image.tobytes(), seen.image.shape, seen.task, seen.text, seen.legal_actions)
            self._seen[start, state] = self._alike.setdefault(key, seen), info
        return self._seen[start, state]
