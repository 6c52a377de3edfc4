"""Sequences that are the same, which a model need not read twice."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from torch import Tensor


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
