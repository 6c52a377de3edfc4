"""Play episodes side by side: every turn, one batched reply for all games still running."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gflowvlm.batch import Row, up_to_last_state
from gflowvlm.episode import Ending, Episode
from gflowvlm.errors import UserError
from gflowvlm.policy.base import EpisodeKey, Policy, Session
from gflowvlm.rollouts.environments import refusals_of
from gflowvlm.rollouts.game import Game
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.seats import LocalSeats, Make, Seat, SeatLost, Seats
from gflowvlm.rollouts.workers import WorkerSeats


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


@dataclass
class _Wave:
    """Games that the policy answers in one batch."""

    session: Session
    games: list[Game]
    running: dict[int, Game] = field(init=False)  # by the session's slot

    def __post_init__(self) -> None:
        self.running = dict(enumerate(self.games))

    def answer(self) -> None:
        """Have the policy reply to what is seen, and begin what it says."""
        seen = {slot: game.observation for slot, game in self.running.items()}
        for slot, reply in self.session.reply(seen).items():
            self.running[slot].begin(reply)


@dataclass
class Collector:
    """Plays planned episodes of one environment with a policy.

    Environments are made once and reset for every episode. With workers they act in processes of
    their own, and half of the games act while the policy replies to the other half.
    """

    make: Make
    environment_id: str
    split: str
    run_seed: int
    room_needed: int  # tokens a further reply may take; without that room an episode ends
    max_decisions: int = 256  # replies that an episode has room for
    out_of_room: Literal["cut", "lost"] = "cut"  # what becomes of one that needs more
    batch_size: int = 64  # games played side by side
    workers: int = 0  # processes for the environments; 0: this one
    patience: float = 60.0  # seconds without an answer after which a worker is taken for hung
    _seats: Seats = field(init=False)
    _ahead: list[tuple[Plan, Seat]] = field(default_factory=list, init=False)  # begun already

    def __post_init__(self) -> None:
        if self.workers:
            self._seats = WorkerSeats(self.make, workers=self.workers, patience=self.patience)
        else:
            self._seats = LocalSeats(self.make)

    def collect(
        self, policy: Policy, plans: Sequence[Plan], *, exploration_temperature: float = 1.0
    ) -> list[Played]:
        """Play all `plans`; results in their order.

        Games whose worker is lost come back with `Ending.TRUNCATED` and who cut them; so do those
        that the context cannot hold to their end or that go on beyond `max_decisions`, unless they
        are `lost`, `Ending.OUT_OF_ROOM`.

        Raises:
            UserError: a game does not begin.
        """
        played: list[Played] = []
        for first in range(0, len(plans), self.batch_size):
            games = self._open(plans[first : first + self.batch_size])
            size = -(-len(games) // self._seats.waves)
            waves = []
            for start in range(0, len(games), size):
                part = games[start : start + size]
                keys = [EpisodeKey(self.run_seed, game.plan.index) for game in part]
                session = policy.session(keys, exploration_temperature=exploration_temperature)
                waves.append(_Wave(session, part))
            played += self._play(waves)
        return played

    def look_ahead(self, plans: Sequence[Plan]) -> None:
        """Have workers begin the games that will be played next."""
        if self.workers:
            self._ahead = self._begin(plans[: self.batch_size])

    def close(self) -> None:
        """Close all environments."""
        self._seats.close()

    def _begin(self, plans: Sequence[Plan]) -> list[tuple[Plan, Seat]]:
        begun = list(zip(plans, self._seats.take(len(plans)), strict=True))
        for plan, seat in begun:
            seat.reset(plan.seed, plan.chance_seed)
        return begun

    def _open(self, plans: Sequence[Plan]) -> list[Game]:
        """The planned games at their starts."""
        begun, self._ahead = self._ahead, []
        with refusals_of(self.environment_id):
            if [plan for plan, _ in begun] != list(plans):
                begun = self._begin(plans)
            return [self._game(plan, seat) for plan, seat in begun]

    def _game(self, plan: Plan, seat: Seat) -> Game:
        try:
            try:
                return Game(plan, seat)
            except SeatLost:  # perhaps with another game, so once more
                seat.reset(plan.seed, plan.chance_seed)
                return Game(plan, seat)
        except SeatLost as lost:
            raise UserError(
                f"{self.environment_id}: the start of seed {plan.seed} was lost twice by {lost}"
            ) from lost

    def _play(self, waves: Sequence[_Wave]) -> list[Played]:
        while any(wave.running for wave in waves):
            for wave in waves:
                self._settle(wave)
                if wave.running:
                    wave.answer()
        return [
            Played(
                episode=game.finished(self.split, self.environment_id),
                rows=wave.session.rows(slot),
                cut=game.cut,
            )
            for wave in waves
            for slot, game in enumerate(wave.games)
        ]

    def _settle(self, wave: _Wave) -> None:
        """See what the last replies came to; games that have ended, or must, leave the batch."""
        for slot, game in list(wave.running.items()):
            game.settle()
            if game.ending is None and game.decisions:
                if wave.session.room(slot, game.observation) < self.room_needed:
                    self._without_room(
                        game,
                        "the model's full context: shorten the task's limit or "
                        "policy.max_reply_tokens",
                    )
                elif len(game.decisions) >= self.max_decisions:
                    self._without_room(
                        game,
                        f"environment.max_decisions = {self.max_decisions}: let the environment "
                        "end its games (terminated=True), or allow more",
                    )
            if game.ending is not None:
                del wave.running[slot]

    def _without_room(self, game: Game, why: str) -> None:
        if self.out_of_room == "lost":
            game.ending = Ending.OUT_OF_ROOM
        else:
            game.stop(why)
