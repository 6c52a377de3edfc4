"""Where actions are bound after a thought, a reply's keys are given and its values sampled."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gflowvlm.episode import ReplyProblem, Segment
from gflowvlm.policy import session
from gflowvlm.policy.vlm import VLMPolicy
from tests.policy.playing import Observe, largest_gap, play

MakePolicy = Callable[..., VLMPolicy]


def speak(policy: VLMPolicy, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every free token of every reply come from `text`; log-probs stay the model's own."""
    script = itertools.cycle(policy.rules.encode(text))
    vocabulary = policy.chat.vocabulary.size
    draw = session.inverse_cdf

    def scripted(logits: Tensor, uniform: Tensor) -> Tensor:
        if logits.shape[1] < vocabulary:
            return draw(logits, uniform)
        return torch.full((len(logits),), next(script))

    monkeypatch.setattr(session, "inverse_cdf", scripted)


@pytest.mark.parametrize("text", ['3"', '3", '])
def test_constrained_actions_after_a_thought_are_scored_as_sampled(
    text: str,
    llava_folder: Path,
    observe: Observe,
    adapted: MakePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = adapted(llava_folder, actions="constrained", max_reply_tokens=40)
    speak(policy, text, monkeypatch)
    played = play(policy, observe)
    assert largest_gap(policy, played) <= 1e-4
    said = [reply for replies in played[0].values() for reply in replies]
    assert all(reply.problem is None for reply in said)
    assert {reply.text for reply in said} <= {
        f'{{"number": "3", "thoughts": "3", "action": "{word}"}}'
        for word in ("shelf 1", "shelf 11", "shelf 2")
    }
    kinds = [kind for kind, _ in itertools.groupby(said[0].segment)]
    value = [Segment.CONTEXT, Segment.THOUGHT]
    assert kinds == [*value, *value, Segment.CONTEXT, Segment.ACTION]  # what is between is given


def test_a_reply_whose_keys_are_given_is_cut_or_valid(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, actions="constrained", max_reply_tokens=400, temperature=5.0)
    replies, _ = play(policy, observe)
    problems = [reply.problem for said in replies.values() for reply in said]
    assert None in problems
    assert set(problems) <= {None, ReplyProblem.CUT_OFF}


def test_a_given_reply_is_written_as_a_session_would(
    llava_folder: Path, observe: Observe, adapted: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = adapted(llava_folder, actions="constrained", max_reply_tokens=40)
    vocabulary = policy.chat.vocabulary
    whole = policy.rules.encode('3", "thoughts": "3", "action": "')
    end = next(at for at, token in enumerate(whole, 1) if token in vocabulary.with_quote)
    speak(policy, vocabulary.decode(whole[:end]), monkeypatch)  # the text's own tokens
    replies, (sampled, *_) = play(policy, observe, slots=(0,))
    (given,) = policy.rows_of_episode([observe(0, 0)], [replies[0][0].text])
    for part in ("input_ids", "decision_of", "segment", "state_at", "allowed"):
        assert getattr(given, part) == getattr(sampled, part)


def test_a_window_over_columns_is_one_over_tokens(
    llava_next_folder: Path, tmp_path: Path, observe: Observe, adapted: MakePolicy
) -> None:
    folder = tmp_path / "windowed"
    shutil.copytree(llava_next_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    policy = adapted(folder, actions="constrained", max_reply_tokens=40)
    assert largest_gap(policy, play(policy, observe)) <= 1e-4
