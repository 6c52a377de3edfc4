"""What trains, what stays, and what lies in a folder afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForImageTextToText

from gflowvlm.batch import Row
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.policy.adapters import decoder_linears
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]


def rows_of(policy: VLMPolicy, observe: Observe) -> list[Row]:
    session = policy.session([EpisodeKey(0, 0), EpisodeKey(0, 1)])
    for turn in range(2):
        session.reply({slot: observe(slot, turn) for slot in (0, 1)})
    return [*session.rows(0), *session.rows(1)]


def log_probs(policy: VLMPolicy, rows: list[Row], *, reference: bool = False) -> Tensor:
    with torch.no_grad():
        scores = policy.score_reference(rows) if reference else policy.score(rows)
    return scores.token_log_prob


def train_one_step(policy: VLMPolicy, rows: list[Row]) -> None:
    parameters = [p for group in policy.parameter_groups().values() for p in group]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    scores = policy.score(rows)
    assert scores.flow is not None
    (-scores.token_log_prob.mean() + (scores.flow - 1).square().mean()).backward()
    optimizer.step()


@pytest.mark.parametrize("with_start", [False, True])
def test_the_reference_stays_while_the_adapter_trains(
    with_start: bool, llava_folder: Path, observe: Observe, adapted: MakePolicy, tmp_path: Path
) -> None:
    start = None
    if with_start:
        adapted(llava_folder).save(tmp_path)
        start = tmp_path
    policy = VLMPolicy.from_folder(
        llava_folder, PolicySettings(rank=4, max_reply_tokens=12), start_adapter=start
    )
    rows = rows_of(policy, observe)
    before = log_probs(policy, rows)
    torch.testing.assert_close(log_probs(policy, rows, reference=True), before)
    for _ in range(2):  # a fresh adapter's A has no gradient while B is zero
        train_one_step(policy, rows)
    assert (log_probs(policy, rows) - before).abs().max() > 1e-3
    torch.testing.assert_close(log_probs(policy, rows, reference=True), before)
    trainable = {p for p in policy.model.parameters() if p.requires_grad}
    assert trainable == set(policy.parameter_groups()["adapter"])


def test_a_saved_policy_loads_back(
    llava_folder: Path, observe: Observe, adapted: MakePolicy, tmp_path: Path
) -> None:
    policy = adapted(llava_folder)
    policy.initialise_flow(2.5)
    rows = rows_of(policy, observe)
    train_one_step(policy, rows)
    policy.save(tmp_path)
    fresh = VLMPolicy.from_folder(llava_folder, PolicySettings(rank=4))
    fresh.load(tmp_path)
    with torch.no_grad():
        ours, theirs = policy.score(rows), fresh.score(rows)
    assert torch.equal(ours.token_log_prob, theirs.token_log_prob)
    assert ours.flow is not None
    assert theirs.flow is not None
    assert torch.equal(ours.flow, theirs.flow)


def test_peft_alone_loads_a_saved_policy(
    llava_folder: Path, observe: Observe, adapted: MakePolicy, tmp_path: Path
) -> None:
    policy = adapted(llava_folder)
    row = rows_of(policy, observe)[0]
    policy.save(tmp_path)
    base = AutoModelForImageTextToText.from_pretrained(llava_folder)
    theirs = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    ids, vision = torch.tensor([row.input_ids]), policy.backbone.merge(row.vision)
    with torch.no_grad():
        logits = theirs(input_ids=ids, **vision).logits
        ours = policy.model(input_ids=ids, **vision).logits
    assert torch.equal(logits, ours)


def test_the_adapter_touches_nothing_but_the_decoder(llava_folder: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(llava_folder)
    names = decoder_linears(model)
    assert len(names) == 2 * 7  # layers times q, k, v, o, gate, up, down
    assert all(name.startswith("model.language_model.layers.") for name in names)
    assert len(decoder_linears(model, ["q_proj", "v_proj"])) == 2 * 2


def test_an_unknown_layer_is_named_with_the_known_ones(llava_folder: Path) -> None:
    with pytest.raises(UserError, match=r"\['query'\].*'q_proj'"):
        VLMPolicy.from_folder(llava_folder, PolicySettings(targets=("query",)))


def test_a_start_adapter_of_another_rank_is_refused(
    llava_folder: Path, adapted: MakePolicy, tmp_path: Path
) -> None:
    adapted(llava_folder).save(tmp_path)
    with pytest.raises(UserError, match="has rank 4, the policy asks for 8"):
        adapted(llava_folder, start=tmp_path, rank=8)


def test_an_adapter_of_another_base_is_refused(
    llava_folder: Path, qwen_folder: Path, adapted: MakePolicy, tmp_path: Path
) -> None:
    adapted(llava_folder, targets=("q_proj",)).save(tmp_path)
    with pytest.raises(UserError, match="base it was trained on"):
        adapted(llava_folder).load(tmp_path)
    adapted(qwen_folder).save(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(file.read_text().replace("layers.", "blocks."))
    with pytest.raises(UserError, match="does not fit this base model"):
        adapted(llava_folder, start=tmp_path)


def test_a_policy_of_full_weights_trains_saves_and_loads(
    llava_folder: Path, observe: Observe, tmp_path: Path
) -> None:
    settings = PolicySettings(full_weights=True, max_reply_tokens=12)
    policy = VLMPolicy.from_folder(llava_folder, settings)
    rows = rows_of(policy, observe)
    train_one_step(policy, rows)
    policy.save(tmp_path)
    fresh = VLMPolicy.from_folder(llava_folder, settings)
    fresh.load(tmp_path)
    assert torch.equal(log_probs(policy, rows), log_probs(fresh, rows))
    with pytest.raises(UserError, match="leaves no reference"):
        policy.score_reference(rows)
