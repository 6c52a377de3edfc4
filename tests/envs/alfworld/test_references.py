from functools import partial
from pathlib import Path

from gflowvlm.evaluation.measure import evaluation_plans
from gflowvlm.evaluation.references import Reference, play_references
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm_envs.alfworld.world import TASKS

NAME, SPLIT = "gflowvlm/ALFWorld-v0", "eval_in_distribution"


def test_the_expert_wins_each_kind_of_game_that_chance_loses(data: Path) -> None:
    arguments = {"data": data, "image_size": 64, "limit": 40}
    collector = Collector(
        make=partial(make_environment, NAME, SPLIT, arguments),
        environment_id=NAME,
        split=SPLIT,
        run_seed=0,
        room_needed=1,
    )
    plans = evaluation_plans(collector, 6, 2)
    played = play_references(("chance", "expert"), collector, plans)
    chance, expert = (Reference.of(played[name]) for name in ("chance", "expert"))
    assert expert.macro_reach is not None
    assert expert.macro_reach.value == expert.reach.value == 1
    assert (expert.games, chance.games) == (3, 6)
    assert expert.length < chance.length
    assert expert.by_type.keys() == chance.by_type.keys() <= {*TASKS}
