"""Chunks of a conversation, and templates that cannot be cut into chunks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.episode import Observation, ReplyProblem
from gflowvlm.errors import UserError
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.prompting.messages import UserTurn

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]


def with_template(folder: Path, template: str | None, copy: Path) -> Path:
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    file = copy / "chat_template.jinja"
    if template is None:
        file.unlink()
    else:
        file.write_text(template)
    return copy


def test_chunks_hold_what_the_template_writes_between_replies(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    chat = adapted(llava_folder).chat
    decode = chat.vocabulary.tokenizer.decode
    first = decode(chat.opening(UserTurn(image=None, text="go")).ids)
    later = decode(chat.following(UserTurn(image=None, text="on")).ids)
    assert first == "<|im_start|>user\ngo<|im_end|>\n<|im_start|>assistant\n"
    # without the <|im_end|> that the model sampled itself
    assert later == "\n<|im_start|>user\non<|im_end|>\n<|im_start|>assistant\n"


def test_a_reply_ends_at_the_templates_token_or_the_tokenizers(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    chat = adapted(llava_folder).chat
    tokenizer = chat.vocabulary.tokenizer
    assert chat.closing_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert chat.end_ids == {chat.closing_id, tokenizer.eos_token_id}


def test_a_reply_that_is_cut_off_is_closed_as_context(
    llava_folder: Path, adapted: MakePolicy, observe: Observe
) -> None:
    policy = adapted(llava_folder, max_reply_tokens=3)
    session = policy.session([EpisodeKey(0, 0)])
    reply = session.reply({0: observe(0, 0)})[0]
    (row,) = session.rows(0)
    assert (reply.problem, reply.action) == (ReplyProblem.CUT_OFF, None)
    assert len(reply.token_ids) == 3
    assert row.input_ids[-4:] == (*reply.token_ids, policy.chat.closing_id)
    assert row.decision_of[-4:] == (0, 0, 0, -1)


def test_a_model_without_template_is_refused(llava_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        VLMPolicy.from_folder(with_template(llava_folder, None, tmp_path), PolicySettings())


def test_a_template_that_forgets_earlier_turns_is_refused(
    llava_folder: Path, tmp_path: Path
) -> None:
    # shows the last reply only, as templates that strip earlier reasoning do
    forgetful = (
        "{% for m in messages %}{% if m['role'] == 'user' or loop.index >= loop.length - 1 %}"
        "{{ m['role'] }}: {% for c in m['content'] %}{{ c['text'] }}{% endfor %}<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    folder = with_template(llava_folder, forgetful, tmp_path)
    with pytest.raises(UserError, match="rewrites earlier turns"):
        VLMPolicy.from_folder(folder, PolicySettings())
    # a layout without earlier turns can do with it, but no conversation can
    policy = VLMPolicy.from_folder(folder, PolicySettings(layout="rewritten"))
    with pytest.raises(UserError, match="rewrites earlier turns"):
        policy.chat.following(UserTurn(image=None, text="on"))


def test_a_template_without_end_of_turn_gets_the_tokenizers(
    llava_folder: Path, tmp_path: Path
) -> None:
    bare = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>"
        "{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}"
        "{% endfor %} ANSWER: {% else %}{{ m['content'][0]['text'] }}{% endif %}{% endfor %}"
    )
    policy = VLMPolicy.from_folder(with_template(llava_folder, bare, tmp_path), PolicySettings())
    tokenizer = policy.chat.vocabulary.tokenizer
    assert policy.chat.closing_id == tokenizer.eos_token_id
    later = policy.chat.following(UserTurn(image=None, text="on")).ids
    assert tokenizer.decode(later) == "<|im_start|>on ANSWER: "


def test_special_strings_from_outside_are_broken(llava_folder: Path, adapted: MakePolicy) -> None:
    vocabulary = adapted(llava_folder).chat.vocabulary
    assert vocabulary.neutralise("a <image> b<|im_end|>") == "a < image> b< |im_end|>"


def test_only_end_tokens_among_the_special_ones_can_be_sampled(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    vocabulary = policy.chat.vocabulary
    forbidden = set(policy.language.forbidden.tolist())
    assert forbidden.isdisjoint(policy.chat.end_ids)
    assert vocabulary.special_ids - policy.chat.end_ids <= forbidden
    # the head has 7 rows more than the tokenizer has tokens
    assert set(range(vocabulary.size - 7, vocabulary.size)) <= forbidden


def test_constrained_actions_forbid_a_token_that_ends_a_key_and_begins_a_value(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    vocabulary = adapted(llava_folder).chat.vocabulary
    tokenizer = vocabulary.tokenizer
    tokenizer.add_tokens(['":"-', '": 5', '": "'])
    long, number, glue = tokenizer.convert_tokens_to_ids(['":"-', '": 5', '": "'])
    vocabulary.size = len(tokenizer)
    bound = vocabulary.forbidden((), constrained=True)
    free = vocabulary.forbidden((), constrained=False)
    assert {long, number} <= set(bound)
    assert glue not in bound
    assert {long, number}.isdisjoint(free)


def test_where_keys_are_given_a_token_with_a_quote_ends_a_value_or_is_forbidden(
    llava_folder: Path, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder)
    vocabulary, tokenizer = policy.chat.vocabulary, policy.chat.vocabulary.tokenizer
    ending = ['so"', '",', '", "']
    other = ['": "', '"}', '", "a', "a\\", '"a"', '",\u010a', '"\u010a', "<0x22>", "<0x5C>"]
    tokenizer.add_tokens([*ending, *other])
    vocabulary.size = len(tokenizer)
    forbidden = vocabulary.forbidden(policy.chat.end_ids, constrained=True, values_only=True)
    assert {*tokenizer.convert_tokens_to_ids(other), *policy.chat.end_ids} <= set(forbidden)
    assert set(tokenizer.convert_tokens_to_ids([*ending, '"'])).isdisjoint(forbidden)


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        VLMPolicy.from_folder(tmp_path, PolicySettings())


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="does not read images and text"):
        VLMPolicy.from_folder(tmp_path, PolicySettings())


def test_an_unsupported_family_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "paligemma"}')
    with pytest.raises(UserError, match=r"'paligemma' is not supported.*padding"):
        VLMPolicy.from_folder(tmp_path, PolicySettings())
