"""What worker processes save where environments are slow: the same games with and without.

NumberLine whose step and reset keep a core busy for a while, played by the pocket VLM (constrained
actions, no thought). Wall time, one after the other in one run; the games must be the same.
"""

import argparse
import time
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from bench_model import print_table

from gflowvlm.pocket.folder import find_model
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm_envs.number_line import NumberLine


class SlowNumberLine(NumberLine):
    """Works `seconds` before each step, and `10 * seconds` before a reset."""

    def __init__(self, seconds: float, **more: Any) -> None:
        """The rest as in NumberLine."""
        super().__init__(**more)
        self.seconds = seconds

    def reset(self, **settings: Any) -> Any:
        """Reset, slowly."""
        work(10 * self.seconds)
        return super().reset(**settings)

    def step(self, action: Any) -> Any:
        """Step, slowly."""
        work(self.seconds)
        return super().step(action)


def work(seconds: float) -> None:
    """Keep a core busy."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def rollouts(policy: VLMPolicy, workers: int, arguments: argparse.Namespace) -> Any:
    """(seconds, actions of all games) of some updates' games, each begun ahead of need."""
    collector = Collector(
        make=partial(SlowNumberLine, arguments.milliseconds / 1000),
        environment_id="slow",
        split="id",
        run_seed=0,
        room_needed=16,
        workers=workers,
    )
    plans = [
        plan_groups(
            0, "bench", first_group=n * arguments.games, groups=arguments.games, group_size=1
        )
        for n in range(arguments.updates + 2)
    ]
    collector.collect(policy, plans[0])  # starts the workers
    played = []
    began = time.perf_counter()
    for now, ahead in pairwise(plans[1:]):
        played += collector.collect(policy, now)
        collector.look_ahead(ahead)
        work(arguments.update_seconds)  # stands for the gradient
    seconds = time.perf_counter() - began
    collector.close()
    return seconds, [each.episode.actions for each in played]


def main() -> None:
    """Prints a row per number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=32, help="of an update (%(default)s)")
    parser.add_argument("--updates", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--milliseconds", type=float, default=20, help="of a step (%(default)s)")
    parser.add_argument(
        "--update-seconds", type=float, default=2, help="of the gradient (%(default)s)"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = PolicySettings(actions="constrained", thought=False, max_reply_tokens=8)
    policy = VLMPolicy.from_folder(find_model("pocket"), settings)
    alone, games = rollouts(policy, 0, arguments)
    rows = [("none", alone, 1.0)]
    for workers in arguments.workers:
        seconds, found = rollouts(policy, workers, arguments)
        if found != games:
            raise SystemExit("found other games with workers, expected the same")
        rows.append((str(workers), seconds, alone / seconds))
    print(
        f"{arguments.updates} updates of {arguments.games} games, "
        f"{arguments.milliseconds:g} ms a step:"
    )
    print_table(["workers", "s", "faster"], rows)


if __name__ == "__main__":
    main()
