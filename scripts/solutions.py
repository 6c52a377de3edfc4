"""How a run's policy spreads over all solutions of a game, computed: nothing is played.

For games that know their solutions and leave nothing to chance (Points). Every solution of every
start is scored once: the share of games that end well is their sum, exactly, and N games from a
start find a solution of probability p with 1 - (1 - p)^N. Beside the run stand the policy that it
started from and, at alpha = 1, the law that balance losses aim at, R^beta * p_ref, for one reward
of all that succeeds and one of all that fails.
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_model import print_table

from gflowvlm.batch import Row, StepScores
from gflowvlm.config.reward import LogLinearReward
from gflowvlm.config.schema import RunConfig
from gflowvlm.errors import UserError
from gflowvlm.evaluation.views import Views
from gflowvlm.launch.runs import open_policy
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.policy.walk import require_plain_actions
from gflowvlm.prompting.reply import format_reply
from gflowvlm.rollouts.environments import make_environment


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start's solutions as rows and by class."""

    names: list[str]
    classes: list[str]
    rows: list[Row]


def starts_of(policy: VLMPolicy, views: Views) -> Iterator[Start]:
    """Every start with its solutions as the policy would say them.

    Raises:
        UserError: the game does not know its solutions, or replies are not actions alone.
    """
    game = views.game
    missing = next((n for n in ("starts", "solutions_of") if not hasattr(game, n)), None)
    if missing is not None:
        raise UserError(
            f"{views.environment_id}: found no {missing}(), expected a game that knows its "
            "solutions, such as gflowvlm/Points12-v0: name runs of one"
        )
    require_plain_actions(policy)
    for start in game.starts():
        solutions = [tuple(words) for words in game.solutions_of(start)]
        rows = []
        for words in solutions:
            seen, state = [], start
            for word in words:
                seen.append(views.observation(start, state))
                state = game.outcomes(state, game.legal(state).index(word))[0].state
            replies = [format_reply({}, None, word) for word in words]
            rows += policy.rows_of_episode(seen, replies)
        yield Start(
            names=[" ".join(words) for words in solutions],
            classes=[game.solution_class(words) for words in solutions],
            rows=rows,
        )


@torch.no_grad()
def spread(
    start: Start, score: Callable[[Sequence[Row]], StepScores], rows_per_pass: int
) -> list[float]:
    """Probability of each solution."""
    found: list[float] = []
    for first in range(0, len(start.rows), rows_per_pass):
        rows = start.rows[first : first + rows_per_pass]
        log_prob = score(rows).action_log_prob.double().split([r.num_decisions for r in rows])
        found += [each.sum().exp().item() for each in log_prob]
    return found


def target_of(config: RunConfig, reference: list[float]) -> list[float] | None:
    """Probability of each solution under the law that balance losses aim at, if it is simple."""
    reward = config.reward
    if not isinstance(reward, LogLinearReward) or reward.progress or config.alpha != 1:
        return None
    gap = math.exp(config.beta.end * (reward.failure - reward.success))
    total = sum(reference) + (1 - sum(reference)) * gap
    return [p / total for p in reference]


def figures(start: Start, probabilities: list[float], games: int) -> tuple[float, float, float]:
    """Share solved, and the shares of solutions and of classes that so many games find."""
    by_class: dict[str, float] = defaultdict(float)
    for name, p in zip(start.classes, probabilities, strict=True):
        by_class[name] += p
    found = [1 - (1 - p) ** games for p in probabilities]
    classes = [1 - (1 - p) ** games for p in by_class.values()]
    return sum(probabilities), sum(found) / len(found), sum(classes) / len(classes)


def report(arguments: argparse.Namespace) -> None:
    """Compute and print."""
    table: list[Any] = []
    for run in arguments.runs:
        config, policy = open_policy(run, seed=0)
        game = config.environment
        views = Views(make_environment(game.id, arguments.split, game.kwargs), game.id, "")
        laws: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for start in starts_of(policy, views):
            own = spread(start, policy.score, arguments.rows_per_pass)
            reference = spread(start, policy.score_reference, arguments.rows_per_pass)
            target = target_of(config, reference)
            for name, law in ((run.name, own), ("its start", reference), ("its target", target)):
                if law is not None:
                    laws[name].append(figures(start, law, arguments.games))
        for name, of_starts in laws.items():
            means = [sum(column) / len(of_starts) for column in zip(*of_starts, strict=True)]
            table.append((name, *(f"{100 * mean:.1f} %" for mean in means)))
    within = f"in {arguments.games} games"
    print_table(["policy", "solved", f"solutions {within}", f"classes {within}"], table)


def main() -> int:
    """A line for every policy of every run, means over all starts of a split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--split", default="id", help="whose starts (%(default)s)")
    parser.add_argument("--games", type=int, default=64, help="N, from a start (%(default)s)")
    parser.add_argument("--rows-per-pass", type=int, default=64, help="(%(default)s)")
    arguments = parser.parse_args()
    try:
        report(arguments)
    except UserError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
