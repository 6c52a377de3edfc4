"""Small legible pictures, drawn with Pillow and the font Pillow itself carries.

Everything returns or marks an RGB `Image`; `pixels` turns one into what an environment shows.
Coordinates and sizes are pixels, colours 8-bit (red, green, blue).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]

WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
GREY: Color = (90, 90, 90)
RED: Color = (200, 20, 30)
SUITS = ("hearts", "diamonds", "spades", "clubs")

_SUPERSAMPLING = 4  # polygons have hard edges in Pillow: draw large, then shrink
_PROBE_SIZE = 100.0  # font size at which text is measured before it is fitted


def blank(size: int | tuple[int, int], color: Color = WHITE) -> Image.Image:
    """One-coloured image; `size` is the side of a square, or (width, height)."""
    width, height = (size, size) if isinstance(size, int) else size
    return Image.new("RGB", (width, height), color)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The image as a fresh uint8 array [height, width, 3]."""
    return np.array(image.convert("RGB"), dtype=np.uint8)


def font(size: float) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font at a size in pixels per em.

    Raises:
        RuntimeError: where Pillow was built without FreeType and has only a bitmap font.
    """
    return _font(int(size * 64))


@lru_cache(maxsize=1024)  # a font is 100 kB, and takes longer to make than a word to draw
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font at a size in 64ths of a pixel: FreeType knows no finer ones."""
    return _font_of_pillow().font_variant(size=size / 64)


@lru_cache(maxsize=1)  # Pillow unpacks its font whenever it is asked for it
def _font_of_pillow() -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size=_PROBE_SIZE)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError(
            "this Pillow has only a bitmap font; expected FreeType: install a Pillow built with it"
        )
    return found


def text_size(text: str, size: float, stroke: float = 0) -> tuple[int, int]:
    """(width, height) of the inked box of `text`, in whole pixels."""
    left, top, right, bottom = font(size).getbbox(text, stroke_width=stroke)
    return round(right - left), round(bottom - top)


def fitting_size(text: str, width: float, height: float) -> float:
    """The font size at which the inked box of `text` just fits into width x height."""
    probe_width, probe_height = text_size(text, _PROBE_SIZE)
    return _PROBE_SIZE * min(width / probe_width, height / probe_height)


def write(
    image: Image.Image,
    text: str,
    xy: Point,
    size: float,
    color: Color = BLACK,
    stroke: float = 0,
    anchor: str = "lt",
) -> None:
    """Draw `text` onto the image, in place.

    `anchor` says which point of the text lies at `xy`, in Pillow's two letters: `lt` the upper
    left corner, `mm` the middle, `ms` the middle of the baseline. `stroke` thickens the strokes.
    """
    draw = ImageDraw.Draw(image)
    draw.text(xy, text, fill=color, font=font(size), anchor=anchor, stroke_width=stroke)


def labelled_numbers(rows: Sequence[tuple[str, str]], size: int) -> Image.Image:
    """White square of side `size` with the rows below each other: a small label over a big number.

    Labels take three tenths of a row, numbers take six; at 64 pixels and two rows the digits are
    at least 14 pixels high as long as a number has at most four characters.
    """
    image = blank(size)
    row_height = size / len(rows)
    label_height = 0.3 * row_height
    label_size = min(fitting_size(label, 0.9 * size, label_height) for label, _ in rows)
    for index, (label, number) in enumerate(rows):
        top = index * row_height
        write(image, label, (size / 2, top + 0.5 * label_height), label_size, GREY, anchor="mm")
        # the height of "0" alone decides, so that all numbers of a width look alike
        tallest = fitting_size("0", size, 0.6 * row_height)
        number_size = min(tallest, fitting_size(number, 0.94 * size, size))
        write(image, number, (size / 2, top + 0.94 * row_height), number_size, anchor="ms")
    return image


def card(rank: str, suit: str, width: int, height: int) -> Image.Image:
    """A playing card: the rank as text in the upper half, the suit as a shape in the lower half.

    Args:
        rank: a short text such as `A`, `10` or `K`.
        suit: one of `hearts`, `diamonds` (red), `spades`, `clubs` (black).
        width: pixels, at least 8.
        height: pixels, at least 12.

    Raises:
        ValueError: for an unknown suit or a card too small to read.
    """
    if suit not in SUITS:
        raise ValueError(f"found suit {suit!r}, expected one of {', '.join(SUITS)}: change suit")
    if width < 8 or height < 12:
        raise ValueError(
            f"found a card of {width} x {height} pixels, expected at least 8 x 12: make it larger"
        )
    color = RED if suit in ("hearts", "diamonds") else BLACK
    image = _card_face(suit, color, width, height)
    rank_size = fitting_size(rank, 0.72 * width, 0.4 * height)
    write(image, rank, (width / 2, 0.29 * height), rank_size, color, anchor="mm")
    return image


def card_back(width: int, height: int) -> Image.Image:
    """A card lying face down: a blue field with a white frame."""
    image = blank((width, height))
    frame = max(1, width // 12)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline=GREY)
    draw.rectangle((frame, frame, width - 1 - frame, height - 1 - frame), fill=(40, 70, 150))
    return image


def _card_face(suit: str, color: Color, width: int, height: int) -> Image.Image:
    """The frame and the suit's shape, smoothed by drawing large."""
    big_width, big_height = width * _SUPERSAMPLING, height * _SUPERSAMPLING
    image = blank((big_width, big_height))
    draw = ImageDraw.Draw(image)
    line = _SUPERSAMPLING
    draw.rectangle((0, 0, big_width - 1, big_height - 1), outline=GREY, width=line)
    side = min(0.72 * big_width, 0.4 * big_height)
    left, top = (big_width - side) / 2, 0.74 * big_height - side / 2
    for polygon in _suit_polygons(suit):
        draw.polygon([(left + x * side, top + y * side) for x, y in polygon], fill=color)
    return image.resize((width, height), Image.Resampling.BOX)


def _suit_polygons(suit: str) -> list[list[Point]]:
    """The suit's shape in a unit square, y downwards."""
    if suit == "diamonds":
        return [[(0.5, 0.0), (0.9, 0.5), (0.5, 1.0), (0.1, 0.5)]]
    if suit == "hearts":
        return [_heart()]
    stem: list[Point] = [
        (0.36, 0.4),
        (0.64, 0.4),
        (0.54, 0.7),
        (0.68, 1.0),
        (0.32, 1.0),
        (0.46, 0.7),
    ]
    if suit == "spades":
        return [[(x, 0.85 * (1 - y)) for x, y in _heart()], stem]
    return [_disc(0.5, 0.24), _disc(0.23, 0.6), _disc(0.77, 0.6), stem]


@lru_cache(maxsize=1)
def _heart() -> list[Point]:
    """The classical parametric heart, scaled to the unit square."""
    outline: list[Point] = []
    for step in range(60):
        angle = 2 * pi * step / 60
        x = 16 * sin(angle) ** 3
        y = 13 * cos(angle) - 5 * cos(2 * angle) - 2 * cos(3 * angle) - cos(4 * angle)
        outline.append((0.5 + x / 33, (12.5 - y) / 30))
    return outline


def _disc(x: float, y: float, radius: float = 0.23) -> list[Point]:
    angles = [2 * pi * step / 40 for step in range(40)]
    return [(x + radius * cos(angle), y + radius * sin(angle)) for angle in angles]
