"""DONE in place of a reply: acted, scored and taught with one and the same probability."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gflowvlm.episode import Observation, Segment
from gflowvlm.errors import UserError
from gflowvlm.policy import session
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.messages import UserTurn
from gflowvlm.prompting.reply import DONE_REPLY

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]

MODES: list[dict[str, Any]] = [
    {"actions": "free", "temperature": 1.5},
    {"actions": "constrained", "thought": False, "temperature": 4.0},
]


def prefer_done(policy: VLMPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say DONE in the second row of a batch wherever it may be said."""
    vocabulary, done, draw = policy.chat.vocabulary.size, policy.rules.done, session.inverse_cdf
    assert done is not None

    def scripted(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        chosen = draw(logits, uniform)
        free = len(chosen) > 1 and logits.shape[1] == vocabulary
        if free and logits[1, done] > -torch.inf:
            chosen[1] = done
        return chosen

    monkeypatch.setattr(session, "inverse_cdf", scripted)


def play(policy: VLMPolicy, observe: Observe, slots: int) -> tuple[Any, Any]:
    """Up to three turns; images of two shapes, so of different numbers of tiles."""
    opened = policy.session([EpisodeKey(3, slot) for slot in range(slots)])
    live, said = list(range(slots)), {slot: [] for slot in range(slots)}
    for turn in range(3):
        shape = (32, 64) if turn == 1 else (48, 48)
        replies = opened.reply({slot: observe(slot, turn, size=shape) for slot in live})
        for slot, reply in replies.items():
            said[slot].append(reply)
        live = [slot for slot in live if not replies[slot].done]
    return said, [opened.rows(slot)[0] for slot in range(slots)]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_done_ends_an_episode_with_the_probability_that_scoring_gives(
    mode: dict[str, Any],
    llava_next_folder: Path,
    observe: Observe,
    adapted: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = adapted(llava_next_folder, done=True, max_reply_tokens=6, **mode)
    if mode["actions"] == "free":
        prefer_done(policy, monkeypatch)
    said, rows = play(policy, observe, 6)
    with torch.no_grad():
        scores, reference = policy.score(rows), policy.score_reference(rows)
    replies = [reply for slot in said.values() for reply in slot]
    sampled = [
        p
        for r in replies
        for p, segment in zip(r.log_probs, r.segment, strict=True)
        if segment != Segment.CONTEXT
    ]
    torch.testing.assert_close(scores.token_log_prob, torch.tensor(sampled), atol=1e-4, rtol=0)
    done = [i for i, reply in enumerate(replies) if reply.done]
    assert done
    assert len(done) < len(replies)
    assert all(len(replies[i].token_ids) == 1 for i in done)  # nowhere but in place of a reply
    assert scores.log_p_done is not None
    # where DONE was said, its probability is the reply's own; elsewhere it is left to the others
    said_done = scores.log_p_done[done]
    torch.testing.assert_close(said_done, scores.action_log_prob[done], atol=1e-6, rtol=0)
    assert not scores.thought_log_prob[done].any()
    assert bool(scores.log_p_done.isfinite().all())
    assert reference.log_p_done is not None
    assert not torch.allclose(reference.log_p_done, scores.log_p_done)


def test_first_tokens_and_done_share_one_distribution(
    llava_next_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_next_folder, done=True, actions="constrained", thought=False)
    _, rows = play(policy, observe, 1)
    with torch.no_grad():
        scores = policy.score(rows)
    assert scores.log_p_done is not None
    first = scores.token_log_prob[scores.token_decision == 0][0]
    if rows[0].input_ids[rows[0].state_at[0] + 1] != policy.rules.done:
        both = first.exp() + scores.log_p_done[0].exp()
        assert both.item() == pytest.approx(1.0, abs=1e-5)  # of DONE and the forced opening
    else:
        assert first.item() == pytest.approx(scores.log_p_done[0].item(), abs=1e-6)


def test_without_done_the_token_stays_forbidden(
    llava_next_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_next_folder, max_reply_tokens=4)
    said, rows = play(policy, observe, 2)
    assert not any(reply.done for slot in said.values() for reply in slot)
    assert policy.score(rows).log_p_done is None


def test_a_taught_done_is_one_token_and_nothing_after_it(
    llava_next_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    image = observe(0, 0).image
    turns = [
        TaughtTurn(image=image, text="go", reply='{"action": "a"}'),
        TaughtTurn(image=image, text="", reply=DONE_REPLY),
    ]
    policy = adapted(llava_next_folder, done=True)
    row = policy.row_of_turns(turns)
    word = policy.chat.vocabulary.tokenizer.convert_ids_to_tokens(row.input_ids[-1])
    assert word == "<unk>"
    assert (row.decision_of[-1], row.segment[-1]) == (1, Segment.ACTION)
    with pytest.raises(UserError, match="done_share above 0"):
        adapted(llava_next_folder).row_of_turns(turns)


def test_a_model_without_a_spare_token_is_told_so(llava_folder: Path, adapted: MakePolicy) -> None:
    with pytest.raises(UserError, match=r"no special token without a duty.*policy\.done_token"):
        adapted(llava_folder, done=True)


def test_a_token_with_a_duty_is_refused(llava_next_folder: Path, adapted: MakePolicy) -> None:
    with pytest.raises(UserError, match=r"found '<image>' for DONE, expected one of .*<unk>"):
        adapted(llava_next_folder, done=True, done_token="<image>")


def test_the_template_of_llava_16_is_cut_at_its_misspelt_end(
    llava_next_folder: Path, adapted: MakePolicy
) -> None:
    chat = adapted(llava_next_folder).chat
    later = chat.following(UserTurn(image=None, text="on"))
    assert chat.vocabulary.tokenizer.decode(later.ids) == " [INST] on [/INST]"
    assert chat.closing_id == chat.vocabulary.tokenizer.eos_token_id
