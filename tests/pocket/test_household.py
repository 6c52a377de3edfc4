import json
import re

import pytest
import torch
from numpy.random import default_rng
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from gflowvlm.errors import UserError
from gflowvlm.pocket.architecture import build_model, inherit
from gflowvlm.pocket.build import Recipe, tokenizer_of
from gflowvlm.pocket.folder import HOME_FOLDER, MODEL_FOLDER, find_adapter
from gflowvlm.pocket.household import note, notice, obey
from gflowvlm.pocket.naming import (
    each_once,
    find_each,
    kind_of,
    recall,
    spot,
    tell_parts,
    watch,
)
from gflowvlm.pocket.pictures import Pen

WISH = re.compile(r"(?:Of use to|Your wish is to:|Later:) ([^.:]+)[.:]")


def first_wanted(question: str) -> str:
    """What a reader finds in view of the kind that the wish is about."""
    (wish,) = {*WISH.findall(question)}
    seen = re.findall(r"an? ((\w+) \d+)", question.rpartition("you see")[2].partition(".")[0])
    return next((name for name, kind in seen if f" {kind} " in f" {wish} "), "nothing")


def least_of(kind: str, question: str) -> str:
    """What a reader finds in view of a kind: the one of the least number."""
    seen = re.findall(rf"an? ({kind} \d+)", question.rpartition("you see")[2].partition(".")[0])
    return min(seen, key=lambda name: int(name.split()[1]), default="nothing")


def answer(turn) -> str:
    (value,) = json.loads(turn.reply).values()
    return value


def quoted(text: str) -> set[str]:
    return set(re.findall(r'"([^"]+)"', text))


def choices_after(known: set[str], question: str) -> set[str]:
    """What a reader of the prompts so far knows the choices to be."""
    line = question.rpartition("\n")[2]
    if " is one of " in line:
        return quoted(line.partition(" is one of ")[2])
    if " may " not in line:
        return known
    also, _, gone = line.partition("not be ")
    return (known | quoted(also)) - quoted(gone)


@pytest.mark.parametrize("seed", range(6))
def test_a_room_is_told_truly_and_what_is_asked_for_can_be_done(seed: int) -> None:
    known: set[str] = set()
    held = ""
    for turn in obey(Pen(default_rng(seed), 1.0), 40):
        known = choices_after(known, turn.question)
        done = answer(turn)
        assert done in known
        asked = re.search(r"Now ([^.]*)\.", turn.question)
        assert asked
        verb, _, rest = done.partition(" ")
        if verb in ("take", "open", "close", "go"):
            assert asked[1].startswith(verb)
        if verb == "take":
            assert not held
            held = rest.partition(" from ")[0]
            assert kind_of(held) in asked[1]
        if verb == "move":
            assert rest.startswith(f"{held} to ")
            held = ""
    assert any(turn.skill == "obey" for turn in obey(Pen(default_rng(seed), 1.0), 20))


def test_a_watcher_names_what_is_seen_and_nothing_else() -> None:
    named = set()
    for seed in range(10):
        turns = watch(Pen(default_rng(seed), 1.0), 8)
        wanted = re.match(r"Watch for a (\w+)\.", turns[0].question)
        assert wanted
        for turn in turns:
            seen = re.findall(rf"a ({wanted[1]} \d)", turn.question.rpartition("you see")[2])
            assert answer(turn) == (seen[0] if seen else "nothing")
            named.add(bool(seen))
    assert named == {True, False}


def test_of_use_is_what_the_wish_is_about() -> None:
    named = set()
    for seed in range(10):
        turns = spot(Pen(default_rng(seed), 1.0), 8)
        assert len({WISH.findall(turn.question)[0] for turn in turns}) == 1
        for turn in turns:
            assert answer(turn) == first_wanted(turn.question)
            named.add(answer(turn) == "nothing")
    assert named == {True, False}


def test_the_parts_of_an_errand_are_told() -> None:
    deeds = set()
    for turn in tell_parts(Pen(default_rng(0), 1.0), 60):
        thing, deed, place = json.loads(turn.reply).values()
        (errand,) = WISH.findall(turn.question)
        assert f" {thing} " in errand
        assert f" {place} " in f"{errand} "
        done = {"clean": "clean", "heat": "hot|heat", "cool": "cool", "put two": "two"}
        for each, word in done.items():
            assert bool(re.search(rf"\b({word})\b", errand)) == (deed == each)
        deeds.add(deed)
    assert deeds == {"put", "put two", "clean", "heat", "cool", "light"}


@pytest.mark.parametrize("seed", range(6))
def test_notes_are_what_has_been_told(seed: int) -> None:
    known: set[str] = set()
    place, held, useful = "the middle of the room", "nothing", 0
    for turn in note(Pen(default_rng(seed), 1.0), 40):
        known = choices_after(known, turn.question)
        noted_place, noted_held, of_use, done = json.loads(turn.reply).values()
        assert (noted_place, noted_held) == (place, held)
        assert done in known
        if "you see" in turn.question and place != "the middle of the room":
            (wish,) = WISH.findall(turn.question)
            has_it = f" {kind_of(held)} " in f" {wish} "
            assert of_use == ("nothing" if has_it else first_wanted(turn.question))
            useful += of_use != "nothing"
        verb, _, rest = done.partition(" ")
        if verb == "go":
            place = rest.removeprefix("to ")
        elif verb == "take":
            held = rest.partition(" from ")[0]
        elif verb == "move":
            held = "nothing"
    assert useful


