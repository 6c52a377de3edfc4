"""Play episodes side by side: every turn, one batched reply for all games still running."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import gymnasium
import numpy as np

from gflowvlm.batch import Row, up_to_last_state
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.policy.base import EpisodeKey, Policy, Session
from gflowvlm.rollouts.environments import (
    distance_of,
    extra_steps_of,
    facts_of,
    observe,
    success_chance_of,
    success_of,
    task_type_of,
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An episode to be played."""

    index: int  # number of the episode within the run
    group: int  # episodes of one group share their start
    seed: int  # environment seed of the start, equal within a group
    chance_seed: int | None = None  # of what happens after it; None: goes on with the start's


@dataclass(frozen=True, kw_only=True)
class Played:
    """An episode and the token sequences of its policy."""

    episode: Episode
    rows: Sequence[Row]  # in the order of the decisions
    cut: str | None = None  # who cut it before its end, and the remedy; None for a whole one


def prefixes(played: Sequence[Played]) -> list[Played]:
    """What forward-looking objectives can use of cut episodes: each up to its last state.

    The last reply is left out, as what it led to was never shown to the policy; an episode of one
    reply has nothing left and is left out itself.
    """
    return [
        replace(
            each,
            episode=replace(each.episode, decisions=each.episode.decisions[:-1]),
            rows=up_to_last_state(each.rows),
        )
        for each in played
        if each.cut is not None and len(each.episode.decisions) > 1
    ]


def plan_groups(
    run_seed: int,
    purpose: str,
    *,
    first_group: int,
    groups: int,
    group_size: int,
    shared_chance: bool = False,
) -> list[Plan]:
    """Plans whose seeds are functions of numbers alone.

    A start's seed is one of (run seed, purpose, group), a chance seed one of (run seed, purpose,
    episode). `purpose` ("train", "evaluate/id") keeps streams apart, so that equal numbers mean
    nothing. With `shared_chance` the episodes of a group have one chance seed.
    """
    plans = []
    for group in range(first_group, first_group + groups):
        seed = _seed(run_seed, purpose, group)
        for index in range(group * group_size, (group + 1) * group_size):
            lot = group * group_size if shared_chance else index
            chance_seed = _seed(run_seed, f"{purpose}/chance", lot)
            plans.append(Plan(index=index, group=group, seed=seed, chance_seed=chance_seed))
    return plans


def _seed(run_seed: int, purpose: str, number: int) -> int:
    stream = np.frombuffer(sha256(purpose.encode()).digest(), dtype=np.uint32).tolist()
    sequence = np.random.SeedSequence([run_seed, number, *stream])
    return int(sequence.generate_state(1)[0]) & 0x7FFFFFFF


@dataclass
class Game:
    """One running episode; `play` replies until `ending` is set, then ask for `finished`."""

    plan: Plan
    environment: gymnasium.Env[Any, Any]
    observation: Observation
    info: dict[str, Any]
    decisions: list[Decision] = field(default_factory=list)
    ending: Ending | None = None
    cut: str | None = None
    success: bool = False
    start_distance: int | None = field(init=False)
    task_type: str | None = field(init=False)
    pixels: Any = None  # what the last step showed

    def __post_init__(self) -> None:
        self.start_distance = distance_of(self.info)
        self.task_type = task_type_of(self.info)

    def play(self, reply: Reply) -> None:
        """Carry out a reply; an invalid one ends the game as a failure, DONE where it stands."""
        reward, terminated, truncated = 0.0, False, False
        shown, facts = self.observation, facts_of(self.info)
        if reply.action is not None:
            step = self.environment.step(reply.action)
            self.pixels, value, terminated, truncated, self.info = step
            reward = float(value)
            self.success = success_of(self.info, reward, terminated)
            if not (terminated or truncated):
                self.observation = observe(self.pixels, self.info)
        elif reply.done:
            self.success = success_of(self.info, reward, terminated)
        self.decisions.append(
            Decision(
                observation=shown,
                reply=reply,
                reward=reward,
                facts=facts,
                extra_steps=extra_steps_of(self.info),
                success=self.success,
                distance=distance_of(self.info),
                success_chance=success_chance_of(self.info),
            )
        )
        if reply.done:
            self.ending = Ending.DONE
        elif reply.action is None:
            self.ending = Ending.INVALID_REPLY
        elif terminated:
            self.ending = Ending.TERMINATED
        elif truncated:
            self.stop("the environment (truncated=True): let it end its games with terminated=True")

    def stop(self, cut: str) -> None:
        """End the game without a verdict."""
        self.ending, self.cut = Ending.TRUNCATED, cut

    def finished(self, split: str, environment_id: str) -> Episode:
        """The episode, once it has ended."""
        assert self.ending is not None
        return Episode(
            environment=environment_id,
            split=split,
            seed=self.plan.seed,
            group=self.plan.group,
            index=self.plan.index,
            decisions=tuple(self.decisions),
            ending=self.ending,
            success=self.success and self.ending in (Ending.TERMINATED, Ending.DONE),
            start_distance=self.start_distance,
            task_type=self.task_type,
        )


def open_game(environment: gymnasium.Env[Any, Any], plan: Plan) -> Game:
    """The planned episode at its start."""
    pixels, info = environment.reset(seed=plan.seed)
    if plan.chance_seed is not None:
        environment.unwrapped.np_random = np.random.default_rng(plan.chance_seed)
    return Game(plan, environment, observe(pixels, info), info)


@dataclass
class Collector:
    """Plays planned episodes of one environment with a policy.

    Environments are made once and reset for every episode.
    """

    make: Callable[[], gymnasium.Env[Any, Any]]
    environment_id: str
    split: str
    run_seed: int
    room_needed: int  # tokens a further reply may take; without that room an episode is cut
    max_decisions: int = 256  # an episode that goes on longer is cut
    batch_size: int = 64  # games played side by side
    _pool: list[gymnasium.Env[Any, Any]] = field(default_factory=list)

    def collect(
        self, policy: Policy, plans: Sequence[Plan], *, exploration_temperature: float = 1.0
    ) -> list[Played]:
        """Play all `plans`; results in their order.

        Games that the context cannot hold to their end, or that go on beyond `max_decisions`, come
        back with `Ending.TRUNCATED` and who cut them.
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

    def _open(self, slot: int, plan: Plan) -> Game:
        if slot == len(self._pool):
            self._pool.append(self.make())
        return open_game(self._pool[slot], plan)

    def _play(self, session: Session, games: list[Game]) -> list[Played]:
        running = dict(enumerate(games))
        while running:
            replies = session.reply({slot: game.observation for slot, game in running.items()})
            for slot, reply in replies.items():
                game = running[slot]
                game.play(reply)
                if game.ending is None and session.room(slot, game.observation) < self.room_needed:
                    game.stop(
                        "the model's full context: shorten the task's limit or "
                        "policy.max_reply_tokens"
                    )
                if game.ending is None and len(game.decisions) >= self.max_decisions:
                    game.stop(
                        f"environment.max_decisions = {self.max_decisions}: let the environment "
                        "end its games (terminated=True), or allow more"
                    )
                if game.ending is not None:
                    del running[slot]
        return [
            Played(
                episode=game.finished(self.split, self.environment_id),
                rows=session.rows(slot),
                cut=game.cut,
            )
            for slot, game in enumerate(games)
        ]
