from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from gflowvlm.batch import Row
from gflowvlm.episode import Ending, Observation, Reply, ReplyProblem, Segment
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import Plan, plan_groups


class Scripted:
    """A policy that says what it is told to, and notes who was asked when."""

    def __init__(self, words: Mapping[int, Sequence[str | None]], room: int = 1000) -> None:
        self.words, self.left, self.asked = words, room, []

    def session(self, keys: Sequence[EpisodeKey], **_: Any) -> "Scripted":
        self.turn = 0
        return self

    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        self.asked.append(sorted(observations))
        said = {slot: self.words[slot][self.turn] for slot in observations}
        self.turn += 1
        return {slot: self._reply(word, observations[slot]) for slot, word in said.items()}

    def _reply(self, word: str | None, seen: Observation) -> Reply:
        legal = word in seen.legal_actions
        return Reply(
            text=str(word),
            token_ids=(1,),
            segment=(Segment.ACTION,),
            log_probs=(-0.5,),
            action=seen.legal_actions.index(str(word)) if legal else None,
            problem=None if legal or word == "DONE" else ReplyProblem.ILLEGAL_ACTION,
            done=word == "DONE",
        )

    def rows(self, slot: int) -> list[Row]:
        row = Row(
            input_ids=(slot,),
            decision_of=(0,),
            segment=(2,),
            state_at=(0, 0),
            vision=(),
            allowed={},
        )
        return [row]

    def room(self, slot: int, observation: Observation) -> int:
        return self.left


def collector(**more: Any) -> Collector:
    return Collector(
        make=partial(make_environment, "gflowvlm/NumberLine-v0", "id"),
        environment_id="gflowvlm/NumberLine-v0",
        split="id",
        run_seed=0,
        room_needed=10,
        **more,
    )


def start_of(seed: int) -> tuple[int, int]:
    environment = make_environment("gflowvlm/NumberLine-v0", "id")
    _, info = environment.reset(seed=seed)
    return int(info["facts"]["current number"]), int(info["facts"]["target number"])


def plan(index: int, seed: int) -> Plan:
    return Plan(index=index, group=0, seed=seed)


def straight(seed: int) -> list[str]:
    current, target = start_of(seed)
    return ["+" if current < target else "-"] * abs(target - current)


FAR = next(seed for seed in range(100) if len(straight(seed)) >= 3)


def test_games_end_by_themselves_and_leave_the_batch() -> None:
    way = straight(FAR)
    wrong = ["-" if way[0] == "+" else "+"] * 10
    policy = Scripted({0: way, 1: wrong})
    good, bad = (p.episode for p in collector().collect(policy, [plan(0, FAR), plan(1, FAR)]))  # type: ignore[arg-type]
    assert good.success
    assert good.total_reward == 1.0
    assert len(good.decisions) == len(way)
    assert bad.ending is Ending.TERMINATED  # the limit of ten steps is part of the task
    assert not bad.success
    assert policy.asked[0] == [0, 1]
    assert policy.asked[len(way)] == [1]


def test_an_illegal_reply_ends_the_game_as_a_failure_and_moves_nothing() -> None:
    way = straight(FAR)
    policy = Scripted({0: [way[0], "up"]})
    (played,) = collector().collect(policy, [plan(0, FAR)])  # type: ignore[arg-type]
    assert played.episode.ending is Ending.INVALID_REPLY
    assert not played.episode.success
    assert played.episode.actions == (way[0],)
    assert played.episode.decisions[1].reward == 0.0


def test_done_ends_the_game_where_it_stands() -> None:
    way = straight(FAR)
    policy = Scripted({0: [way[0], "DONE"]})
    (played,) = collector().collect(policy, [plan(0, FAR)])  # type: ignore[arg-type]
    episode = played.episode
    assert episode.ending is Ending.DONE
    assert not episode.success
    assert episode.actions == (way[0],)
    assert episode.start_distance == len(way)
    assert [d.distance for d in episode.decisions] == [len(way) - 1, len(way) - 1]


