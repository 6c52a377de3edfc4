"""The words general skills are made of; the tokenizer learns its merges from the same."""

LABELS = (
    "current", "target", "left", "right", "first", "second", "start", "goal", "red", "blue",
    "north", "south", "mine", "yours", "price", "score",
)  # fmt: skip
"""Words written beside a number on a picture."""

NOUNS = ("", " number", " number", " value", " count")
"""What follows a label in a key of the reply: `left number`."""

WORDS = (
    "up", "down", "yes", "no", "stop", "go", "open", "close", "hot", "cold", "day", "night",
    "rise", "fall", "apple", "pear", "gold", "silver", "cat", "dog", "sun", "moon", "tea",
    "milk", "hit", "stand", "push", "pull", "in", "out", "more", "less", "one", "two", "alpha",
    "beta", "sea", "land", "fast", "slow",
)  # fmt: skip
"""One-word answers."""

VERBS = (
    "open", "close", "go to", "take", "put", "look at", "clean", "heat", "cool", "use",
    "examine", "move",
)  # fmt: skip
OBJECTS = (
    "box", "drawer", "shelf", "cabinet", "apple", "mug", "plate", "lamp", "book", "key", "door",
    "fridge", "pan", "knife", "egg", "cup",
)  # fmt: skip
PLACES = ("shelf", "table", "drawer", "counter", "sink", "bed", "desk", "box")

SIZES = (
    ("smaller", "larger"), ("less", "more"), ("under", "over"), ("below", "above"),
    ("low", "high"), ("little", "big"), ("minor", "major"), ("behind", "ahead"),
    ("light", "heavy"), ("few", "many"), ("<", ">"),
)  # fmt: skip
"""Pairs that say smaller and larger; `-` and `+`, the moves of a game, are never among them."""

OPPOSITES = (
    ("up", "down"), ("yes", "no"), ("stop", "go"), ("open", "close"), ("hot", "cold"),
    ("day", "night"), ("rise", "fall"), ("in", "out"), ("push", "pull"), ("fast", "slow"),
    ("one", "two"), ("sea", "land"), ("sun", "moon"),
)  # fmt: skip
"""Pairs of which one word calls for the other."""

SIGNS = {
    "plus": "+", "minus": "-", "star": "*", "slash": "/", "equals": "=", "question": "?",
    "hash": "#", "at": "@", "and": "&", "percent": "%", "dollar": "$", "dot": ".", "colon": ":",
    "bar": "|", "caret": "^", "tilde": "~",
}  # fmt: skip
"""Single characters by their names."""

ASIDES = (
    "You have at most {} steps.", "There are {} turns.", "The limit is {}.",
    "Each step makes it one larger or one smaller.", "Bring your answer in time.",
    "The first of {} pictures.", "Do your best to reach the goal.", "It moves with every step.",
    "The numbers may be larger than {}.", "What is needed most is care.", "This is game {}.",
    "A step makes a change of one.", "Reach the end in at most {} moves.", "Take your time.",
)  # fmt: skip
"""Sentences that change nothing; `{}` is any number."""
