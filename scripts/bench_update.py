"""One training update under the clock, and what its gradient needs in memory.

Part 1 trains a recipe for a few updates and says which part took how long, then does it again with
every row read for itself, equal ones too. Part 2 takes the gradient of more and more episodes of a
random model at several sizes of the micro-batch, each in a process of its own: the peak follows
`rows_per_pass`, not the number of episodes.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from bench_model import observation, peak_mib, print_table, random_policy

from gflowvlm.batch import StepScores
from gflowvlm.config.load import load
from gflowvlm.launch.parts import build_method, build_policy
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.policy import scoring, session
from gflowvlm.policy.chat import Chat
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.policy.session import VLMSession
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import ALONE
from gflowvlm.prompting.reply import format_reply
from gflowvlm.rollouts.collect import Collector
from gflowvlm.trainer.gradient import accumulate
from gflowvlm.trainer.optimizer import build_optimizer

RECIPE = Path(__file__).parents[1] / "configs/number_line/subtb.yaml"
PARTS: list[tuple[str, type, str]] = [
    ("collect: images and chat template", Chat, "_chunk"),
    ("collect: prefill", VLMSession, "_prefill"),
    ("collect: decode", VLMSession, "_decode"),
    ("collect: draw tokens", VLMSession, "_sample"),
    ("collect: environment and the rest", Collector, "collect"),
    ("score under the reference", VLMPolicy, "score_reference"),
    ("score: forward", VLMPolicy, "score"),
    ("score: log-probs of the head", LanguageHead, "score"),
]


class Clock:
    """Processor time (on a GPU wall time) by part; a part inside another is not counted twice."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time spent inside belongs to `name` until another part opens."""
        self._turn()
        self._open.append(name)
        yield
        self._turn()
        self._open.pop()

    def watch(self, name: str, owner: type, method: str) -> None:
        """Count every call of a method as a part."""
        inner: Callable[..., Any] = getattr(owner, method)

        @wraps(inner)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return inner(*arguments, **options)

        setattr(owner, method, timed)

    def _turn(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()
        now = time.process_time() if self.device == "cpu" else time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def profile(arguments: argparse.Namespace, clock: Clock) -> float:
    """Where the time of an update of the recipe goes; seconds in all."""
    config = load(arguments.recipe, arguments.overrides)
    policy = build_policy(config, torch.device(arguments.device))
    method = build_method(config, policy, ALONE, ExitStack())
    optimizer = build_optimizer(
        policy.parameter_groups(),
        learning_rate=config.trainer.learning_rate,
        head_learning_rate=config.trainer.head_learning_rate,
        weight_decay=config.trainer.weight_decay,
    )
    episodes = 0
    for update in range(arguments.updates + 1):
        for work in method.prepare(update):
            optimizer.zero_grad()
            with clock.part("backward and objective"):
                accumulate(policy, work, config.trainer.rows_per_pass)
            with clock.part("optimiser"):
                optimizer.step()
            episodes = len(work.episodes)
        if update == 0:  # the first is a warm-up
            clock.seconds.clear()
    total = sum(clock.seconds.values())
    by_time = sorted(clock.seconds.items(), key=lambda item: -item[1])
    print(f"{arguments.updates} updates of {episodes} episodes, {total:.1f} s:")
    print_table(["part", "s", "%"], [(n, s, round(100 * s / total)) for n, s in by_time])
    return total


def compare_reading(arguments: argparse.Namespace) -> None:
    """The same updates as they are, and with nothing taken for the same."""
    clock = Clock(arguments.device)
    for name, owner, attribute in PARTS:
        clock.watch(name, owner, attribute)
    once = profile(arguments, clock)
    print("\nevery row for itself, ", end="")
    with patch.object(scoring, "distinct", apart), patch.object(session, "distinct", apart):
        print(f"equal rows read once: {profile(arguments, clock) / once:.2f} times faster")


def apart(sequences: Iterable[object]) -> tuple[list[int], list[int]]:
    """What `distinct` would say if no two were alike."""
    count = sum(1 for _ in sequences)
    return list(range(count)), list(range(count))


def peak_of(setting: str, arguments: argparse.Namespace) -> float:
    """Peak memory of a gradient, MiB; `setting` is episodes:turns:rows_per_pass."""
    episodes, turns, rows_per_pass = map(int, setting.split(":"))
    policy = random_policy(
        image_tokens=arguments.image_tokens,
        hidden=arguments.hidden,
        layers=arguments.layers,
        device=arguments.device,
    )

    def work(episodes: int, turns: int) -> Work:
        said = format_reply({"current number": "3", "target number": "5"}, "smaller", "+")
        games = [[observation(game, t) for t in range(turns)] for game in range(episodes)]
        return Work(
            episodes=[policy.rows_of_episode(game, [said] * turns) for game in games],
            loss=lambda scores, part: loss_of(scores),
            couples_rows=False,
            share=lambda part: (part.stop - part.start) / episodes,
            metrics={},
        )

    def loss_of(scores: StepScores) -> ObjectiveOutput:
        return ObjectiveOutput(loss=scores.action_log_prob.mean())

    accumulate(policy, work(1, 1), 1)  # what is allocated once: gradients, library buffers
    job = work(episodes, turns)
    return peak_mib(lambda: accumulate(policy, job, rows_per_pass), arguments.device)


def memory(arguments: argparse.Namespace) -> None:
    """Peaks at several numbers of episodes and sizes of a pass."""
    many, turns, rows = arguments.episodes, arguments.turns, arguments.rows_per_pass
    settings = [(many, turns, rows), (2 * many, turns, rows), (4 * many, turns, rows)]
    settings += [(4 * many, turns, 2 * rows), (4 * many, turns, 4 * rows)]
    table = []
    for setting in settings:
        named = ":".join(map(str, setting))
        command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", named]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        table.append((*setting, round(float(done.stdout))))
    print("\npeak memory of the gradient:")
    print_table(["episodes", "turns", "rows a pass", "MiB"], table)
    print(f"4 times the episodes: {table[2][3] / table[0][3]:.2f} times the memory")
    print(f"4 times the rows of a pass: {table[4][3] / table[2][3]:.2f} times the memory")


def main() -> None:
    """Both parts, or one peak for a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="of part 1 (%(default)s)")
    parser.add_argument("--updates", type=int, default=1, help="timed (%(default)s)")
    parser.add_argument("--episodes", type=int, default=4, help="in part 2 (%(default)s)")
    parser.add_argument("--turns", type=int, default=6, help="in part 2 (%(default)s)")
    parser.add_argument("--rows-per-pass", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--image-tokens", type=int, default=64, help="a square (%(default)s)")
    parser.add_argument("--hidden", type=int, default=256, help="width, 64s (%(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="decoder layers (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="settings of the recipe, a.b=value")
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(peak_of(arguments.peak_of, arguments))
        return
    compare_reading(arguments)
    memory(arguments)


if __name__ == "__main__":
    main()
