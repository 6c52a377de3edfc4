"""General skills, how often each is taught, and in which order: never a policy.

`+` and `-` are the answer only where their names are asked for, never where numbers are compared,
and a choice that the question does not dictate is uniform. The format is the one any environment
gets from `prompting`, with many other words in it. Where a reply has a thought, the answer follows
from the thought alone: what fine-tuning builds on.
"""

from collections.abc import Mapping

import numpy as np

from gflowvlm.pocket.household import note, notice, obey
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
from gflowvlm.pocket.saying import (
    choose,
    copy_phrase,
    name_sign,
    repeat,
    say_opposite,
    say_size,
)
from gflowvlm.pocket.seeing import (
    add,
    caption,
    compare,
    compare_given,
    read_cards,
    read_numbers,
)
from gflowvlm.pocket.talk import Conversation, Skill

FIRST_WORDS: tuple[Skill, ...] = (
    caption,
    say_size,
    caption,
    name_sign,
    caption,
    say_opposite,
    caption,
    repeat,
)
"""What is learned before anything else, batch by batch: to see, to answer a thought, to copy."""


Shares = Mapping[Skill, tuple[float, int]]
"""How often each skill is drawn, and about how many tokens a turn of it takes."""

SKILLS: Shares = {
    read_numbers: (0.2, 36),
    compare: (0.42, 46),
    add: (0.07, 38),
    read_cards: (0.08, 28),
    copy_phrase: (0.08, 75),
    choose: (0.03, 59),
    caption: (0.04, 25),
    say_size: (0.03, 30),
    say_opposite: (0.02, 25),
    name_sign: (0.03, 25),
}

READING: Shares = {
    **SKILLS,
    read_numbers: (0.3, 36),
    caption: (0.14, 25),
    add: (0.12, 38),
}
"""More of what takes longest: to read without fault."""

COMPARING: Shares = {
    **SKILLS,
    compare: (0.5, 46),
    compare_given: (0.25, 34),
    read_numbers: (0.15, 36),
}
"""More of what is built upon: to compare without fault, whatever was said before."""


FIRST_WORDS_AT_HOME: Shares = {
    repeat_names: (0.3, 19),
    watch: (0.25, 36),
    each_once: (0.2, 25),
    recall: (0.25, 33),
}
"""What is learned first in the words of a home: to copy, to spot, to recall."""

AT_HOME: Shares = {
    obey: (0.46, 75),
    watch: (0.16, 36),
    recall: (0.14, 33),
    each_once: (0.1, 25),
    repeat_names: (0.02, 19),
    compare: (0.04, 46),
    caption: (0.04, 25),
    read_numbers: (0.04, 36),
}
"""The home in words, and a little of what was known before."""

NOTING: Shares = {
    spot: (0.45, 45),
    note: (0.36, 140),
    obey: (0.07, 75),
    watch: (0.02, 36),
    recall: (0.03, 33),
    each_once: (0.02, 25),
    repeat_names: (0.01, 19),
    caption: (0.02, 25),
    read_numbers: (0.02, 36),
}
"""The home once more, with notes of it."""

SPOTTING: Shares = {**NOTING, spot: (0.7, 45), note: (0.2, 140), obey: (0.05, 75), watch: (0.1, 36)}
"""More of what takes longest in a home: to hold what is seen against what is wanted."""

ERRANDS_NOTED: Shares = {**NOTING, tell_parts: (0.12, 40)}
"""Both, and wishes in more words."""

FINDING: Shares = {
    find_each: (0.65, 75),
    notice: (0.15, 165),
    tell_parts: (0.1, 40),
    obey: (0.05, 75),
    repeat_names: (0.05, 19),
}
"""What all that is noted in a home rests upon: to hold a kind against a list."""

NOTICING: Shares = {
    notice: (0.35, 165),
    find_each: (0.28, 75),
    tell_parts: (0.12, 40),
    spot: (0.05, 45),
    note: (0.05, 140),
    obey: (0.05, 75),
    watch: (0.02, 36),
    recall: (0.02, 33),
    each_once: (0.02, 25),
    repeat_names: (0.02, 19),
    caption: (0.01, 25),
    read_numbers: (0.01, 36),
}
"""Much to see, beside pictures that do not matter."""

TOKENS_OF_A_TURN = SKILLS[compare][1]
"""What `turns` are counted in."""


def converse(pen: Pen, turns: int, skills: Shares = SKILLS) -> Conversation:
    """A conversation of one skill, drawn by its share.

    It is about as long as `turns` turns of `compare`, so that little of a batch is padding.
    """
    known = list(skills)
    shares = np.array([share for share, _ in skills.values()])
    skill = known[pen.rng.choice(len(known), p=shares / shares.sum())]
    return skill(pen, max(1, round(turns * TOKENS_OF_A_TURN / skills[skill][1])))
