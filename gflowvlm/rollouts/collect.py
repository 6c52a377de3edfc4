"""Play episodes side by side: every turn, one batched reply for all games still running."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import gymnasium
import numpy as np

from gflowvlm.batch import Row
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.policy.base import EpisodeKey, Policy, Session
from gflowvlm.rollouts.environments import extra_steps_of, facts_of, observe, success_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An episode to be played."""

    index: int  # number of the episode within the run
    group: int  # episodes of one group share their start
    seed: int  # environment seed, equal within a group


@dataclass(frozen=True, kw_only=True)
class Played:
    """An episode and the token sequences of its policy."""

    episode: Episode
    rows: Sequence[Row]  # in the order of the decisions


def plan_groups(
    run_seed: int, purpose: str, *, first_group: int, groups: int, group_size: int
) -> list[Plan]:
    """Plans whose seeds are functions of (run seed, purpose, group) alone.

    `purpose` ("train", "evaluate/id") keeps streams apart, so that equal numbers mean nothing.
    """
    stream = np.frombuffer(sha256(purpose.encode()).digest(), dtype=np.uint32).tolist()
    plans = []
    for group in range(first_group, first_group + groups):
        sequence = np.random.SeedSequence([run_seed, group, *stream])
        seed = int(sequence.generate_state(1)[0]) & 0x7FFFFFFF
        plans += [
            Plan(index=group * group_size + member, group=group, seed=seed)
            for member in range(group_size)
        ]
    return plans


@dataclass
class _Game:
    """One running episode."""

    plan: Plan
    environment: gymnasium.Env[Any, Any]
    observation: Observation
    info: dict[str, Any]
    decisions: list[Decision] = field(default_factory=list)
    ending: Ending | None = None
    success: bool = False

    def play(self, reply: Reply) -> None:
        """Carry out a reply; an invalid one ends the game as a failure."""
        reward, terminated, truncated = 0.0, False, False
        shown, facts = self.observation, facts_of(self.info)
        if reply.action is not None:
            pixels, value, terminated, truncated, self.info = self.environment.step(reply.action)
            reward = float(value)
            self.success = success_of(self.info, reward, terminated)
            if not (terminated or truncated):
                self.observation = observe(pixels, self.info)
        self.decisions.append(
            Decision(
                observation=shown,
                reply=reply,
                reward=reward,
                facts=facts,
                extra_steps=extra_steps_of(self.info),
            )
        )
        if reply.action is None:
            self.ending = Ending.INVALID_REPLY
        elif terminated:
            self.ending = Ending.TERMINATED
        elif truncated:
            self.ending = Ending.TRUNCATED

    def finished(self, split: str, environment_id: str) -> Episode:
        assert self.ending is not None
        return Episode(
            environment=environment_id,
            split=split,
            seed=self.plan.seed,
            group=self.plan.group,
            index=self.plan.index,
            decisions=tuple(self.decisions),
            ending=self.ending,
            success=self.success and self.ending is Ending.TERMINATED,
        )


@dataclass
class Collector:
    """Plays planned episodes of one environment with a policy.

    Environments are made once and reset for every episode.
    """

    make: Callable[[], gymnasium.Env[Any, Any]]
    environment_id: str
    split: str
    run_seed: int
    room_needed: int  # tokens a further turn may take; without that room an episode is cut
    batch_size: int = 64  # games played side by side
    _pool: list[gymnasium.Env[Any, Any]] = field(default_factory=list)

    def collect(
        self, policy: Policy, plans: Sequence[Plan], *, exploration_temperature: float = 1.0
    ) -> list[Played]:
        """Play all `plans`; results in their order.

        Games that the context cannot hold to their end come back with `Ending.TRUNCATED`.
        """
        played: list[Played] = []
        for first in range(0, len(plans), self.batch_size):
            chunk = plans[first : first + self.batch_size]
            keys = [EpisodeKey(self.run_seed, plan.index) for plan in chunk]
            session = policy.session(keys, exploration_temperature=exploration_temperature)
            played += self._play(session, [self._open(i, plan) for i, plan in enumerate(chunk)])
        return played

    def close(self) -> None:
        """Close all environments."""
        for environment in self._pool:
            environment.close()
        self._pool.clear()

    def _open(self, slot: int, plan: Plan) -> _Game:
        if slot == len(self._pool):
            self._pool.append(self.make())
        environment = self._pool[slot]
        pixels, info = environment.reset(seed=plan.seed)
        return _Game(plan, environment, observe(pixels, info), info)

    def _play(self, session: Session, games: list[_Game]) -> list[Played]:
        running = dict(enumerate(games))
        while running:
            replies = session.reply({slot: game.observation for slot, game in running.items()})
            for slot, reply in replies.items():
                game = running[slot]
                game.play(reply)
                if game.ending is None and session.room(slot) < self.room_needed:
                    game.ending = Ending.TRUNCATED
                if game.ending is not None:
                    del running[slot]
        return [
            Played(episode=game.finished(self.split, self.environment_id), rows=session.rows(slot))
            for slot, game in enumerate(games)
        ]
