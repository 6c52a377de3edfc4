"""One episode while it is played."""

from dataclasses import dataclass, field
from typing import Any

from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.rollouts.environments import (
    distance_of,
    extra_steps_of,
    facts_of,
    observe,
    progress_of,
    success_chance_of,
    success_of,
    task_type_of,
)
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.seats import Seat, SeatLost


@dataclass
class Game:
    """One running episode; `play` replies until `ending` is set, then ask for `finished`.

    The seat has begun it. `begin` and `settle` are the halves of `play`, for those who have other
    things to do while the environment acts.
    """

    plan: Plan
    seat: Seat
    observation: Observation = field(init=False)
    info: dict[str, Any] = field(init=False)
    pixels: Any = field(init=False)  # what the last moment showed
    decisions: list[Decision] = field(default_factory=list)
    ending: Ending | None = None
    cut: str | None = None
    success: bool = False
    start_distance: int | None = field(init=False)
    task_type: str | None = field(init=False)
    _reply: Reply | None = field(default=None, init=False)  # begun and not yet settled

    def __post_init__(self) -> None:
        """Look at the start.

        Raises:
            SeatLost: there is none.
        """
        start = self.seat.moment()
        self.pixels, self.info = start.pixels, start.info
        self.observation = observe(self.pixels, self.info)
        self.start_distance = distance_of(self.info)
        self.task_type = task_type_of(self.info)

    def play(self, reply: Reply) -> None:
        """Carry out a reply; an invalid one ends the game as a failure, DONE where it stands."""
        self.begin(reply)
        self.settle()

    def begin(self, reply: Reply) -> None:
        """Give a reply's action to the environment."""
        self._reply = reply
        if reply.action is not None:
            self.seat.step(reply.action)

    def settle(self) -> None:
        """See what the reply that was begun has come to; without one nothing has changed."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        shown, facts, reward = self.observation, facts_of(self.info), 0.0
        if reply.action is not None:
            reward = self._see()
        elif reply.done:
            self.success = success_of(self.info, reward, False)
            self.ending = Ending.DONE
        else:
            self.ending = Ending.INVALID_REPLY
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
                progress=progress_of(self.info),
            )
        )

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

    def _see(self) -> float:
        """Take in what an action came to; its reward, 0 where nobody will ever know."""
        try:
            moment = self.seat.moment()
        except SeatLost as lost:
            self.stop(str(lost))
            return 0.0
        self.pixels, self.info = moment.pixels, moment.info
        self.success = success_of(self.info, moment.reward, moment.terminated)
        if moment.terminated:
            self.ending = Ending.TERMINATED
        elif moment.truncated:
            self.stop("the environment (truncated=True): let it end its games with terminated=True")
        else:
            self.observation = observe(self.pixels, self.info)
        return moment.reward
