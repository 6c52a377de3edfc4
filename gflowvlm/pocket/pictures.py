"""Small pictures for general skills: labelled numbers, sums and cards, varied in every way."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from gflowvlm.pocket.architecture import IMAGE_SIZE
from gflowvlm_envs import drawing

Pixels = NDArray[np.uint8]

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")


@dataclass(frozen=True)
class Pen:
    """Draws with chance; `spread` 0 puts everything in one place and size, 1 all over the picture.

    Digits that wander from the first step on stay unread for a long time: the pocket VLM learns
    them where they are, then wherever they go.
    """

    rng: Generator
    spread: float
    slips: float = 0.0  # share of thoughts that are given, wrong, and answered all the same
    misreads: float = 0.0  # share of turns in which wrong numbers are given, and not learned
    lingers: float = 0.0  # share of comparisons whose numbers move little from turn to turn
    foretold: bool = False  # whether a wish stands before all that is seen as well
    errands: float = 0.0  # share of wishes that are errands, as `naming.errand` words them

    def jitter(self, reach: float) -> float:
        """Uniform in -reach..reach at full spread, 0 at none."""
        return self.spread * self.rng.uniform(-reach, reach)

    def between(self, low: float, high: float) -> float:
        """Uniform in low..high at full spread, their middle at none."""
        return (low + high) / 2 + self.jitter((high - low) / 2)

    def often(self, probability: float) -> bool:
        """True with that probability at full spread, never at none."""
        return bool(self.rng.random() < self.spread * probability)

    def ink(self) -> tuple[int, int, int]:
        """Black, or half of the time at full spread some dark colour."""
        if not self.often(0.5):
            return 0, 0, 0
        red, green, blue = self.rng.integers(0, 140, 3).tolist()
        return red, green, blue


def _write(
    picture: Image.Image,
    text: str,
    center: tuple[float, float],
    size: float,
    ink: drawing.Color,
) -> None:
    """Write `text` around `center`, moved back inside the picture where it would be cut."""
    place = []
    for middle, extent, side in zip(
        center, drawing.text_size(text, size), picture.size, strict=True
    ):
        margin = min(extent / 2 + 1, side / 2)
        place.append(min(max(middle, margin), side - margin))
    drawing.write(picture, text, (place[0], place[1]), size, ink, anchor="mm")


def _finish(picture: Image.Image, pen: Pen) -> Pixels:
    """Lean and stretch a little, so that no single shape of a digit can be learned by heart."""
    if pen.often(0.5):
        shear, stretch, half = pen.jitter(0.12), 1 + pen.jitter(0.07), IMAGE_SIZE / 2
        matrix = (1.0, shear, -shear * half, 0.0, stretch, half * (1 - stretch))
        picture = picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BICUBIC,
            fillcolor="white",
        )
    return np.asarray(picture, dtype=np.uint8)


def labelled_numbers(labels: tuple[str, ...], numbers: tuple[int, ...], pen: Pen) -> Pixels:
    """One or two numbers, each with its label above, below each other or side by side."""
    picture = drawing.blank(IMAGE_SIZE)
    beside = len(labels) == 2 and pen.often(0.25)
    ink = pen.ink()
    for i, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        if beside:
            x, y = 16 + 32 * i + pen.jitter(2), 32 + pen.jitter(12)
            label_size, number_size = pen.between(8, 10), pen.between(15, 20)
        else:
            x = 32 + pen.jitter(10)
            y = 16 + 32 * i + pen.jitter(1) if len(labels) == 2 else 32 + pen.jitter(12)
            label_size, number_size = pen.between(9, 13), pen.between(16, 27)
        _write(picture, label, (x, y - 10), label_size, ink)
        _write(picture, str(number), (x + pen.jitter(3), y + 6), number_size, ink)
    return _finish(picture, pen)


def written(text: str, pen: Pen) -> Pixels:
    """A short text, such as a sum, somewhere on the picture."""
    picture = drawing.blank(IMAGE_SIZE)
    center = (32 + pen.jitter(6), 32 + pen.jitter(18))
    _write(picture, text, center, pen.between(13, 19), pen.ink())
    return _finish(picture, pen)


def cards(ranks: tuple[str, ...], pen: Pen) -> Pixels:
    """Up to four playing cards, two a line, suits by chance."""
    picture = drawing.blank(IMAGE_SIZE)
    for i, rank in enumerate(ranks):
        suit = drawing.SUITS[pen.rng.integers(len(drawing.SUITS))]
        x, y = 3 + 31 * (i % 2) + pen.jitter(2), 1 + 32 * (i // 2) + pen.jitter(1)
        picture.paste(drawing.card(rank, suit, 28, 30), (round(x), round(y)))
    return np.asarray(picture, dtype=np.uint8)
