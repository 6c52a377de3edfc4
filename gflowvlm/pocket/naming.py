"""Skills of naming the things of a home: to spot, to find, to recall, to name once, to repeat.

Every answer is dictated by the turn, by what the first turn asks to watch for, or by what was told
before (and a list that has been named ends with `none`): no goal takes several steps to reach.
"""

from collections.abc import Sequence

from numpy.random import Generator

from gflowvlm.pocket.household_words import ERRANDS, LAMP_WISHES, PLACES, THINGS, TREATMENTS, WISHES
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.talk import Conversation, Turn, last_key_of, pick, shuffled
from gflowvlm.prompting.wording import ask_for_json, write_json

MOST_PLACES = 26
OF_USE = ("of use here", "of use", "wanted here", "answer")
"""Keys under which a reply names what a wish is about."""
SOUGHT = ("looking for", "sought")
"""Keys under which a reply names the kind that a wish is about, and what of it is there."""
REMINDERS = ("Of use to {}:", "Your wish is to: {}.", "Later: {}.")
SAID_LATER = (*REMINDERS, "Your task is to: {}.", "Your task, later: {}.", "To {}.")


def kind_of(name: str) -> str:
    """`cabinet` of `cabinet 3`."""
    return name.rpartition(" ")[0]


def listing(names: Sequence[str]) -> str:
    """`a fork 1, and a knife 2`, or `nothing`."""
    told = [f"a {name}" for name in names]
    return (
        ", ".join([*told[:-1], f"and {told[-1]}"])
        if len(told) > 1
        else "".join(told or ["nothing"])
    )


def numbered(rng: Generator, kinds: tuple[str, ...], count: int, *, repeats: int) -> list[str]:
    """Names of `count` things, at most `repeats` of a kind, numbered from 1 in each kind."""
    assert count <= len(kinds) * repeats, "so many names there are not"
    names: dict[str, None] = {}
    while len(names) < count:
        kind = pick(rng, kinds)[0]
        for number in range(1, int(rng.integers(1, repeats + 1)) + 1):
            if len(names) < count:
                names[f"{kind} {number}"] = None
    return list(names)


def wish(rng: Generator, about: str | None = None) -> str:
    """A sentence about what might be wanted, of a kind of thing or of any.

    Nobody is asked to fulfil it in these conversations.
    """
    thing, place = pick(rng, THINGS)[0], pick(rng, PLACES)[0]
    thing = about or thing
    if rng.random() < 0.2:
        return LAMP_WISHES[rng.integers(len(LAMP_WISHES))].format(thing, "desklamp")
    words = f"a {thing}"
    if rng.random() < 0.5:
        words = list(TREATMENTS.values())[rng.integers(3)][1].format(thing)
    elif rng.random() < 0.3:
        words = f"two {thing}"
    return WISHES[rng.integers(len(WISHES))].format(words, place)


def watch(pen: Pen, turns: int) -> Conversation:
    """Name the thing that the first turn asks for when it is seen, else say nothing."""
    rng = pen.rng
    wanted = pick(rng, THINGS)[0]
    key = last_key_of(rng)
    task = f"Watch for a {wanted}. Where there is none, say nothing."
    conversation = []
    for turn in range(turns):
        text, reply = _sight(rng, wanted)
        if turn == 0:
            text = ask_for_json(task=task, text=text, keys=(key,))
        conversation.append(Turn(None, text, write_json({key: reply}), "watch"))
    return conversation


def spot(pen: Pen, turns: int) -> Conversation:
    """Name the thing that a wish is about when it is seen, else say nothing.

    The wish stands at each turn's end, so that it is held against this turn alone, and with
    `pen.foretold` at the head as well.
    """
    rng = pen.rng
    wanted = pick(rng, THINGS)[0]
    request = remembered(pen, wanted)
    key = pick(rng, OF_USE)[0]
    conversation = []
    for turn in range(turns):
        text, reply = _sight(rng, wanted)
        text = f"{text} {request}"
        if turn == 0:
            task = "Name what is of use, or say nothing."
            task += f" {request}" if pen.foretold else ""
            text = ask_for_json(task=task, text=text, keys=(key,))
        conversation.append(Turn(None, text, write_json({key: reply}), "spot"))
    return conversation


def remembered(pen: Pen, wanted: str, reminders: tuple[str, ...] = REMINDERS) -> str:
    """What may end a turn: a wish about a kind of thing, with chance `pen.errands` an errand."""
    rng = pen.rng
    reminder = pick(rng, reminders)[0]
    if pen.errands > 0 and rng.random() < pen.errands:
        return reminder.format(errand(rng, wanted)[0])
    return reminder.format(wish(rng, wanted))


def errand(rng: Generator, thing: str) -> tuple[str, str, str]:
    """A sentence about what is to be done with a kind of thing, what that is, and where."""
    place = pick(rng, PLACES)[0]
    deed = pick(rng, tuple(ERRANDS))[0]
    sentence = ERRANDS[deed][rng.integers(2)].format(thing, place)
    return sentence, deed, "desklamp" if deed == "light" else place


