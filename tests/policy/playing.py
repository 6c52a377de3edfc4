"""Games played for what was sampled in them, and how far scoring is from it."""

from collections.abc import Callable

import torch

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Reply, Segment
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import VLMPolicy

Observe = Callable[..., Observation]
Played = tuple[dict[int, list[Reply]], list[Row]]


def play(policy: VLMPolicy, observe: Observe, slots: tuple[int, ...] = (0, 1, 2, 3)) -> Played:
    """Four turns; slot s leaves after turn s. Replies and rows in the order of `slots`."""
    opened = policy.session([EpisodeKey(7, slot) for slot in slots])
    replies: dict[int, list[Reply]] = {place: [] for place in range(len(slots))}
    for turn in range(4):
        seen = {place: observe(slot, turn) for place, slot in enumerate(slots) if turn <= slot}
        for place, reply in opened.reply(seen).items():
            replies[place].append(reply)
    return replies, [row for place in range(len(slots)) for row in opened.rows(place)]


def largest_gap(policy: VLMPolicy, played: Played) -> float:
    replies, rows = played
    sampled = [
        log_prob
        for place in sorted(replies)
        for reply in replies[place]
        for log_prob, segment in zip(reply.log_probs, reply.segment, strict=True)
        if segment != Segment.CONTEXT
    ]
    with torch.no_grad():
        scored = policy.score(rows).token_log_prob
    assert len(sampled) == len(scored)
    return float((torch.tensor(sampled) - scored).abs().max())
