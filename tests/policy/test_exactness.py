"""The log-prob of a sampled token is the log-prob it is scored with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Reply
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy

Observe = Callable[..., Observation]


def adapted(folder: Path, **settings: object) -> VLMPolicy:
    """A policy whose adapter says something: B is zero only in a fresh one."""
    policy = VLMPolicy.from_folder(folder, PolicySettings(rank=4, **settings))  # type: ignore
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameter_groups()["adapter"]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return policy


def play(policy: VLMPolicy, observe: Observe, slots: int = 4, turns: int = 4):
    """Slot s leaves after turn s; replies and rows by slot."""
    session = policy.session([EpisodeKey(7, slot) for slot in range(slots)])
    replies: dict[int, list[Reply]] = {slot: [] for slot in range(slots)}
    for turn in range(turns):
        live = [slot for slot in range(slots) if turn <= slot or slot == slots - 1]
        for slot, reply in session.reply({s: observe(s, turn) for s in live}).items():
            replies[slot].append(reply)
    return replies, [session.row(slot) for slot in range(slots)]


def largest_gap(policy: VLMPolicy, replies: dict[int, list[Reply]], rows: list[Row]) -> float:
    sampled = [
        log_prob
        for slot in sorted(replies)
        for reply in replies[slot]
        for log_prob, segment in zip(reply.log_probs, reply.segment, strict=True)
        if segment != 0
    ]
    scored = policy.score(rows).token_log_prob
    assert len(sampled) == len(scored)
    return float((torch.tensor(sampled) - scored).abs().max())


MODES = [
    {"actions": "free"},
    {"actions": "free", "temperature": 0.7},
    {"actions": "constrained"},
    {"actions": "constrained", "thought": False, "temperature": 1.3},
]


@pytest.mark.parametrize("folder", ["llava_folder", "qwen_folder"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_sampled_log_probs_are_the_scored_ones(
    folder: str, mode: dict, observe: Observe, request: pytest.FixtureRequest
) -> None:
    policy = adapted(request.getfixturevalue(folder), max_reply_tokens=24, **mode)
    replies, rows = play(policy, observe)
    assert largest_gap(policy, replies, rows) <= 1e-4
