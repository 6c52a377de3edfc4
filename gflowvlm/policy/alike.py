"""Sequences that a model need not read twice, and those that it had better read together."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from torch import Tensor

FILLED = 0.75  # least share of a padded row that is its own tokens
WORTH = 128  # tokens of padding saved that make up for one more pass


def distinct(
    sequences: Iterable[tuple[Sequence[int], Sequence[Mapping[str, Tensor]]]],
) -> tuple[list[int], list[int]]:
    """Which of some sequences of tokens and pictures differ.

    Pictures are the same where their tensors are the very same objects (`Chat` and `ImageStore` see
    to that), so equal ones may pass for different but never the other way round.

    Args:
        sequences: N pairs of token ids and pictures.

    Returns:
        The first of each kind, D numbers below N in order, and for each of the N sequences which of
        those D it is like.
    """
    firsts: list[int] = []
    place: list[int] = []
    known: dict[Hashable, int] = {}
    for number, (ids, pictures) in enumerate(sequences):
        tensors = (id(tensor) for picture in pictures for tensor in picture.values())
        kind = tuple(ids), tuple(tensors)
        if kind not in known:
            known[kind] = len(firsts)
            firsts.append(number)
        place.append(known[kind])
    return firsts, place


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups, the longest first, so that little is padded to the longest of a group.

    A group ends before what is shorter than `FILLED` of its longest, if all that is left gets
    shorter by `WORTH` tokens or more: a pass has a price of its own.
    """
    groups: list[list[int]] = []
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for place, index in enumerate(order):
        longest = lengths[groups[-1][0]] if groups else 0
        saved = (longest - lengths[index]) * (len(order) - place)
        if groups and (lengths[index] >= FILLED * longest or saved < WORTH):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
