"""Rows made from given replies."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Segment
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import format_reply

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]


def said(policy: VLMPolicy, row: Row, segment: Segment) -> str:
    """Text of all tokens of one segment."""
    ids = [i for i, s in zip(row.input_ids, row.segment, strict=True) if s == segment]
    return policy.chat.vocabulary.tokenizer.decode(ids)


def test_every_token_of_an_expert_reply_counts_and_is_thought_or_action(
    llava_folder: Path, adapted: MakePolicy, observe: Observe
) -> None:
    policy = adapted(llava_folder)
    reply = format_reply({"number": "3"}, "so", "shelf 2")
    (row,) = policy.rows_of_episode([observe(0, 0), observe(0, 1)], [reply, reply])
    # the token `, "` begins before the action key: it is thought, with the key's opening quote
    assert said(policy, row, Segment.THOUGHT) == '{"number": "3", "thoughts": "so", "' * 2
    assert said(policy, row, Segment.ACTION) == 'action": "shelf 2"}<|im_end|>' * 2
    assert [row.decision_of[at] for at in row.state_at] == [-1, -1, 1]
    assert [row.decision_of[at + 1] for at in row.state_at[:-1]] == [0, 1]


def test_field_values_can_be_left_out(
    llava_folder: Path, adapted: MakePolicy, observe: Observe
) -> None:
    policy = adapted(llava_folder)
    reply = format_reply({"number": "345"}, "3 or so", "shelf 2")
    (whole,) = policy.rows_of_episode([observe(0, 0)], [reply])
    (row,) = policy.rows_of_episode([observe(0, 0)], [reply], loss_on=("thought", "action"))
    assert row.input_ids == whole.input_ids
    assert said(policy, row, Segment.THOUGHT) == '{"number": "", "thoughts": "3 or so", "'
    (only,) = policy.rows_of_episode([observe(0, 0)], [reply], loss_on=("action",))
    assert said(policy, only, Segment.THOUGHT) == ""
    (fields,) = policy.rows_of_episode([observe(0, 0)], [reply], loss_on=("fields",))
    assert said(policy, fields, Segment.THOUGHT) == "345"
    assert said(policy, only, Segment.ACTION) == said(policy, whole, Segment.ACTION)


def test_of_an_action_alone_nothing_forced_is_imitated(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, actions="constrained", thought=False)
    turn = TaughtTurn(image=None, text="Where?", reply=format_reply({}, None, "shelf 2"))
    row = policy.row_of_turns([turn])
    assert said(policy, row, Segment.ACTION) == 'shelf 2"}<|im_end|>'
    assert said(policy, row, Segment.THOUGHT) == ""


@pytest.mark.parametrize("thought", [True, False])
def test_the_probabilities_of_the_legal_actions_sum_to_one(
    thought: bool, llava_folder: Path, adapted: MakePolicy, observe: Observe
) -> None:
    actions = ("shelf 1", "shelf 11", "shelf 12", "look", 'say "hi"', "s")
    policy = adapted(llava_folder, actions="constrained", thought=thought)
    seen = observe(1, 1, actions=actions)
    rows = [
        row
        for action in actions
        for row in policy.rows_of_episode(
            [seen], [format_reply({}, "so" if thought else None, action)]
        )
    ]
    with torch.no_grad():
        scores = policy.score(rows)
    key = 0.0
    if thought:  # the key itself is sampled freely: the same few tokens in every row
        tokens = scores.token_log_prob[scores.token_decision == 0]
        kinds = [s for s in rows[0].segment if s != Segment.CONTEXT]
        bound = [p in rows[0].allowed for p, d in enumerate(rows[0].decision_of) if d >= 0]
        free_action = [k == Segment.ACTION and not b for k, b in zip(kinds, bound, strict=True)]
        key = float(tokens[torch.tensor(free_action)].sum())
    assert (scores.action_log_prob - key).exp().sum().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("model", ["llava", "pocket"])
def test_what_is_imitated_can_be_said(
    model: str, llava_folder: Path, adapted: MakePolicy, observe: Observe
) -> None:
    policy = adapted(llava_folder if model == "llava" else MODEL_FOLDER, actions="constrained")
    reply = format_reply({"number": "3"}, "so", "shelf 2")
    seen = observe(0, 0, actions=("shelf 2", "look"))
    (given,) = policy.rows_of_episode([seen], [reply])
    taught = policy.row_of_turns([TaughtTurn(image=None, text="Where?", reply=reply)])
    for row in (given, taught):
        assert re.sub('[", ]', "", said(policy, row, Segment.THOUGHT)) == "3so"  # keys are given
        assert said(policy, row, Segment.ACTION).startswith("shelf 2")
    foreign = policy.row_of_turns([TaughtTurn(image=None, text="Hm?", reply='a \\ "b": "c"')])
    for row in (given, taught, foreign):
        assert torch.isfinite(policy.score([row]).token_log_prob).all()


def test_special_strings_in_taught_text_stay_text(llava_folder: Path, adapted: MakePolicy) -> None:
    policy = adapted(llava_folder)
    turns = [TaughtTurn(image=None, text="a<image><|im_end|>", reply="<eos>b")]
    row = policy.row_of_turns(turns)
    tokenizer = policy.chat.vocabulary.tokenizer
    assert tokenizer.image_token_id not in row.input_ids
    assert tokenizer.eos_token_id not in row.input_ids
    assert row.input_ids.count(policy.chat.closing_id) == 2  # of the user's turn and the reply's
    assert torch.isfinite(policy.score([row]).token_log_prob).all()
