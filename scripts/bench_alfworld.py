"""ALFWorld's engine here against the packages' own, and what it costs in a rollout.

Part 1 plays the same commands of the same games on both and requires the same words. A first reset
loads a game; a reset again is the same game once more, as the episodes of a group have it. The
grammar's templates have been parsed before, as in any process that has played a game.
Part 2 plays games with the pocket VLM (constrained actions, no thought) and takes the time that
their environments have in it, pictures included. Its first resets count with both. All times are
processor time. Games are generated, as ALFWorld's own have to be downloaded.
"""

import argparse
import gc
import json
import random
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
from bench_model import print_table

from gflowvlm.pocket.folder import find_model
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm_envs.alfworld.games import find_games
from gflowvlm_envs.alfworld.generate import generate
from gflowvlm_envs.alfworld.world import TASKS

ID = "gflowvlm/ALFWorld-v0"
Seconds = defaultdict[str, float]
WORK = ("step", "first reset", "reset again")


class Shipped:
    """A game as textworld and alfworld play it."""

    def load(self, game: Path) -> None:
        """Choose the game that `reset` starts."""
        import textworld  # pyright: ignore[reportMissingImports]
        from alfworld.agents.environment.alfred_tw_env import (  # pyright: ignore[reportMissingImports]
            AlfredDemangler,
        )
        from textworld.envs import PddlEnv  # pyright: ignore[reportMissingImports]

        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        self.env: Any = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self.env.load(str(game))

    def reset(self) -> str:
        """Start it and give its first words."""
        return self.env.reset()["feedback"]

    def step(self, command: str) -> str:
        """Do what a command says."""
        return self.env.step(command)[0]["feedback"]


def play(engine: Any, game: Path, commands: list[str], spent: Seconds) -> list[str]:
    """All words of a game that is begun, played and begun again; seconds are added to `spent`."""
    marks = [time.process_time()]
    engine.load(game)
    words = [engine.reset()]
    marks.append(time.process_time())
    words += [engine.step(command) for command in commands]
    marks.append(time.process_time())
    words.append(engine.reset())
    marks.append(time.process_time())
    for index, what in enumerate(("first reset", "step", "reset again")):
        spent[what] += marks[index + 1] - marks[index]
    return words


def commands_of(game: Path, wander: int) -> list[str]:
    """The first `wander` commands of a random walk, then its recorded solution."""
    from gflowvlm_envs.alfworld.engine import Engine

    engine, draw, said = Engine(), random.Random(0), []
    engine.load(game)
    engine.reset()
    for _ in range(wander):
        said.append(draw.choice(engine.moves).command)
        engine.step(said[-1])
    engine.close()
    return said + json.loads(game.read_text())["walkthrough"]


def compare(games: list[Path], wander: int) -> None:
    """Seconds and the ratio, by kind of work."""
    from gflowvlm_envs.alfworld import engine

    gc.freeze()  # collections of what the shipped engine copies shall not visit all of torch
    ours, theirs, count = Seconds(float), Seconds(float), Counter[str]()
    for game in games:
        commands = commands_of(game, wander)
        engine.translated.cache_clear()
        player = engine.Engine()
        words = play(player, game, commands, ours)
        player.close()
        if words != play(Shipped(), game, commands, theirs):
            raise SystemExit(f"{game}: found words that are not the packages' own, expected those")
        count.update({"step": len(commands), "first reset": 1, "reset again": 1})
    rows = [
        (what, count[what], count[what] / theirs[what], count[what] / ours[what]) for what in WORK
    ]
    print_table(
        ["", "times", "as shipped /s", "ours /s", "faster"],
        [(*row, row[3] / row[2]) for row in rows],
    )


class Timed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds the seconds spent in the environment to `spent`."""

    def __init__(self, env: gymnasium.Env[Any, Any], spent: Seconds) -> None:
        """Wrap `env`."""
        super().__init__(env)
        self.spent = spent

    def reset(self, **settings: Any) -> Any:
        """Reset on the clock."""
        return self._clocked("resets", partial(self.env.reset, **settings))

    def step(self, action: Any) -> Any:
        """Step on the clock."""
        return self._clocked("steps", partial(self.env.step, action))

    def _clocked(self, what: str, work: Any) -> Any:
        began = time.process_time()
        result = work()
        self.spent[what] += time.process_time() - began
        return result


def rollout(data: Path, groups: int, group_size: int, limit: int, image_size: int) -> None:
    """The environments' share of the time that games with the pocket VLM take."""
    settings = PolicySettings(
        actions="constrained", thought=False, max_reply_tokens=64, context_tokens=32768
    )
    policy = VLMPolicy.from_folder(find_model("pocket"), settings)
    spent = Seconds(float)
    arguments = {"data": str(data), "limit": limit, "image_size": image_size}
    collector = Collector(
        make=lambda: Timed(make_environment(ID, "train", arguments), spent),
        environment_id=ID,
        split="train",
        run_seed=0,
        room_needed=128,
    )
    plans = plan_groups(0, "bench", first_group=0, groups=groups, group_size=group_size)
    began = time.process_time()
    played = collector.collect(policy, plans)
    total = time.process_time() - began
    steps = sum(len(each.episode.decisions) for each in played)
    collector.close()
    rows = [(what, spent[what], spent[what] / total) for what in ("steps", "resets")]
    print(f"\n{len(played)} games of the pocket VLM, {groups} starts, {steps} steps:")
    print_table(["", "s", "share"], [*rows, ("rollout", total, 1.0)])
    print(f"the environments take {100 * sum(spent.values()) / total:.1f} % of a rollout")


def main() -> None:
    """Both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=3, help="games of part 1 (%(default)s)")
    parser.add_argument("--wander", type=int, default=10, help="random steps (%(default)s)")
    parser.add_argument("--groups", type=int, default=2, help="starts of part 2 (%(default)s)")
    parser.add_argument("--group-size", type=int, default=4, help="games each (%(default)s)")
    parser.add_argument("--limit", type=int, default=25, help="steps of a game (%(default)s)")
    parser.add_argument("--image-size", type=int, default=64, help="(%(default)s)")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = Path(folder) / "games"
        generate(data, train=arguments.games, seen=0, unseen=0, seed=0, report=lambda line: None)
        compare([*find_games(data, "train", TASKS).paths], arguments.wander)
        rollout(data, arguments.groups, arguments.group_size, arguments.limit, arguments.image_size)


if __name__ == "__main__":
    main()