@pytest.mark.parametrize("seed", range(6))
def test_what_is_noticed_of_a_kind_is_what_is_seen(seed: int) -> None:
    turns = notice(Pen(default_rng(seed), 1.0, errands=0.5), 40)
    sought = [*json.loads(turns[0].reply).values()][2]
    kind = sought.removeprefix("a ").removesuffix(": nothing")
    found = set()
    for turn in turns:
        told = next(line for line in turn.question.split("\n") if ". Now " in line)
        assert f" {kind} " in told.rpartition(". ")[2]
        _, held, sought, _ = json.loads(turn.reply).values()
        if kind_of(held) == kind:
            assert sought == "nothing"
        elif "you see" in told:
            assert sought == f"a {kind}: {least_of(kind, told)}"
            found.add(sought.endswith("nothing"))
    assert found == {True, False}


def test_each_kind_that_is_asked_for_is_held_against_the_list() -> None:
    found = set()
    for turn in find_each(Pen(default_rng(0), 1.0), 20):
        asked = re.search(r"Which of ([^?]*)\?", turn.question)
        assert asked
        kinds = [each.removeprefix("a ") for each in asked[1].split(", ")]
        least = [least_of(kind, turn.question) for kind in kinds]
        found.update(each == "nothing" for each in least)
        pairs = zip(kinds, least, strict=True)
        assert answer(turn) == ", ".join(f"a {kind}: {name}" for kind, name in pairs)
    assert found == {True, False}


def test_what_was_seen_earlier_is_recalled() -> None:
    seen, earlier = {}, 0
    for turn in recall(Pen(default_rng(1), 1.0), 20):
        told = re.search(r"On the (\w+ \d+), you see (.*)\. Where is the (\w+)\?", turn.question)
        assert told
        place, things, asked = told.groups()
        new = re.findall(r"a (\w+) 1", things)
        earlier += asked not in new
        seen |= dict.fromkeys(new, place)
        assert answer(turn) == seen[asked]
    assert earlier > 5


def test_each_is_named_once_in_the_order_of_the_list() -> None:
    for seed in range(10):
        turns = each_once(Pen(default_rng(seed), 1.0), 40)
        names = re.findall(r"a ([a-z]+ \d+)", turns[0].question)
        kind = re.match(r"Name each (\w+) once", turns[0].question)
        assert kind
        wanted = [n for n in names if kind[1] in ("one", kind_of(n))]
        assert [answer(turn) for turn in turns] == [*wanted, "none"]


def test_a_model_inherits_everything_but_the_tokens_its_parent_did_not_know() -> None:
    tokenizer = tokenizer_of(Recipe(model="pocket-home", corpus_size=400))
    model = build_model(tokenizer, seed=5)
    inherit(model, tokenizer, MODEL_FOLDER)
    parent = AutoModelForImageTextToText.from_pretrained(MODEL_FOLDER)
    known = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    ours, theirs = (m.state_dict()["lm_head.weight"] for m in (model, parent))
    pieces = known("countertop", add_special_tokens=False).input_ids
    assert len(pieces) > 1
    expected = theirs[pieces].mean(0)
    torch.testing.assert_close(ours[tokenizer.convert_tokens_to_ids("countertop")], expected)
    end = known.convert_tokens_to_ids("<|end|>")
    torch.testing.assert_close(ours[tokenizer.convert_tokens_to_ids("<|end|>")], theirs[end])
    torch.testing.assert_close(model.get_input_embeddings().state_dict()["weight"], ours)
    inner = "model.language_model.layers.2.mlp.up_proj.weight"
    torch.testing.assert_close(model.state_dict()[inner], parent.state_dict()[inner])


def test_the_model_for_homes_is_small_and_speaks_their_words_in_few_tokens() -> None:
    assert sum(path.stat().st_size for path in HOME_FOLDER.iterdir()) <= 8_000_000
    AutoModelForImageTextToText.from_pretrained(HOME_FOLDER)
    tokenizer = AutoProcessor.from_pretrained(HOME_FOLDER).tokenizer
    command = "take peppershaker 1 from countertop 12"
    assert len(tokenizer(command, add_special_tokens=False).input_ids) == 7


@pytest.mark.parametrize("model", ["pocket", "gflowvlm/pocket/model", "my/pocket/home", "x/y"])
def test_an_adapter_is_found_for_its_own_model_and_for_foreign_ones(model: str) -> None:
    assert find_adapter("pocket/number_line", model).is_dir()


@pytest.mark.parametrize("model", ["pocket-home", "gflowvlm/pocket/home"])
def test_an_adapter_of_the_other_embedded_model_is_refused(model: str) -> None:
    with pytest.raises(UserError, match=r"adapter of pocket .* expected one of pocket-home"):
        find_adapter("pocket/number_line", model)
    assert find_adapter("pocket/alfworld", model).is_dir()
    with pytest.raises(UserError, match=r"adapter of pocket-home .* expected one of pocket:"):
        find_adapter("pocket/alfworld", "pocket")


def test_the_recipe_makes_the_tokenizer_of_the_model_for_homes() -> None:
    shipped = AutoTokenizer.from_pretrained(HOME_FOLDER)
    assert tokenizer_of(Recipe.of("pocket-home")).get_vocab() == shipped.get_vocab()
