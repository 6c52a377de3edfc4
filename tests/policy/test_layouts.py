"""Every layout's rows mean what plain Transformers makes of the very same ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Reply, Segment
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.policy.session import VLMSession
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.messages import turns_of
from gflowvlm.prompting.reply import format_reply

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]
LAYOUTS = ("transcript", "news", "rewritten", "none")
FAMILIES = ("llava_folder", "qwen_folder")


def play(policy: VLMPolicy, observe: Observe, turns: int = 3) -> tuple[list[Reply], list[Row]]:
    """Two games of one turn and of several, one after the other."""
    session = policy.session([EpisodeKey(7, 0), EpisodeKey(7, 1)])
    replies: dict[int, list[Reply]] = {0: [], 1: []}
    for turn in range(turns):
        seen = {slot: observe(slot, turn) for slot in ((0, 1) if turn == 0 else (1,))}
        for slot, reply in session.reply(seen).items():
            replies[slot].append(reply)
    return [*replies[0], *replies[1]], [*session.rows(0), *session.rows(1)]


@torch.no_grad()
def plain_log_probs(policy: VLMPolicy, row: Row) -> Tensor:
    """Log-probs of a row's sampled tokens by one unpadded forward of the model's own class."""
    ids = torch.tensor([row.input_ids])
    extra: dict[str, Any] = policy.backbone.merge(row.vision)
    if policy.model.config.model_type == "qwen2_5_vl":
        extra["mm_token_type_ids"] = (ids == policy.model.config.image_token_id).long()
    logits = policy.model(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0]
    logits = logits.double() / policy.settings.temperature
    vocabulary = policy.chat.vocabulary
    sayable = set(range(len(vocabulary.tokenizer))) - vocabulary.special_ids
    sayable |= policy.chat.end_ids
    found = []
    for position, decision in enumerate(row.decision_of):
        if decision >= 0:
            choice = list(row.allowed.get(position, sorted(sayable)))
            line = logits[position - 1]
            found.append(line[row.input_ids[position]] - line[choice].logsumexp(0))
    return torch.stack(found)


def gap_to_plain(policy: VLMPolicy, rows: list[Row]) -> float:
    with torch.no_grad():
        scored = policy.score(rows).token_log_prob
    plain = torch.cat([plain_log_probs(policy, row) for row in rows])
    return float((scored - plain).abs().max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_are_those_of_a_plain_forward_over_the_same_ids(
    layout: str, family: str, observe: Observe, adapted: MakePolicy, request: pytest.FixtureRequest
) -> None:
    policy = adapted(request.getfixturevalue(family), layout=layout, temperature=0.8)
    _, rows = play(policy, observe)
    assert gap_to_plain(policy, rows) <= 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_that_stays_is_told_once_and_sampled_as_it_is_scored(
    family: str,
    observe: Observe,
    adapted: MakePolicy,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def still(slot: int, turn: int) -> Observation:
        seen = observe(slot, turn)
        return replace(seen, image=observe(slot, turn // 3).image, text=f"turn {turn}")

    policy = adapted(request.getfixturevalue(family), layout="news", temperature=0.8)
    begun: list[int] = []
    begin = VLMSession._start_anew
    monkeypatch.setattr(
        VLMSession, "_start_anew", lambda self, slots: (begun.append(1), begin(self, slots))
    )
    session = policy.session([EpisodeKey(7, slot) for slot in (0, 1)])
    said: dict[int, list[Reply]] = {0: [], 1: []}
    for turn in range(5):  # slot 0 stays ahead by a turn: its image changes when 1's does not
        slots = (0, 1) if turn < 3 else (1,)
        for slot, reply in session.reply({s: still(s, turn + 1 - s) for s in slots}).items():
            said[slot].append(reply)
    replies, rows = [*said[0], *said[1]], [*session.rows(0), *session.rows(1)]
    assert len(begun) == 1  # the cache lives across turns
    shown = [[bool(vision) for vision in row.vision] for row in rows]
    assert shown == [[True, False, True], [True, False, False, True, False]]
    assert gap_to_plain(policy, rows) <= 1e-4
    with torch.no_grad():
        scored = policy.score(rows).token_log_prob.tolist()
    sampled = [
        value
        for reply in replies
        for value, kind in zip(reply.log_probs, reply.segment, strict=True)
        if kind != Segment.CONTEXT
    ]
    assert scored == pytest.approx(sampled, abs=1e-4)


def hidden_column(ids: Tensor, mask: Tensor, output: Callable[[Tensor], Tensor]) -> Tensor:
    mask = mask.clone()
    mask[:, 5] = 0  # one real column is hidden while scoring
    return output(mask)


def late_column(ids: Tensor, mask: Tensor, output: Callable[[Tensor], Tensor]) -> Tensor:
    return output(mask).roll(1, dims=1)  # states are read one column off


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fault", [hidden_column, late_column])
def test_an_error_of_one_column_in_scoring_is_seen(
    layout: str,
    fault: Callable[..., Tensor],
    llava_folder: Path,
    observe: Observe,
    adapted: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = adapted(llava_folder, layout=layout)
    _, rows = play(policy, observe)
    sound = Backbone.hidden

    def hidden(self: Backbone, ids: Tensor, mask: Tensor, start: Tensor, **rest: Any):
        state = fault(ids, mask, lambda shown: sound(self, ids, shown, start, **rest)[0])
        return state, start

    monkeypatch.setattr(Backbone, "hidden", hidden)
    assert gap_to_plain(policy, rows) > 1e-2


def contexts(policy: VLMPolicy, rows: list[Row]) -> list[str]:
    """What stands before each row's last reply, images left out."""
    tokenizer = policy.chat.vocabulary.tokenizer
    last = [row.state_at[row.num_decisions - 1] + 1 for row in rows]
    texts = [tokenizer.decode(row.input_ids[:end]) for row, end in zip(rows, last, strict=True)]
    return [text.replace("<image>", "") for text in texts]


