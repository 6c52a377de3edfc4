"""Environments in worker processes: the same games, and what becomes of those that fail."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from gflowvlm.episode import Ending, Observation, Reply, Segment
from gflowvlm.errors import UserError
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import Plan, plan_groups
from gflowvlm.rollouts.seats import Moment, Seat, SeatLost
from gflowvlm.rollouts.workers import WorkerSeats
from tests.rollouts.trouble import BAD, Trouble


class Drawn:
    """A policy whose replies are a function of the episode and the turn."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def session(self, keys: Sequence[EpisodeKey], **_: Any) -> "DrawnSession":
        return DrawnSession(self, keys)


class DrawnSession:
    def __init__(self, policy: Drawn, keys: Sequence[EpisodeKey]) -> None:
        self.policy, self.keys, self.turn = policy, keys, 0

    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        self.policy.batches.append(len(observations))
        self.turn += 1
        return {
            slot: Reply(
                text="",
                token_ids=(1,),
                segment=(Segment.ACTION,),
                log_probs=(-0.5,),
                action=(self.keys[slot].episode * 7 + self.turn) // 3 % len(seen.legal_actions),
            )
            for slot, seen in observations.items()
        }

    def rows(self, slot: int) -> tuple[int, ...]:
        return (self.keys[slot].episode,)

    def room(self, slot: int, observation: Observation) -> int:
        return 1000


PLANS = [Plan(index=i, group=i, seed=seed) for i, seed in enumerate([1, BAD, 2, 4])]


@contextmanager
def collector(make: Any, **more: Any) -> Iterator[Collector]:
    made = Collector(
        make=make, environment_id="game", split="id", run_seed=0, room_needed=1, workers=2, **more
    )
    try:
        yield made
    finally:
        made.close()


def outcome(collector: Collector, plans: Sequence[Plan]) -> list[Any]:
    return [
        (
            played.rows,
            played.cut,
            played.episode.actions,
            [d.reward for d in played.episode.decisions],
            [d.observation.image.tobytes() for d in played.episode.decisions],
        )
        for played in collector.collect(Drawn(), plans)  # type: ignore[arg-type]
    ]


def test_workers_play_the_games_that_one_process_plays() -> None:
    make = partial(make_environment, "gflowvlm/Blackjack-v0")
    first, second = (
        plan_groups(0, "train", first_group=group, groups=2, group_size=3) for group in (0, 2)
    )
    alone = Collector(
        make=make, environment_id="game", split="id", run_seed=0, room_needed=1, batch_size=4
    )
    expected = [outcome(alone, plans) for plans in (first, second)]
    with collector(make, batch_size=4) as helped:
        found = [outcome(helped, first)]
        helped.look_ahead(second)
        found.append(outcome(helped, second))
    assert found == expected


def test_half_of_the_games_act_while_the_policy_answers_the_others() -> None:
    policy = Drawn()
    with collector(partial(make_environment, "gflowvlm/NumberLine-v0")) as made:
        made.collect(policy, PLANS)  # type: ignore[arg-type]
    assert policy.batches[:2] == [2, 2]


@pytest.mark.parametrize(
    ("trouble", "patience", "word"), [("dies", 60, "death"), ("hangs", 1.5, "1.5 s")]
)
def test_games_of_a_lost_worker_are_cut_and_the_next_ones_are_played(
    trouble: str, patience: float, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    with collector(partial(Trouble, trouble), patience=patience) as made:
        played = made.collect(Drawn(), PLANS)  # type: ignore[arg-type]
        lost = [p for p in played if p.cut is not None]
        assert played[1] in lost
        assert word in str(played[1].cut)
        assert all(p.episode.ending is Ending.TRUNCATED for p in lost)
        assert all(len(p.episode.decisions) >= 1 for p in lost)
        assert len(lost) < len(PLANS)
        assert "another worker takes its place" in caplog.text
        others = [plan for plan in PLANS if plan.seed != BAD]
        assert [p.cut for p in made.collect(Drawn(), others)] == [None] * 3  # type: ignore[arg-type]


def test_a_game_whose_worker_died_of_another_cannot_go_on() -> None:
    seats = WorkerSeats(partial(Trouble, "dies"), workers=1, patience=60)
    good, bad, other = seats.take(3)
    for seat, seed in ((good, 1), (bad, BAD), (other, 2)):
        seat.reset(seed, None)
    task = good.moment().info["task"]
    bad.step(0)
    good.step(0)
    with pytest.raises(SeatLost, match="death"):
        bad.moment()
    bad.reset(2, None)  # by the worker's successor, which has no part in what follows
    with pytest.raises(SeatLost, match="death"):
        good.moment()
    with pytest.raises(SeatLost, match="death"):
        step(other)
    assert [step(bad).info["task"] for _ in range(2)] == [task, task]
    seats.close()


def step(seat: Seat) -> Moment:
    seat.step(0)
    return seat.moment()


def test_what_an_environment_raises_arrives_with_its_traceback() -> None:
    with collector(partial(Trouble, "raises")) as made, pytest.raises(KeyError) as raised:
        made.collect(Drawn(), PLANS)  # type: ignore[arg-type]
    assert 'raise KeyError("lost key")' in str(raised.value.__cause__)


def test_a_start_that_kills_its_worker_twice_is_named() -> None:
    with (
        collector(partial(Trouble, "dies", "reset")) as made,
        pytest.raises(UserError, match=f"start of seed {BAD} was lost twice"),
    ):
        made.collect(Drawn(), PLANS)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_game_that_cannot_be_played_is_told_in_a_line(workers: int) -> None:
    made = Collector(
        make=partial(Trouble, "refuses", "reset"),
        environment_id="game",
        split="id",
        run_seed=0,
        room_needed=1,
        workers=workers,
    )
    with pytest.raises(UserError, match="found a broken game"):
        made.collect(Drawn(), PLANS)  # type: ignore[arg-type]
    made.close()
