"""Collection with a KV cache that lives across turns, against `generate` on the whole transcript.

Both read the same conversations in the same batch and write replies of the same length. The
baseline is what a loop around `model.generate` does: every turn it is given everything so far,
left-padded, images included; within the turn it uses its own cache. Then games whose turns differ
in length, those of like length fed together against all padded to the longest; and a cache that
grows into spare columns against one that is copied for every token.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from bench_model import observation, print_table, random_policy, seconds
from matplotlib import pyplot
from transformers.cache_utils import DynamicLayer

from gflowvlm.batch import Row
from gflowvlm.episode import Observation
from gflowvlm.policy import alike, past
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import VLMPolicy


def play(
    policy: VLMPolicy,
    games: int,
    turns: int,
    device: str,
    observe: Callable[[int, int], Observation] = observation,
) -> tuple[list[float], list[Row]]:
    """Seconds of each turn, and the games as rows."""
    session = policy.session([EpisodeKey(0, game) for game in range(games)])
    times = []
    for turn in range(turns):
        seen = {game: observe(game, turn) for game in range(games)}
        times.append(seconds(partial(session.reply, seen), device))
    return times, [row for game in range(games) for row in session.rows(game)]


@torch.no_grad()
def regenerate(policy: VLMPolicy, rows: list[Row], turn: int, tokens: int) -> None:
    """What `generate` does for the same turn of the same games."""
    device, pad = policy.model.device, policy.backbone.pad_id
    prefixes = [list(row.input_ids[: row.state_at[turn] + 1]) for row in rows]
    longest = max(map(len, prefixes))
    ids = [[pad] * (longest - len(prefix)) + prefix for prefix in prefixes]
    mask = [[0] * (longest - len(prefix)) + [1] * len(prefix) for prefix in prefixes]
    shown = [image for row in rows for image in row.vision[: turn + 1]]
    pixels = policy.backbone.merge(shown)["pixel_values"]
    model: Any = policy.model
    model.generate(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=torch.tensor(mask, device=device),
        pixel_values=pixels.to(device),
        do_sample=True,
        top_k=0,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=pad,
    )


def policy_of(arguments: argparse.Namespace) -> VLMPolicy:
    """Random weights whose replies all have their full length: none may sample an end of turn."""
    policy = random_policy(
        image_tokens=arguments.image_tokens,
        hidden=arguments.hidden,
        layers=arguments.layers,
        device=arguments.device,
        max_reply_tokens=arguments.reply_tokens,
    )
    language = policy.language
    ends = torch.tensor(sorted(policy.chat.end_ids), device=language.forbidden.device)
    language.forbidden = torch.cat([language.forbidden, ends]).unique()
    return policy


def measure(policy: VLMPolicy, arguments: argparse.Namespace) -> list[tuple[int, float, float]]:
    """Per turn: its number, seconds with the living cache, seconds of `generate`; medians."""
    device, tokens = arguments.device, arguments.reply_tokens
    _, rows = play(policy, arguments.games, 2, device)  # warm up both ways
    regenerate(policy, rows, 1, tokens)
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(arguments.repeats):
        times, rows = play(policy, arguments.games, arguments.turns, device)
        assert all(sum(d >= 0 for d in row.decision_of) == arguments.turns * tokens for row in rows)
        ours.append(times)
        again = partial(regenerate, policy, rows, tokens=tokens)
        theirs.append([seconds(partial(again, t), device) for t in range(arguments.turns)])
    found = zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
    return [(t, median(a), median(b)) for t, (a, b) in enumerate(found, start=1)]


def uneven(game: int, turn: int) -> Observation:
    """An observation told in 1 to 100 words, most often in few."""
    words = int(np.exp(np.random.default_rng([game, turn]).uniform(0, np.log(100))))
    return replace(observation(game, turn), text="look " * words)


def times_faster(
    play_once: Callable[[], float], without: Callable[[], AbstractContextManager[Any]], repeats: int
) -> float:
    """How many times faster games are played than without something."""

    def spent_without() -> float:
        with without():
            return play_once()

    play_once()  # warm up
    runs = [(spent_without(), play_once()) for _ in range(repeats)]
    return median(slow for slow, _ in runs) / median(fast for _, fast in runs)


def draw(turns: list[int], ratios: list[float], file: Path) -> None:
    """Plot the ratio against turns."""
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot(turns, ratios, marker="o", markersize=3)
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set(xlabel="turns played", ylabel="times faster than generate", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Measure, print a table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=12, help="turns of every game (%(default)s)")
    parser.add_argument("--games", type=int, default=4, help="games side by side (%(default)s)")
    parser.add_argument("--image-tokens", type=int, default=144, help="a square (%(default)s)")
    parser.add_argument("--reply-tokens", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--hidden", type=int, default=256, help="width, 64s (%(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="decoder layers (%(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="medians of so many (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--plot", type=Path, default=Path("bench_collection.png"))
    arguments = parser.parse_args()
    rows, turns, ratios = [], [], []
    ours = theirs = 0.0
    policy = policy_of(arguments)
    for turn, a, b in measure(policy, arguments):
        ours, theirs = ours + a, theirs + b
        turns.append(turn)
        ratios.append(theirs / ours)
        rows.append((turn, a, b, b / a, theirs / ours, "#" * round(4 * theirs / ours)))
    print_table(["turn", "ours s", "generate s", "this turn", "so far", ""], rows)
    print(f"{arguments.turns} turns: collection is {ratios[-1]:.1f} times faster than generate")
    draw(turns, ratios, arguments.plot)
    print(f"plot: {arguments.plot}")
    in_groups = partial(patch.object, alike, "WORTH", 2**60)  # without: all padded to the longest
    in_place = partial(patch.object, past, "RoomyLayer", DynamicLayer)  # without: all copied
    for games in (arguments.games, 8 * arguments.games):
        for observe, without, said in (
            (uneven, in_groups, "turns of 1 to 100 words: {:.2f} times faster in groups"),
            (observation, in_place, "even turns: {:.2f} times faster with spare columns"),
        ):

            def play_once(games: int = games, observe: Any = observe) -> float:
                return sum(play(policy, games, arguments.turns, arguments.device, observe)[0])

            ratio = times_faster(play_once, without, arguments.repeats)
            print(f"{games} games with {said.format(ratio)}")


if __name__ == "__main__":
    main()
