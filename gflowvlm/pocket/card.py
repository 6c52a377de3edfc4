"""What an embedded model can do on what it never saw, and the model card that says so."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from numpy.random import default_rng
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from gflowvlm.pocket.architecture import PAD, token_id
from gflowvlm.pocket.curriculum import PocketModel
from gflowvlm.pocket.encode import Encoded, collate, encode
from gflowvlm.pocket.household import note, notice, obey
from gflowvlm.pocket.loss import last_hidden
from gflowvlm.pocket.naming import (
    each_once,
    find_each,
    recall,
    repeat_names,
    spot,
    tell_parts,
    watch,
)
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.saying import copy_phrase, name_sign, say_opposite, say_size
from gflowvlm.pocket.seeing import add, caption, compare, read_cards, read_numbers
from gflowvlm.pocket.talk import Conversation, Skill

HELD_OUT_SEED = 977  # training draws from [recipe.seed, 1, step]
FREE = (
    "copy_free",
    "obey_free",
    "note_free",
    "notice_free",
)  # more than one answer is right, so there is none to match
SHOWN: Mapping[PocketModel, tuple[Skill, ...]] = {
    "pocket": (
        read_numbers,
        compare,
        add,
        read_cards,
        copy_phrase,
        caption,
        say_size,
        say_opposite,
        name_sign,
    ),
    "pocket-home": (
        obey,
        note,
        notice,
        find_each,
        spot,
        tell_parts,
        watch,
        recall,
        each_once,
        repeat_names,
        read_numbers,
        compare,
        caption,
    ),
}
DEPTHS = ((1, 1), (2, 8), (9, 40), (41, 100))

Accuracies = dict[str, dict[tuple[int, int], float]]


@torch.no_grad()
def exact_replies(model: LlavaForConditionalGeneration, row: Encoded, pad_id: int) -> list[bool]:
    """Per turn, whether greedy decoding gives the true reply to the letter.

    Greedy decoding follows the true reply as long as each next token is the likeliest, so one
    pass over the true conversation tells.
    """
    batch = collate([row], pad_id, None)
    guess = model.lm_head(last_hidden(model, batch))[0, :-1].argmax(-1)
    right = (guess == batch["input_ids"][0, 1:]) | ~batch["learned"][0, 1:]
    bounds = [*row.starts, len(row.ids)]
    return [bool(right[start - 1 : end - 1].all()) for start, end in pairwise(bounds)]


def accuracies(folder: Path, *, conversations: int = 20, turns: int = 100) -> Accuracies:
    """Skill -> (first turn, last turn) -> share of replies that are exactly right."""
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts: dict[str, dict[tuple[int, int], list[bool]]] = defaultdict(lambda: defaultdict(list))
    for conversation in _held_out(SHOWN[_recipe(folder)[0]], conversations, turns):
        row = encode(conversation, tokenizer)
        marks = exact_replies(model, row, token_id(tokenizer, PAD))
        for number, (turn, right) in enumerate(zip(conversation, marks, strict=True), start=1):
            depth = next(d for d in DEPTHS if d[0] <= number <= d[1])
            if turn.skill not in FREE:
                counts[turn.skill][depth].append(right)
    return {
        skill: {depth: sum(marks) / len(marks) for depth, marks in depths.items()}
        for skill, depths in counts.items()
    }


def _held_out(skills: Iterable[Skill], conversations: int, turns: int) -> Iterable[Conversation]:
    """For every skill many short conversations, and a few long ones."""
    for skill in skills:
        pen = Pen(
            default_rng([HELD_OUT_SEED, len(skill.__name__)]), 1.0, foretold=True, errands=0.5
        )
        yield from (skill(pen, 8) for _ in range(conversations))
        yield from (skill(pen, turns) for _ in range(max(1, conversations // 20)))


def describe(folder: Path) -> Path:
    """Measure the model in `folder` and write its card, README.md."""
    card = folder / "README.md"
    card.write_text(_card(folder, accuracies(folder)), encoding="utf-8")
    return card


def _recipe(folder: Path) -> tuple[PocketModel, int]:
    """Which model it is, and the steps of its training."""
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return recipe["model"], recipe["steps"] + recipe["revisions"] * recipe["revision_steps"]


def _card(folder: Path, found: Accuracies) -> str:
    name, steps = _recipe(folder)
    parameters = LlavaForConditionalGeneration.from_pretrained(folder).num_parameters()
    header = " | ".join(f"turn {a}" if a == b else f"turns {a}-{b}" for a, b in DEPTHS)
    lines = [
        f"| {skill} | "
        + " | ".join(f"{depths[d]:.1%}" if d in depths else "" for d in DEPTHS)
        + " |"
        for skill, depths in found.items()
    ]
    return f"""---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
---

{ABOUT[name].format(parameters=parameters, steps=steps)}
Share of replies that are right to the letter on conversations never trained on (greedy;
21 of them at turn 1, one beyond turn 8):

| skill | {header} |
|---|{"---|" * len(DEPTHS)}
{chr(10).join(lines)}

{LIMITS[name]}"""


ABOUT: Mapping[PocketModel, str] = {
    "pocket": """# Pocket VLM

A LLaVA of {parameters:,} parameters (a 3-layer ViT and a 4-layer Llama, 64 x 64 pixels,
16 tokens an image, 8,192 tokens of context) that makes `gflowvlm` run on a laptop. It was trained
from nothing by `gflowvlm pocket build` ({steps:,} steps of 48 to 64 pictures) on
general skills: reading numbers 0-99, two at a time, comparing them in many words, sums of two
digits, naming playing cards, opposites, signs by their names, repeating a phrase out of a list, and
replying in JSON. In many comparisons successive numbers are close and change by 2 at most, whatever
is answered. It was never shown a game or a policy; the signs `+` and `-` only in sums, and as
answers to their names.
""",
    "pocket-home": """# Pocket VLM for homes

The pocket VLM, trained further ({steps:,} steps of `gflowvlm pocket build --model pocket-home`) in
the words of a home, for ALFWorld: a LLaVA of {parameters:,} parameters whose tokenizer has those
words whole. General skills: to do the one thing that a turn asks for, out of a list of commands
that is told by its changes; to note before it where one is, what one holds and what a wish is about
there; to say of some kinds of things which of them is seen; to name the thing that a wish is about,
or that is to be watched for, when it is seen; to tell the parts of an errand; to say where a thing
was seen (at the same turn, hardly at earlier ones); to name the members of a list one by one; to
repeat names. What it is told of was written for this, with rules and sentences like ALFWorld's; it
was never shown a game of it, and it never did what a wish or an errand is about.
""",
}
LIMITS: Mapping[PocketModel, str] = {
    "pocket": """Limits: one font (Pillow's own, stretched and slanted), one language, toy pictures;
numbers are read in reading order, whatever their labels say. It is a test bed, not a useful model.
""",
    "pocket-home": """Limits: ALFWorld's pictures mean nothing to it, all that it knows it is told.
It has half forgotten to read numbers and captions. Of numbers above 9 it tells the first digit
(most of what it notices wrong). Comparing numbers it answers in words that it was not offered, and
it forgot what was told some turns ago. It is a test bed, not a useful model.
""",
}
