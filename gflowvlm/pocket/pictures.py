"""Small pictures for general skills: labelled numbers, sums and cards, varied in every way."""

import numpy as np
from gflowvlm_envs import drawing
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from gflowvlm.pocket.architecture import IMAGE_SIZE

Pixels = NDArray[np.uint8]

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")


def _dark_color(rng: Generator) -> tuple[int, int, int]:
    """Black half of the time, otherwise some dark ink."""
    if rng.random() < 0.5:
        return 0, 0, 0
    red, green, blue = rng.integers(0, 140, 3).tolist()
    return red, green, blue


def _write(picture: Image.Image, text: str, center: tuple[float, float], size: float, ink) -> None:
    """Write `text` around `center`, moved back inside the picture where it would be cut."""
    place = []
    for middle, extent, side in zip(
        center, drawing.text_size(text, size), picture.size, strict=True
    ):
        margin = min(extent / 2 + 1, side / 2)
        place.append(min(max(middle, margin), side - margin))
    drawing.write(picture, text, (place[0], place[1]), size, ink, anchor="mm")


def _finish(picture: Image.Image, rng: Generator) -> Pixels:
    """Lean and stretch a little, so that no single shape of a digit can be learned by heart."""
    if rng.random() < 0.5:
        shear, stretch = rng.uniform(-0.12, 0.12), rng.uniform(0.94, 1.08)
        half = IMAGE_SIZE / 2
        matrix = (1.0, shear, -shear * half, 0.0, stretch, half * (1 - stretch))
        picture = picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BICUBIC,
            fillcolor="white",
        )
    return np.asarray(picture, dtype=np.uint8)


def labelled_numbers(labels: tuple[str, ...], numbers: tuple[int, ...], rng: Generator) -> Pixels:
    """One or two numbers, each with its label above or before it, in places and sizes of chance."""
    picture = drawing.blank(IMAGE_SIZE)
    beside = len(labels) == 2 and rng.random() < 0.25
    ink = _dark_color(rng)
    for i, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        if beside:
            x, y = 16 + 32 * i + rng.uniform(-2, 2), 32 + rng.uniform(-12, 12)
            label_size, number_size = rng.uniform(8, 10), rng.uniform(15, 20)
        else:
            x, y = 32 + rng.uniform(-10, 10), (16 + 32 * i if len(labels) == 2 else 32)
            y += rng.uniform(-1, 1) if len(labels) == 2 else rng.uniform(-12, 12)
            label_size, number_size = rng.uniform(9, 13), rng.uniform(16, 27)
        _write(picture, label, (x, y - 10), label_size, ink)
        _write(picture, str(number), (x + rng.uniform(-3, 3), y + 6), number_size, ink)
    return _finish(picture, rng)


def written(text: str, rng: Generator) -> Pixels:
    """A short text, such as a sum, somewhere on the picture."""
    picture = drawing.blank(IMAGE_SIZE)
    center = (32 + rng.uniform(-6, 6), 32 + rng.uniform(-18, 18))
    _write(picture, text, center, rng.uniform(13, 17), _dark_color(rng))
    return _finish(picture, rng)


def cards(ranks: tuple[str, ...], rng: Generator) -> Pixels:
    """Up to four playing cards, two a line, suits by chance."""
    picture = drawing.blank(IMAGE_SIZE)
    for i, rank in enumerate(ranks):
        suit = drawing.SUITS[rng.integers(len(drawing.SUITS))]
        card = drawing.card(rank, suit, 28, 30)
        x, y = 2 + 31 * (i % 2) + rng.integers(0, 3), 1 + 32 * (i // 2) + rng.integers(0, 2)
        picture.paste(card, (int(x), int(y)))
    return np.asarray(picture, dtype=np.uint8)
