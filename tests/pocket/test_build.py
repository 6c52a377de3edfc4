import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from gflowvlm.errors import UserError
from gflowvlm.pocket import build as building
from gflowvlm.pocket.architecture import PAD, build_processor, token_id
from gflowvlm.pocket.build import Recipe, Training, build, tokenizer_of
from gflowvlm.pocket.card import exact_replies
from gflowvlm.pocket.curriculum import GAMES
from gflowvlm.pocket.encode import collate, encode, positions
from gflowvlm.pocket.folder import MODEL_FOLDER
from gflowvlm.pocket.loss import last_hidden, reply_loss
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.saying import say_size
from gflowvlm.pocket.seeing import compare, compare_given, read_numbers
from gflowvlm.pocket.skills import COMPARING, FIRST_WORDS, SKILLS, converse
from gflowvlm.pocket.words import SIZES

TINY = Recipe(steps=2, revisions=2, revision_steps=1, corpus_size=60, save_every=2)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(TINY)


def test_digits_and_json_glue_are_single_tokens(tokenizer) -> None:
    ids = tokenizer('{"left number": "37", "action": "go"}', add_special_tokens=False).input_ids
    pieces = [tokenizer.decode([i]) for i in ids]
    assert pieces[:1] == ['{"']
    assert [p for p in pieces if p.isdigit()] == ["3", "7"]
    assert '": "' in pieces
    assert pieces[-1] == '"}'


def test_any_text_comes_back_from_its_tokens(tokenizer) -> None:
    text = 'Zw\u00f6lf "\u00b5" = 12 \t\u2192 ok'
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text


