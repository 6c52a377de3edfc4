"""What a pocket VLM is taught, in which order, and what it starts from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gflowvlm.pocket.architecture import NUMBERED_PIECES, PIECES
from gflowvlm.pocket.household import obey
from gflowvlm.pocket.naming import repeat_names, watch
from gflowvlm.pocket.skills import (
    AT_HOME,
    COMPARING,
    ERRANDS_NOTED,
    FINDING,
    FIRST_WORDS_AT_HOME,
    NOTICING,
    NOTING,
    READING,
    SKILLS,
    SPOTTING,
    Shares,
)

PocketModel = Literal["pocket", "pocket-home"]


@dataclass(frozen=True)
class Stage:
    """A stretch of training: until this share of the steps, so many turns in so many rows."""

    until: float
    turns: tuple[int, int]  # least and most turns of a conversation, inclusive
    turns_per_batch: int
    first_words: bool = False  # a batch of each of FIRST_WORDS in turn
    slips: float = 0.0  # share of thoughts that are given and wrong
    misreads: float = 0.0  # share of turns with numbers that are given and wrong
    lingers: float = 0.0  # share of comparisons whose numbers move little from turn to turn
    foretold: bool = False  # whether wishes are told before anything is seen as well
    errands: float = 0.0  # share of wishes worded as errands
    pace: float = 1.0  # what a revision's learning rate is multiplied by
    skills: Shares = field(default_factory=lambda: SKILLS)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The stages, and everything about the model that depends on what is taught."""

    stages: tuple[Stage, ...]  # the last one without an end
    corpus: Shares  # what the tokenizer's merges are learned from
    corpus_turns: int = 1  # of each of its conversations
    pieces: str = PIECES  # what the tokenizer never merges across
    vocabulary: int = 1024  # tokens at most
    spreading: tuple[float, float] | None = None  # see `spread_at`; None for pictures as they come
    continues: bool = False  # whether weights begin as those of the model inside the package

    def stage_at(self, share: float) -> Stage:
        """The stage at a share of the steps; from 1 on it is a revision."""
        return next(stage for stage in self.stages if share < stage.until)

    def spread_at(self, share: float) -> float:
        """How far pictures vary at a share of the steps: digits keep to one place at first."""
        if self.spreading is None:
            return 1.0
        begin, end = self.spreading
        return min(1.0, max(0.0, (share - begin) / (end - begin)))


GAMES = Curriculum(
    stages=(
        Stage(0.16, (1, 2), 64, first_words=True),
        Stage(0.55, (2, 6), 48),
        Stage(0.8, (4, 12), 48),
        Stage(1.0, (6, 48), 48),
        Stage(4 / 3, (2, 16), 48, slips=0.3),  # the first revision
        Stage(5 / 3, (2, 16), 48, slips=0.1, skills=READING),
        Stage(2, (2, 16), 48, slips=0.1, misreads=0.3, skills=READING),
        Stage(math.inf, (4, 32), 64, slips=0.15, misreads=0.15, lingers=0.6, skills=COMPARING),
    ),
    corpus=SKILLS,
    spreading=(0.16, 0.6),
)
"""Numbers, cards and short phrases: what the games on tables need."""

HOME = Curriculum(
    stages=(
        Stage(0.12, (2, 6), 48, skills=FIRST_WORDS_AT_HOME),
        Stage(0.6, (4, 12), 48, skills=AT_HOME),
        Stage(0.9, (8, 30), 48, skills=AT_HOME),
        Stage(1.0, (24, 64), 64, skills=AT_HOME),
        Stage(4 / 3, (1, 12), 48, skills=NOTING),  # the first revision
        Stage(5 / 3, (1, 12), 48, foretold=True, skills=SPOTTING),
        Stage(2, (1, 12), 48, foretold=True, errands=0.7, skills=ERRANDS_NOTED),
        Stage(7 / 3, (2, 16), 80, foretold=True, errands=0.7, pace=2, skills=FINDING),
        Stage(math.inf, (2, 24), 96, foretold=True, errands=0.7, pace=1.5, skills=NOTICING),
    ),
    corpus={obey: (0.7, 75), repeat_names: (0.2, 19), watch: (0.1, 36), **SKILLS},
    corpus_turns=6,
    pieces=NUMBERED_PIECES,
    vocabulary=1280,
    continues=True,
)
"""A home in words, for those who can read already."""

CURRICULA: Mapping[PocketModel, Curriculum] = {"pocket": GAMES, "pocket-home": HOME}
