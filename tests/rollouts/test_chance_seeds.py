from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Reply
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import plan_groups

GROUPS, SIZE = 6, 8


class TakesCards:
    """A policy that says "hit" until its hand is over 21."""

    def session(self, keys: Sequence[EpisodeKey], **_: Any) -> "TakesCards":
        return self

    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        hit = Reply(text="hit", token_ids=(), segment=(), log_probs=(), action=0)
        return dict.fromkeys(observations, hit)

    def rows(self, slot: int) -> list[Row]:
        return []

    def room(self, slot: int, observation: Observation) -> int:
        return 1000


def hands(run_seed: int = 0, **options: bool) -> list[list[tuple[str, ...]]]:
    """The hands of every game, group by group: what each decision was made on."""
    collector = Collector(
        make=partial(make_environment, "gflowvlm/Blackjack-v0", "id"),
        environment_id="gflowvlm/Blackjack-v0",
        split="id",
        run_seed=run_seed,
        room_needed=1,
    )
    plans = plan_groups(run_seed, "train", first_group=0, groups=GROUPS, group_size=SIZE, **options)
    games = [p.episode for p in collector.collect(TakesCards(), plans)]  # type: ignore[arg-type]
    seen = [
        tuple(f"{d.facts['dealer card']}: {d.facts['my cards']}" for d in game.decisions)
        for game in games
    ]
    return [seen[group * SIZE : (group + 1) * SIZE] for group in range(GROUPS)]


def test_games_of_a_group_share_the_start_and_not_the_cards() -> None:
    groups = hands()
    assert all(len({game[0] for game in group}) == 1 for group in groups)
    differ = [len(set(group)) > 1 for group in groups]
    assert sum(differ) >= GROUPS - 2  # a hand of 20 ends alike whatever comes


def test_shared_chance_gives_a_group_the_same_cards() -> None:
    shared = hands(shared_chance=True)
    assert all(len(set(group)) == 1 for group in shared)
    assert [group[0][0] for group in shared] == [group[0][0] for group in hands()]
    assert len({group[0] for group in shared}) == GROUPS


def test_cards_are_a_function_of_the_run_and_the_episode() -> None:
    assert hands() == hands()
    assert hands(run_seed=1) != hands()
    plans = plan_groups(0, "train", first_group=0, groups=3, group_size=2)
    later = plan_groups(0, "train", first_group=2, groups=1, group_size=2)
    assert later == plans[4:]
    assert len({plan.chance_seed for plan in plans} | {plan.seed for plan in plans}) == 6 + 3
