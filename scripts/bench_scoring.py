"""Scoring: a transcript or a prompt per decision; unequal lengths; log-probs in chunks.

Part 1 scores the same games, forward and backward, in the layouts `transcript` and `rewritten`.
Part 2 scores games of 1, 2, ... turns, beside those of about their length and as one padded batch.
Part 3 takes log-probs of sampled tokens at a large vocabulary, forward and backward, by the
policy's language head (in chunks) and from a tensor of all logits, each in a process of its own,
and compares the peaks of memory beyond what was held before.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from unittest.mock import patch

import torch
from bench_model import median_seconds, observation, peak_mib, print_table, random_policy
from torch import Tensor, nn

from gflowvlm.batch import Row
from gflowvlm.policy import alike, scoring
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.prompting.reply import format_reply


def rows(layout: str, image_tokens: int, reply_tokens: int, arguments: argparse.Namespace):
    """A policy of the layout and the rows of its games, whose thoughts fill the replies."""
    policy = random_policy(
        image_tokens=image_tokens,
        hidden=arguments.hidden,
        layers=arguments.layers,
        device=arguments.device,
        layout=layout,
    )
    found: list[Row] = []
    for game in range(arguments.games):
        seen = [observation(game, turn) for turn in range(arguments.turns)]
        fields = {"current number": "3", "target number": "5"}
        short = len(policy.rules.encode(format_reply(fields, "", "+")))
        thought = " current" * max(1, reply_tokens - short)
        said = [format_reply(fields, thought, "+")] * arguments.turns
        found += policy.rows_of_episode(seen, said)
    return policy, found


def compare_layouts(arguments: argparse.Namespace) -> None:
    """Seconds of scoring and its gradient, by layout."""
    table = []
    for image_tokens in arguments.image_tokens:
        for reply_tokens in arguments.reply_tokens:
            took: dict[str, float] = {}
            tokens: dict[str, int] = {}
            for layout in ("transcript", "rewritten"):
                policy, found = rows(layout, image_tokens, reply_tokens, arguments)
                tokens[layout] = sum(len(row.input_ids) for row in found)

                def step(policy=policy, found=found) -> None:
                    policy.score(found).token_log_prob.sum().backward()

                took[layout] = median_seconds(step, arguments.repeats, arguments.device)
            ratio = took["rewritten"] / took["transcript"]
            table.append((image_tokens, reply_tokens, *tokens.values(), *took.values(), ratio))
    head = ["image", "reply", "tokens", "rewritten", "seconds", "rewritten", "transcript faster"]
    print(f"{arguments.games} games of {arguments.turns} turns, tokens an image and a reply:")
    print_table(head, table)


def compare_lengths(arguments: argparse.Namespace) -> None:
    """Seconds of scoring games of unequal length and its gradient, in groups and in one batch."""
    table = []
    for image_tokens in arguments.image_tokens:
        policy = random_policy(
            image_tokens=image_tokens,
            hidden=arguments.hidden,
            layers=arguments.layers,
            device=arguments.device,
            layout="transcript",
        )
        said = format_reply({"current number": "3", "target number": "5"}, "closer", "+")
        found: list[Row] = []
        for turns in range(1, arguments.turns + 1):
            seen = [observation(turns, turn) for turn in range(turns)]
            found += policy.rows_of_episode(seen, [said] * turns)

        def step(policy=policy, found=found) -> None:
            policy.score(found).token_log_prob.sum().backward()

        grouped = median_seconds(step, arguments.repeats, arguments.device)
        with patch.object(alike, "FILLED", 0.0), patch.object(scoring, "pad_rows", masked):
            one_batch = median_seconds(step, arguments.repeats, arguments.device)
        tokens = sum(len(row.input_ids) for row in found)
        longest = max(len(row.input_ids) for row in found)
        shares = tokens / (longest * len(found))
        table.append((image_tokens, tokens, shares, grouped, one_batch, one_batch / grouped))
    head = ["image", "tokens", "of a padded batch", "grouped s", "one batch s", "grouped faster"]
    print(f"\ngames of 1 to {arguments.turns} turns:")
    print_table(head, table)


def masked(
    rows: Sequence[Row], backbone: Backbone, pad_rows=scoring.pad_rows
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a batch is where its padding is masked."""
    ids, mask, types = pad_rows(rows, backbone)
    length = torch.tensor([len(row.input_ids) for row in rows], device=mask.device)
    return ids, (torch.arange(ids.shape[1], device=mask.device) < length[:, None]).long(), types


def head_loss(way: str, arguments: argparse.Namespace) -> Tensor:
    """The sum of the log-probs of made-up tokens; `chunked` is what policies do."""
    torch.manual_seed(0)
    width, positions, device = arguments.head_width, arguments.positions, arguments.device
    layer = nn.Linear(width, arguments.vocabulary, bias=False, device=device).requires_grad_(False)
    hidden = torch.randn(positions, width, device=device, requires_grad=True)
    targets = torch.randint(arguments.vocabulary, (positions,), device=device)
    if way == "full":
        log_probs = layer(hidden).float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    else:
        head = LanguageHead(
            layer,
            (),
            temperature=1.0,
            softcap=None,
            chunk=arguments.chunk,
            device=torch.device(device),
        )
        log_probs, *_ = head.score(hidden, targets, [None] * positions, [False] * positions)
    loss = log_probs.sum()
    loss.backward()
    return loss.detach()


def peak_of(way: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """Peak memory beyond the resting state in MiB, and the loss; for a process of its own."""
    small = argparse.Namespace(**{**vars(arguments), "positions": 1})
    head_loss(way, small)  # what libraries allocate once is no part of the peak
    losses: list[float] = []
    peak = peak_mib(lambda: losses.append(float(head_loss(way, arguments))), arguments.device)
    return peak, losses[0]


def compare_memory(arguments: argparse.Namespace) -> None:
    """Peaks of both ways, each measured by this script run anew."""
    table, peaks = [], {}
    for way in ("full", "chunked"):
        command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, loss = map(float, done.stdout.split())
        peaks[way] = peak
        table.append((way, round(peak), loss))
    print(f"\nlog-probs of {arguments.positions} tokens, vocabulary {arguments.vocabulary}:")
    print_table(["way", "peak MiB", "loss"], table)
    print(f"the chunked peak is {peaks['chunked'] / peaks['full']:.3f} of the full one")


def main() -> None:
    """All parts, or one peak for a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--games", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--image-tokens", type=int, nargs="+", default=[16, 144])
    parser.add_argument("--reply-tokens", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--hidden", type=int, default=128, help="width, 64s (%(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="decoder layers (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many (%(default)s)")
    parser.add_argument("--vocabulary", type=int, default=150_000, help="(%(default)s)")
    parser.add_argument("--positions", type=int, default=2048, help="sampled tokens (%(default)s)")
    parser.add_argument("--head-width", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--chunk", type=int, default=256, help="positions at once (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--peak-of", choices=("full", "chunked"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(*peak_of(arguments.peak_of, arguments))
        return
    compare_layouts(arguments)
    compare_lengths(arguments)
    compare_memory(arguments)


if __name__ == "__main__":
    main()
