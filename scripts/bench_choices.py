"""Probabilities of all legal actions along games: on the episode's cache, or each from the start.

The reports' step-through shows them at every decision. The same games are gone through twice: by
`action_log_probs`, and with each alternative scored behind all that went before, as training
scores, eight rows a pass (writing those rows is not counted). Both must agree. Processor time.
"""

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

import torch
from bench_model import print_table
from torch import Tensor

from gflowvlm.episode import Decision
from gflowvlm.errors import UserError
from gflowvlm.launch.parts import build_collector
from gflowvlm.launch.runs import open_policy
from gflowvlm.policy.choices import action_log_probs
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import action_ending, parse_reply
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.plan import plan_groups

ROWS_PER_PASS = 8
MOST_APART = 1e-3


@torch.no_grad()
def from_the_start(
    policy: VLMPolicy, decisions: tuple[Decision, ...]
) -> tuple[list[Tensor | None], float]:
    """What `action_log_probs` gives up to a constant a decision, and the seconds of scoring."""
    found: list[Tensor | None] = []
    spent = 0.0
    seen = [decision.observation for decision in decisions]
    said = [decision.reply.text for decision in decisions]
    for turn, text in enumerate(said):
        word = parse_reply(text, ()).word_start
        if word is None:
            found.append(None)
            continue
        others = [text[:word] + '"' + action_ending(each) for each in seen[turn].legal_actions]
        rows = [
            policy.rows_of_episode(seen[: turn + 1], [*said[:turn], other])[-1] for other in others
        ]
        parts = [rows[n : n + ROWS_PER_PASS] for n in range(0, len(rows), ROWS_PER_PASS)]
        began = time.process_time()
        scores = [policy.score(part).action_log_prob.view(len(part), -1)[:, -1] for part in parts]
        spent += time.process_time() - began
        found.append(torch.cat(scores).double())
    return found, spent


def played(target: Path, split: str, games: int) -> tuple[VLMPolicy, list[Played]]:
    """The policy of a run or recipe, and games of its own, each from a start of its own."""
    config, policy = open_policy(target, seed=0)
    plans = plan_groups(0, "bench", first_group=0, groups=games, group_size=1)
    with closing(build_collector(config, split, batch_size=games)) as collector:
        return policy, list(collector.collect(policy, plans))


def main() -> int:
    """Play, go through the games both ways, print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="a run's folder or a recipe")
    parser.add_argument("--split", default="ood", help="of the games' starts (ood)")
    parser.add_argument("--games", type=int, default=4, help="games to go through (4)")
    options = parser.parse_args()
    try:
        policy, games = played(options.target, options.split, options.games)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    cached, anew, apart = 0.0, 0.0, 0.0
    for game in games:
        began = time.process_time()
        found = action_log_probs(policy, game.rows, game.episode.decisions)
        cached += time.process_time() - began
        expected, spent = from_the_start(policy, game.episode.decisions)
        anew += spent
        for one, other in zip(found, expected, strict=True):
            if one is not None and other is not None:
                gap = one.softmax(-1) - other.softmax(-1)
                apart = max(apart, gap.abs().max().item())
    if apart > MOST_APART:
        raise SystemExit(f"found probabilities {apart:.1e} apart, expected at most {MOST_APART}")
    counts = [len(d.observation.legal_actions) for g in games for d in g.episode.decisions]
    print(f"{len(games)} games, {len(counts)} decisions, {sum(counts)} legal actions")
    print(f"probabilities differ by {apart:.1e} at most")
    print_table(
        ("", "seconds", "ratio"),
        [
            ("on the episode's cache", f"{cached:.2f}", "1.0"),
            ("each from the start", f"{anew:.2f}", f"{anew / cached:.1f}"),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