def test_a_rewritten_prompt_holds_the_replies_and_the_present_image_alone(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, layout="rewritten")
    said = [format_reply({"number": str(n)}, "so", "shelf 2") for n in range(3)]
    seen = [observe(1, turn) for turn in range(3)]  # says "look " 1, 3 and 1 times
    rows = list(policy.rows_of_episode(seen, said))
    assert [row.num_decisions for row in rows] == [1, 1, 1]
    assert [len(row.state_at) for row in rows] == [1, 1, 2]
    assert rows[-1].state_at[-1] == len(rows[-1].input_ids) - 1
    assert [len(row.vision) for row in rows] == [1, 1, 1]
    history = f"Step 1: look \nReply 1: {said[0]}\nStep 2: look look look \nReply 2: {said[1]}\n"
    first, _, last = contexts(policy, rows)
    assert last == first.replace("Find it!\n", f"Find it!\n{history}")
    played, sampled = play(policy, observe)
    prompt = contexts(policy, sampled)[-1]
    assert all(f"Reply {n}: {reply.text}\n" in prompt for n, reply in enumerate(played[1:3], 1))


def test_a_shortened_history_is_the_same_to_all_who_write_it(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, layout="rewritten", history_length=1)
    replies, rows = play(policy, observe, turns=4)
    assert [reply.steps_left_out for reply in replies] == [0, 0, 0, 1, 2]
    acted = contexts(policy, rows[1:])
    said, seen = [reply.text for reply in replies[1:]], [observe(1, turn) for turn in range(4)]
    assert f"\nStep 1 is left out.\nStep 2: look look look \nReply 2: {said[1]}\n" in acted[2]
    assert f"\nSteps 1-2 are left out.\nStep 3: look \nReply 3: {said[2]}\n" in acted[3]
    assert contexts(policy, list(policy.rows_of_episode(seen, said))) == acted
    turns = turns_of("rewritten", seen, said, thought=True, history_length=1)
    taught = [
        policy.row_of_turns([TaughtTurn(image=turn.image, text=turn.text, reply="so")])
        for turn in turns
    ]
    assert contexts(policy, taught) == acted


def test_without_history_the_rows_do_not_know_what_came_before(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, layout="none")
    said = [format_reply({"number": str(n)}, "so", "shelf 2") for n in range(2)]
    later = policy.rows_of_episode([observe(1, 0), observe(1, 1)], said)[1]
    (alone,) = policy.rows_of_episode([observe(1, 1)], said[1:])
    assert later.input_ids == alone.input_ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_episode_has_a_flow_before_each_decision_and_at_its_end(
    layout: str, llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, layout=layout)
    _, rows = play(policy, observe)
    head = policy.flow_head
    assert head is not None
    torch.nn.init.normal_(head.output.weight)
    with torch.no_grad():
        flow = policy.score(rows).flow
        expected = []
        for row in rows:
            vision: dict[str, Any] = policy.backbone.merge(row.vision)
            hidden = policy.model(
                input_ids=torch.tensor([row.input_ids]), output_hidden_states=True, **vision
            ).hidden_states[-1][0]
            # the last context token before each reply, and the last token of the episode
            decisions = [d for d in row.decision_of if d >= 0]
            first = [row.decision_of.index(d) - 1 for d in sorted(set(decisions))]
            expected.append(head(hidden[[*first, *([-1] if row.ends_episode else [])]]))
    assert flow is not None
    assert len(flow) == (1 + 1) + (3 + 1)
    torch.testing.assert_close(flow, torch.cat(expected), atol=1e-4, rtol=1e-4)
