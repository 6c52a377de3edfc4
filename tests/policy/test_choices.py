"""Probabilities of what could have been said, against rows written by another hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gflowvlm.batch import Row
from gflowvlm.episode import Decision, Observation, Reply, ReplyProblem, Segment
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.choices import action_log_probs
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import parse_reply

WORDS = ("shelf 1", "shelf 11", "shelf 2")


@pytest.fixture(params=["llava_folder", "qwen_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def saying(word: str) -> str:
    return f'{{"number": "3", "thoughts": "say \\"action\\":", "action": "{word}"}}'


def decision(row: Row, index: int, text: str, observation: Observation) -> Decision:
    """The decision as a session would have recorded it."""
    start = row.state_at[index] + 1
    end = max(p for p, d in enumerate(row.decision_of) if d == index) + 1
    parsed = parse_reply(text, observation.legal_actions)
    reply = Reply(
        text=text,
        token_ids=row.input_ids[start:end],
        segment=tuple(Segment(s) for s in row.segment[start:end]),
        log_probs=(0.0,) * (end - start),
        action=parsed.action,
        problem=parsed.problem,
    )
    return Decision(observation=observation, reply=reply, reward=0.0)


MUTE = '{"number": "3"}'


@pytest.mark.parametrize("before", [saying("shelf 2"), MUTE], ids=["spoken", "mute"])
@pytest.mark.parametrize("taken", ["shelf 11", "lamp"])
def test_a_free_reply_is_weighed_against_the_other_legal_actions(
    taken: str,
    before: str,
    folder: Path,
    adapted: Callable[..., VLMPolicy],
    observe: Callable[..., Observation],
) -> None:
    policy = adapted(folder)
    seen = [observe(0, turn) for turn in range(3)]
    texts = [before, saying(taken), saying("shelf 1")]
    (row,) = policy.rows_of_episode(seen, texts)
    said = [decision(row, turn, texts[turn], seen[turn]) for turn in range(3)]
    _, found, _ = action_log_probs(policy, [row], said, rows_per_pass=2)
    assert found is not None
    # The same history ending in each word, written anew; what stands before the word cancels.
    rows = [policy.rows_of_episode(seen[:2], [texts[0], saying(word)])[0] for word in WORDS]
    with torch.no_grad():
        anew = torch.stack([policy.score([r]).action_log_prob[1] for r in rows]).double()
    assert found.log_softmax(-1).tolist() == pytest.approx(anew.log_softmax(-1).tolist(), abs=1e-4)
    assert len({round(value, 2) for value in found.tolist()}) == 3  # flat values would hide errors
    assert found.exp().sum() < 1
    if taken in WORDS:  # its own log-prob: that of the sampled tokens from the word's on
        with torch.no_grad():
            scores = policy.score([row])
        tokens = scores.token_log_prob[scores.token_decision == 1]
        ids = row.input_ids[row.state_at[1] + 1 :][: len(tokens)]
        word = texts[1].index(f'"{taken}"')
        first = sum(
            len(policy.rules.vocabulary.decode(ids[: n + 1])) <= word for n in range(len(ids))
        )
        assert found[1].item() == pytest.approx(tokens[first:].sum().item(), abs=1e-4)


def test_a_constrained_reply_has_all_its_probability_on_the_legal_actions(
    folder: Path, adapted: Callable[..., VLMPolicy], observe: Callable[..., Observation]
) -> None:
    policy = adapted(folder, actions="constrained", thought=False)
    session = policy.session([EpisodeKey(0, 0)])
    seen = [observe(0, turn) for turn in range(2)]
    replies = [session.reply({0: observation})[0] for observation in seen]
    chosen = [
        Decision(observation=observation, reply=reply, reward=0.0)
        for observation, reply in zip(seen, replies, strict=True)
    ]
    for found, reply in zip(
        action_log_probs(policy, session.rows(0), chosen), replies, strict=True
    ):
        assert found is not None
        assert found.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
        assert reply.action is not None
        assert found[reply.action].item() == pytest.approx(sum(reply.log_probs), abs=1e-4)


def test_a_reply_without_an_action_has_no_probabilities(
    llava_folder: Path, adapted: Callable[..., VLMPolicy], observe: Callable[..., Observation]
) -> None:
    policy, seen = adapted(llava_folder), observe(0, 0)
    (row,) = policy.rows_of_episode([seen], [MUTE])
    mute = decision(row, 0, MUTE, seen)
    assert mute.reply.problem is ReplyProblem.NO_ACTION
    assert action_log_probs(policy, [row], [mute]) == [None]