def test_training_sees_the_ids_and_pixels_that_the_processor_gives(tokenizer) -> None:
    turn = compare(Pen(default_rng(0), 1.0), 1)[0]
    processor: Any = build_processor(tokenizer)
    content = [{"type": "image"}, {"type": "text", "text": turn.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    given = processor(images=[turn.image], text=text, return_tensors="pt")
    row = encode([turn], tokenizer)
    ids = given["input_ids"][0].tolist()
    assert row.ids[: len(ids)] == ids
    assert not any(row.learned[: len(ids)])
    assert all(row.learned[len(ids) :])
    ours = collate([row], token_id(tokenizer, PAD), None)["pixel_values"]
    torch.testing.assert_close(ours, given["pixel_values"], atol=1e-5, rtol=0)
    assert ours.max() == 0.0  # white


def test_plus_and_minus_are_answers_to_their_names_alone() -> None:
    rng = default_rng(3)
    for talk in (*SKILLS, *COMPARING, *FIRST_WORDS, converse):
        for _ in range(40):
            for turn in talk(Pen(rng, 1.0), 2):
                try:
                    fields = json.loads(turn.reply)
                except json.JSONDecodeError:
                    continue
                if isinstance(fields, dict) and not {"+", "-"}.isdisjoint(fields.values()):
                    assert fields["thoughts"] in ("plus", "minus")


def test_a_slip_is_given_not_learned_and_the_answer_follows_it(tokenizer) -> None:
    sizes = {"smaller": 0, "larger": 1}
    slips = []
    for talk in (compare, compare_given, say_size):
        for turn in talk(Pen(default_rng(4), 1.0, slips=0.5), 40):
            *_, thought, answer = json.loads(turn.reply).values()
            pair = next(pair for pair in SIZES if answer in pair)
            assert pair[sizes[thought.split()[-1]]] == answer
            row = encode([turn], tokenizer)
            learned = tokenizer.decode(
                [i for i, kept in zip(row.ids, row.learned, strict=True) if kept]
            )
            assert turn.given + learned == f"{turn.reply}<|end|>"
            slips.append(thought in turn.given)
    assert 0.3 < np.mean(slips) < 0.7


def test_numbers_that_are_given_are_compared_and_linger() -> None:
    for seed in range(20):
        pairs = []
        for turn in compare_given(Pen(default_rng(seed), 1.0, lingers=1.0), 30):
            *said, thought, _ = json.loads(turn.reply).values()
            first, second = map(int, said)
            assert thought.endswith("smaller" if first < second else "larger")
            assert turn.image is None
            assert turn.given.endswith(f'"{second}')  # the thought and the answer are learned
            pairs.append((first, second))
        moves = np.abs(np.diff(pairs, axis=0))
        assert moves.sum(1).max() <= 2
        assert (np.diff(pairs) != 0).all()
    independent = [json.loads(t.reply) for t in compare_given(Pen(default_rng(0), 1.0), 30)]
    values = [int(next(iter(each.values()))) for each in independent]
    assert np.abs(np.diff(values)).max() > 2


def test_positions_leap_between_turns_and_never_within_one(tokenizer) -> None:
    row = encode(converse(Pen(default_rng(1), 1.0), 6), tokenizer)
    leapt = False
    for seed in range(8):
        places = positions(row, default_rng(seed))
        steps = np.diff(places)
        assert (steps >= 1).all()
        within = [i for i in range(len(steps)) if i + 1 not in row.starts]
        assert (steps[within] == 1).all()
        leapt |= bool((steps > 1).any())
    assert leapt


@torch.no_grad()
def test_a_row_is_read_as_a_whole_and_as_if_it_stood_alone() -> None:
    model = LlavaForConditionalGeneration.from_pretrained(MODEL_FOLDER)
    tokenizer = AutoProcessor.from_pretrained(MODEL_FOLDER).tokenizer
    rows = [encode(say_size(Pen(default_rng(turns), 1.0), turns), tokenizer) for turns in (2, 6)]
    batch = collate(rows, token_id(tokenizer, PAD), default_rng(2))
    assert any(
        (positions.diff()[: len(row.ids) - 1] > 1).any()
        for positions, row in zip(batch["position_ids"], rows, strict=True)
    )
    together = last_hidden(model, batch)
    for number, row in enumerate(rows):
        only = {k: v[number : number + 1, : len(row.ids)] for k, v in batch.items()}
        alone = last_hidden(model, only)
        torch.testing.assert_close(
            together[number : number + 1, : len(row.ids)], alone, atol=1e-4, rtol=1e-4
        )
        only["input_ids"][0, 1] = token_id(tokenizer, PAD)
        assert (last_hidden(model, only)[0, -1] - alone[0, -1]).abs().max() > 1e-3


def test_what_is_left_out_of_the_last_layer_changes_neither_loss_nor_gradient() -> None:
    model = LlavaForConditionalGeneration.from_pretrained(MODEL_FOLDER)
    tokenizer = AutoProcessor.from_pretrained(MODEL_FOLDER).tokenizer
    rows = [encode(say_size(Pen(default_rng(turns), 1.0), turns), tokenizer) for turns in (1, 3)]
    batch = collate(rows, token_id(tokenizer, PAD), default_rng(2))
    loss = reply_loss(model, batch)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    logits = model.lm_head(last_hidden(model, batch)).log_softmax(-1)[:, :-1]
    said = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    whole = -said[batch["learned"][:, 1:]].mean()
    assert loss.item() == pytest.approx(whole.item(), abs=1e-5)
    expected = torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_stages_cover_the_training_and_pictures_spread_without_a_jump_back() -> None:
    spreads = [GAMES.spread_at(step / 1000) for step in range(1000)]
    assert spreads[0] == 0.0
    assert spreads[-1] == 1.0
    assert spreads == sorted(spreads)
    assert GAMES.stage_at(0.999).slips == 0.0
    assert GAMES.stage_at(1.0).slips > 0.0
    assert GAMES.stage_at(1e9) is GAMES.stages[-1]


def test_a_revision_goes_at_its_own_pace(tmp_path: Path) -> None:
    model: Any = torch.nn.Linear(1, 1)
    recipe = Recipe.of("pocket-home")
    rates = []
    for revision in range(recipe.revisions):
        step = recipe.steps + revision * recipe.revision_steps
        begun = Training(model=model, recipe=recipe, state_file=tmp_path / "none", step=step)
        rates.append(begun.optimizer.defaults["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 2e-3, 1.5e-3])


def test_a_build_is_deterministic_and_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(output=tmp_path / "whole", recipe=TINY)
    update, done = building.Training.update, []
    threads = torch.get_num_threads()

    def stop_after_three(self, batch):
        assert torch.get_num_threads() == 1  # any number of cores gives the same sums
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(update(self, batch))
        return done[-1]

    monkeypatch.setattr(building.Training, "update", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        build(output=tmp_path / "parts", recipe=TINY)
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(building.Training, "update", update)
    with pytest.raises(UserError, match="--resume"):
        build(output=tmp_path / "parts", recipe=TINY)
    with pytest.raises(UserError, match=r"model pocket in .*, expected model pocket-home"):
        build(output=tmp_path / "parts", resume=True, recipe=replace(TINY, model="pocket-home"))
    parts = build(output=tmp_path / "parts", resume=True, recipe=TINY)
    a, b = (AutoModelForImageTextToText.from_pretrained(p).state_dict() for p in (whole, parts))
    for name, value in a.items():
        torch.testing.assert_close(value, b[name])


def test_the_embedded_model_is_small_and_loads_with_transformers_alone() -> None:
    size = sum(path.stat().st_size for path in MODEL_FOLDER.iterdir())
    assert size <= 8_000_000
    model = AutoModelForImageTextToText.from_pretrained(MODEL_FOLDER)
    assert 1_000_000 <= sum(p.numel() for p in model.parameters()) <= 3_000_000
    assert AutoProcessor.from_pretrained(MODEL_FOLDER).chat_template


def test_the_embedded_model_reads_pictures_it_never_saw() -> None:
    model = LlavaForConditionalGeneration.from_pretrained(MODEL_FOLDER).eval()
    tokenizer = AutoProcessor.from_pretrained(MODEL_FOLDER).tokenizer
    right: dict[float, list[bool]] = {0.0: [], 1.0: []}
    for spread, marks in right.items():
        for seed in range(6):
            row = encode(read_numbers(Pen(default_rng([5, seed]), spread), 10), tokenizer)
            marks += exact_replies(model, row, token_id(tokenizer, PAD))
    # Two numbers, letter by letter; a reader who guesses would be right once in 10,000.
    assert sum(right[0.0]) / 60 >= 0.9
    assert sum(right[1.0]) / 60 >= 0.5