def tell_parts(pen: Pen, turns: int) -> Conversation:
    """Tell what each errand is about: the thing, what is to be done with it, and where."""
    rng = pen.rng
    conversation = []
    for turn in range(turns):
        thing = pick(rng, THINGS)[0]
        sentence, deed, place = errand(rng, thing)
        text = pick(rng, REMINDERS)[0].format(sentence)
        if turn == 0:
            text = ask_for_json(task="Tell the parts.", text=text, keys=("what", "do", "where"))
        reply = write_json({"what": thing, "do": deed, "where": place})
        conversation.append(Turn(None, text, reply, "tell parts"))
    return conversation


def _sight(rng: Generator, wanted: str) -> tuple[str, str]:
    """What is seen at a place, and which of it is wanted: every other time `nothing`."""
    others = tuple(thing for thing in THINGS if thing != wanted)
    place = numbered(rng, PLACES, 1, repeats=1)[0]
    seen = numbered(rng, others, int(rng.integers(0, 5)), repeats=2)
    there = rng.random() < 0.5
    name = f"{wanted} {rng.integers(1, 4)}"
    if there:
        seen.insert(int(rng.integers(len(seen) + 1)), name)
    text = f"You arrive at {place}. On the {place}, you see {listing(seen)}."
    return text, name if there else "nothing"


def find_each(pen: Pen, turns: int) -> Conversation:
    """Say of some kinds of things which of them is seen: half of them are, the others `nothing`.

    Of several of a kind the one of the least number is named.
    """
    rng, key = pen.rng, last_key_of(pen.rng)
    conversation = []
    for turn in range(turns):
        kinds = pick(rng, THINGS, int(rng.integers(2, 15)))
        asked = pick(rng, kinds, int(rng.integers(1, 1 + min(8, len(kinds)))))
        there = [kind for kind in kinds if rng.random() < 0.5]
        seen: dict[str, str] = {}
        for kind in there:
            for number in rng.choice(9, 1 + int(rng.random() < 0.2), replace=False):
                seen[f"{kind} {number + 1}"] = kind
        names = shuffled(rng, tuple(seen))
        place = f"{pick(rng, PLACES)[0]} {rng.integers(1, 21)}"
        text = f"You arrive at {place}. On the {place}, you see {listing(names)}."
        text += f" Which of {', '.join(f'a {kind}' for kind in asked)}?"
        if turn == 0:
            text = ask_for_json(task="Say what is there of each kind.", text=text, keys=(key,))
        found = ", ".join(
            f"a {kind}: {min((name for name in seen if seen[name] == kind), default='nothing')}"
            for kind in asked
        )
        conversation.append(Turn(None, text, write_json({key: found}), "find each"))
    return conversation


def recall(pen: Pen, turns: int) -> Conversation:
    """Say where a thing was seen, at this turn or at any before."""
    rng = pen.rng
    key = last_key_of(rng)
    kinds = list(pick(rng, THINGS, min(len(THINGS), 3 * turns)))
    places = numbered(rng, PLACES, turns, repeats=4)
    seen: dict[str, str] = {}
    conversation = []
    for turn, place in enumerate(places):
        new = [kinds.pop() for _ in range(min(len(kinds), int(rng.integers(1, 4))))]
        seen |= dict.fromkeys(new, place)
        text = f"On the {place}, you see {listing([f'{kind} 1' for kind in new])}."
        asked = pick(rng, tuple(new if new and rng.random() < 0.3 else seen))[0]
        text += f" Where is the {asked}?"
        if turn == 0:
            text = ask_for_json(task="Say where it is.", text=text, keys=(key,))
        conversation.append(Turn(None, text, write_json({key: seen[asked]}), "recall"))
    return conversation


def each_once(pen: Pen, turns: int) -> Conversation:
    """Name the members of a list one by one, in its order: all, or those of one kind."""
    rng = pen.rng
    names = numbered(rng, PLACES, int(rng.integers(2, MOST_PLACES + 1)), repeats=8)
    kinds = sorted({kind_of(name) for name in names})
    kind = kinds[rng.integers(len(kinds))]
    some = rng.random() < 0.5
    wanted = [name for name in names if kind_of(name) == kind] if some else names
    key = last_key_of(rng)
    question = ask_for_json(
        task=f"Name each {kind if some else 'one'} once.",
        text=f"You see {listing(names)}.",
        keys=(key,),
    )
    replies = [*wanted, "none"][: max(1, turns)]
    return [
        Turn(None, question if turn == 0 else "Go on.", write_json({key: reply}), "each once")
        for turn, reply in enumerate(replies)
    ]


def repeat_names(pen: Pen, turns: int) -> Conversation:
    """Say some names again, and what might be wanted: the quickest way to learn the words."""
    rng = pen.rng
    conversation = []
    for _ in range(turns):
        names = numbered(rng, (*THINGS, *PLACES), int(rng.integers(1, 5)), repeats=2)
        text = wish(rng) if rng.random() < 0.4 else ", ".join(names)
        conversation.append(Turn(None, f"Repeat: {text}", text, "repeat names"))
    return conversation
