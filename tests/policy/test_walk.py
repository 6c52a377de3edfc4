"""What is read along the branches of a game, against rows scored one by one."""

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.policy.moment import Moment, Reading
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.policy.walk import Walker
from gflowvlm.prompting.reply import format_reply

WORDS = ("shelf 1", "shelf 11", "shelf 2")  # several tokens each, one the beginning of another
TURNS = 3
PLAIN = {"actions": "constrained", "thought": False}


@pytest.fixture(params=["llava_folder", "qwen_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def read_all(
    policy: VLMPolicy, seen: Callable[..., Observation], *, batch_size: int, reference: bool = False
) -> dict[tuple[int, ...], Reading]:
    """Every history of a game that always goes on for TURNS turns; what is seen follows actions."""
    found: dict[tuple[int, ...], Reading] = {}

    def follow(moment: Moment, reading: Reading) -> list[Moment]:
        found[moment.actions] = reading
        if len(moment.observations) == TURNS:
            return []
        return [moment.then(action, shown(seen, (*moment.actions, action))) for action in range(3)]

    walker = Walker(policy, batch_size=batch_size)
    walker.walk([Moment((shown(seen, ()),))], follow, reference=reference)
    return found


def shown(seen: Callable[..., Observation], actions: tuple[int, ...]) -> Observation:
    return seen(*look_after(actions))


def look_after(actions: tuple[int, ...]) -> tuple[int, int, tuple[str, ...]]:
    words = WORDS[::-1] if actions[-1:] == (2,) else WORDS  # they may change on the way
    return 1 + sum(3**n * (a + 1) for n, a in enumerate(actions)) % 3, len(actions), words


def scored(
    policy: VLMPolicy, seen: Callable[..., Observation], *, reference: bool
) -> dict[tuple[int, ...], tuple[float, float | None]]:
    """(log-prob of the last action, log F before it) of each sequence of actions."""
    found: dict[tuple[int, ...], tuple[float, float | None]] = {}
    for actions in product(range(3), repeat=TURNS):
        observations = [shown(seen, actions[:n]) for n in range(TURNS)]
        replies = [
            format_reply({}, None, o.legal_actions[a])
            for o, a in zip(observations, actions, strict=True)
        ]
        rows = policy.rows_of_episode(observations, replies)
        with torch.no_grad():
            scores = (policy.score_reference if reference else policy.score)(rows)
        for n, log_prob in enumerate(scores.action_log_prob.tolist()):
            flow = None if scores.flow is None else scores.flow[n].item()
            found[actions[: n + 1]] = log_prob, flow
    return found


def some_flow(policy: VLMPolicy) -> None:
    """A fresh flow head answers the same everywhere."""
    assert policy.flow_head is not None
    torch.nn.init.normal_(
        policy.flow_head.output.weight, generator=torch.Generator().manual_seed(3)
    )


@pytest.mark.parametrize(
    "history",
    [
        {},
        {"layout": "news"},
        {"layout": "rewritten"},
        {"layout": "rewritten", "history_length": 1},
        {"layout": "none"},
    ],
    ids=["transcript", "news", "rewritten", "shortened", "none"],
)
@pytest.mark.parametrize("reference", [False, True])
def test_every_history_is_read_as_its_row_is_scored(
    reference: bool,
    history: dict[str, object],
    folder: Path,
    adapted: Callable[..., VLMPolicy],
    observe: Callable[..., Observation],
) -> None:
    policy = adapted(folder, **PLAIN, **history)
    some_flow(policy)
    found = read_all(policy, lru_cache(observe), batch_size=4, reference=reference)
    truth = scored(policy, observe, reference=reference)
    assert len(found) == 1 + 3 + 9
    for actions, (log_prob, flow) in truth.items():
        reading = found[actions[:-1]]
        assert reading.log_prob[actions[-1]] == pytest.approx(log_prob, abs=2e-4)
        assert reading.log_flow == (None if reference else pytest.approx(flow, abs=1e-3))
    # log-probs that hardly differ would hide errors, so would flows
    looks = {look_after(actions[:-1]) for actions in truth}
    assert len({round(log_prob, 1) for log_prob, _ in truth.values()}) > len(looks)
    for reading in found.values():
        assert abs(sum(map(float, torch.tensor(reading.log_prob).exp()))) == pytest.approx(
            1, abs=1e-12
        )


def test_without_a_memory_what_looks_alike_is_read_once(
    llava_folder: Path,
    adapted: Callable[..., VLMPolicy],
    observe: Callable[..., Observation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, sizes = adapted(llava_folder, layout="none", **PLAIN), []
    read = Walker._read

    def counted(self: Walker, batch: Any, *, flows: bool) -> Any:
        sizes.append(len(batch.moments))
        return read(self, batch, flows=flows)

    monkeypatch.setattr(Walker, "_read", counted)
    found = read_all(policy, lru_cache(observe), batch_size=4)
    assert len(found) == 1 + 3 + 9
    assert sum(sizes) == len({look_after(actions) for actions in found}) < 13


def test_only_what_is_asked_for_is_read(
    llava_folder: Path, adapted: Callable[..., VLMPolicy], observe: Callable[..., Observation]
) -> None:
    policy, read = adapted(llava_folder, **PLAIN), []

    def follow(moment: Moment, reading: Reading) -> list[Moment]:
        read.append(moment.actions)
        return [moment.then(2, observe(0, 1, WORDS))] if not moment.actions else []

    Walker(policy, batch_size=8).walk([Moment((observe(0, 0, WORDS),))] * 2, follow)
    assert read == [(), (), (2,), (2,)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"actions": "free"}, "policy.actions"),
        ({"actions": "constrained"}, "policy.thought"),
        ({**PLAIN, "done": True}, "objective"),
    ],
)
def test_replies_that_are_more_than_an_action_are_refused(
    settings: dict[str, object],
    said: str,
    llava_next_folder: Path,
    adapted: Callable[..., VLMPolicy],
) -> None:
    with pytest.raises(UserError, match=said):
        Walker(adapted(llava_next_folder, **settings))
