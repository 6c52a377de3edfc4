"""How replayed and taught episodes join an update's own: in groups of one start each."""

from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial

import pytest
import torch
from gymnasium.wrappers import TimeLimit

from gflowvlm.baselines.expert import ExpertPlayer
from gflowvlm.exact.tree import enumerate_tree
from gflowvlm.policy.starts import read_starts
from gflowvlm.policy.tabular import TabularPolicy
from gflowvlm.rollouts.collect import Collector, Played
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.rollouts.replay import Replay, Trajectory
from gflowvlm.rollouts.reward import LogReward
from gflowvlm.trainer.offpolicy import OffPolicy

GAME = "gflowvlm/NumberLine-v0"
make = partial(make_environment, GAME, "id", {"low": 0, "high": 3, "limit": 3})


@pytest.fixture(scope="module")
def policy() -> TabularPolicy:
    game = make().unwrapped
    return TabularPolicy(enumerate_tree(game, lambda history: 0.0), read_starts(make()))  # type: ignore[arg-type]


def play(policy: TabularPolicy, update: int, groups: int) -> list[Played]:
    collector = Collector(make=make, environment_id=GAME, split="id", run_seed=5, room_needed=1)
    plans = plan_groups(5, "train", first_group=update * groups, groups=groups, group_size=3)
    return collector.collect(policy, plans)


def judged(played: list[Played]) -> list[Trajectory]:
    return [
        Trajectory(
            episode=p.episode,
            rows=p.rows,
            reward=LogReward((0.0,) * len(p.episode.decisions) + (float(p.episode.success),)),
            log_ref=torch.zeros(len(p.episode.decisions)),
            log_ref_done=torch.zeros(len(p.episode.decisions)),
        )
        for p in played
    ]


def test_a_group_stays_one_of_one_start_whatever_joins_it(policy: TabularPolicy) -> None:
    replay = Replay(capacity=200, per_start=8, priority=1.0)
    source = OffPolicy(run_seed=5, replay=replay, replayed=16)
    recall = partial(source.recall, group_size=3, couples_rows=True)
    assert recall(0, judged(play(policy, 0, 10))) == []  # nothing is older than the first update
    joined = 0
    for update in (1, 2, 3):
        own = judged(play(policy, update, 4))
        old = {id(t.rows) for t in replay}
        drawn = recall(update, own)
        assert 0 < len(drawn) <= 16
        assert {id(t.rows) for t in drawn} <= old
        starts, sizes = defaultdict(set), Counter()
        for trajectory in [*own, *drawn]:
            starts[trajectory.episode.group].add(trajectory.start)
            sizes[trajectory.episode.group] += 1
        assert all(len(each) == 1 for each in starts.values())
        assert min(sizes.values()) >= 2
        own_starts = {t.start: t.episode.group for t in reversed(own)}
        joined += sum(own_starts.get(t.start) == t.episode.group for t in drawn)
        assert all(own_starts.get(t.start, t.episode.group) == t.episode.group for t in drawn)
    assert joined > 0


def test_an_expert_joins_the_groups_that_fail_most(policy: TabularPolicy) -> None:
    expert = ExpertPlayer(
        environment=make(), environment_id=GAME, split="id", mistakes=0.0, max_reply_tokens=1
    )
    own = [
        replace(p, episode=replace(p.episode, success=p.episode.group % 4 > p.episode.index % 3))
        for p in play(policy, 0, 4)
    ]  # groups 0 to 3 with 0, 1, 2 and 3 successes
    everyone = [p.episode for p in own]
    taught = judged(OffPolicy(run_seed=5, expert=expert, taught=2).teach(policy, everyone, own))
    assert [t.episode.group for t in taught] == [0, 1]
    start = {t.episode.group: t.start for t in judged(own)}
    assert [t.start for t in taught] == [start[0], start[1]]
    assert all(t.episode.success for t in taught)
    assert OffPolicy(run_seed=5).teach(policy, everyone, own) == []


def test_an_experts_game_that_was_cut_has_no_reward_and_is_left_out(policy: TabularPolicy) -> None:
    hurried = TimeLimit(make(), 1)
    expert = ExpertPlayer(
        environment=hurried, environment_id=GAME, split="id", mistakes=0.0, max_reply_tokens=1
    )
    own = play(policy, 0, 12)
    everyone = [p.episode for p in own]
    taught = OffPolicy(run_seed=5, expert=expert, taught=12).teach(policy, everyone, own)
    assert 0 < len(taught) < 12
    assert all(p.episode.success and len(p.episode.decisions) == 1 for p in taught)


def test_an_expert_goes_on_from_the_first_half_of_lost_games(policy: TabularPolicy) -> None:
    expert = ExpertPlayer(
        environment=make(), environment_id=GAME, split="id", mistakes=0.0, max_reply_tokens=1
    )
    own = play(policy, 0, 30)
    everyone = [p.episode for p in own]
    lost = {e.index: e for e in everyone if not e.success}
    source = OffPolicy(run_seed=5, expert=expert, taught=len(own), takes_over=True)
    taught = source.teach(policy, everyone, own)
    assert [p.episode.index for p in taught] == list(lost)
    kept = Counter()
    for played in taught:
        mine, before = played.episode, lost[played.episode.index]
        assert (mine.group, mine.seed) == (before.group, before.seed)
        said = [d.reply for d in mine.decisions]
        steps = sum(bool(reply.log_probs) for reply in said)  # the expert's have none
        assert said[:steps] == [d.reply for d in before.decisions[:steps]]
        kept[steps] += 1
    # all games are lost after three steps: (3 + 1) // 2 = 2 beginnings, of no step and of one
    assert set(kept) == {0, 1}
    assert any(p.episode.success for p in taught)
    few = OffPolicy(run_seed=5, expert=expert, taught=2, takes_over=True)
    successes = Counter(e.group for e in everyone if e.success)
    fewest = sorted(successes[e.group] for e in lost.values())[:2]
    chosen = [p.episode.group for p in few.teach(policy, everyone, own)]
    assert sorted(successes[group] for group in chosen) == fewest