def test_a_full_context_cuts_the_game_without_a_verdict() -> None:
    policy = Scripted({0: ["+"] * 10}, room=9)
    (played,) = collector().collect(policy, [plan(0, FAR)])  # type: ignore[arg-type]
    assert played.episode.ending is Ending.TRUNCATED
    assert len(played.episode.decisions) == 1


def test_who_cut_a_game_is_told() -> None:
    full = collector().collect(Scripted({0: ["+"] * 10}, room=9), [plan(0, FAR)])  # type: ignore[arg-type]
    assert "context" in str(full[0].cut)
    way = straight(FAR)
    long = collector(max_decisions=2).collect(Scripted({0: way}), [plan(0, FAR)])  # type: ignore[arg-type]
    assert "environment.max_decisions = 2" in str(long[0].cut)
    assert (long[0].episode.ending, len(long[0].episode.decisions)) == (Ending.TRUNCATED, 2)
    whole = collector(max_decisions=len(way)).collect(Scripted({0: way}), [plan(0, FAR)])  # type: ignore[arg-type]
    assert whole[0].cut is None
    assert whole[0].episode.success


def test_a_game_without_room_is_lost_where_that_is_asked_for() -> None:
    policy = Scripted({0: ["+"] * 10}, room=9)
    (full,) = collector(out_of_room="lost").collect(policy, [plan(0, FAR)])  # type: ignore[arg-type]
    way = straight(FAR)
    short = collector(out_of_room="lost", max_decisions=len(way) - 1)
    (long,) = short.collect(Scripted({0: way}), [plan(0, FAR)])  # type: ignore[arg-type]
    for played in (full, long):
        assert (played.cut, played.episode.ending) == (None, Ending.OUT_OF_ROOM)
        assert not played.episode.success
    assert (len(full.episode.decisions), len(long.episode.decisions)) == (1, len(way) - 1)
    enough = collector(out_of_room="lost", max_decisions=len(way))
    (won,) = enough.collect(Scripted({0: way}), [plan(0, FAR)])  # type: ignore[arg-type]
    assert won.episode.success


def test_results_come_in_the_order_of_the_plans_whatever_the_batch() -> None:
    seeds = [4, 9, 16, 25, 36]
    plans = [plan(i, seed) for i, seed in enumerate(seeds)]
    for batch_size in (2, 5):
        found = []
        for first in range(0, 5, batch_size):
            chunk = plans[first : first + batch_size]
            words = {slot: straight(p.seed) for slot, p in enumerate(chunk)}
            found += collector(batch_size=batch_size).collect(Scripted(words), chunk)  # type: ignore[arg-type]
        assert [p.episode.seed for p in found] == seeds
        assert all(p.episode.success for p in found)


def test_seeds_depend_on_run_purpose_and_group_alone() -> None:
    plans = plan_groups(0, "train", first_group=0, groups=3, group_size=2)
    assert [p.index for p in plans] == list(range(6))
    assert [p.group for p in plans] == [0, 0, 1, 1, 2, 2]
    assert plans[0].seed == plans[1].seed != plans[2].seed
    later = plan_groups(0, "train", first_group=2, groups=1, group_size=2)
    assert later == plans[4:]
    other = plan_groups(0, "evaluate/id", first_group=0, groups=3, group_size=2)
    assert {p.seed for p in plans}.isdisjoint(p.seed for p in other)


def test_long_purposes_are_told_apart() -> None:
    a, b = (
        plan_groups(0, "evaluate/" + name, first_group=0, groups=1, group_size=1)
        for name in ("a" * 40 + "x", "a" * 40 + "y")
    )
    assert a[0].seed != b[0].seed


@pytest.mark.parametrize("seed", [1, 2])
def test_the_run_seed_changes_every_start(seed: int) -> None:
    a = plan_groups(0, "train", first_group=0, groups=4, group_size=1)
    b = plan_groups(seed, "train", first_group=0, groups=4, group_size=1)
    assert {p.seed for p in a}.isdisjoint(p.seed for p in b)
