"""Games in a terminal: the picture in half blocks, beside it what was thought and chosen."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gflowvlm.report.playback import EXPLANATION, Move, Playback

PICTURE_COLUMNS = 32
BAR_COLUMNS = 24
_SHARE_COLUMNS = 9  # a percentage, and the blanks beside it
_UPPER, _LOWER, _FULL = "\u2580", "\u2584", "\u2588"
_INK = {True: " '.#", False: " " + _UPPER + _LOWER + _FULL}  # [ascii only][upper + 2 * lower]


def print_playback(playback: Playback, console: Console) -> None:
    """Print one game, move by move."""
    console.print(Rule(playback.title, style="dim"))
    console.print(playback.episode.decisions[0].observation.task, style="dim", markup=False)
    for number, move in enumerate(playback.moves, start=1):
        line = Table.grid(padding=(0, 2))
        line.add_row(
            picture(move.decision.observation.image, console), _words(number, move, console)
        )
        console.print(line)
    style = "bold green" if playback.episode.success else "bold red"
    console.print(Text(playback.outcome, style=style))


def print_explanation(console: Console) -> None:
    """Say what the percentages are."""
    console.print(Text(EXPLANATION, style="dim"))


def picture(image: NDArray[np.uint8], console: Console) -> Text:
    """The image, `PICTURE_COLUMNS` wide, two pixels to a character; without colours as ink."""
    height, width = image.shape[:2]
    rows = 2 * max(1, round(PICTURE_COLUMNS * height / width / 2))
    small = Image.fromarray(image).resize((PICTURE_COLUMNS, rows), Image.Resampling.BOX)
    pixels = np.asarray(small)
    if console.color_system in (None, "standard", "windows"):  # too few colours for a picture
        return _in_ink(pixels, ascii_only=console.options.ascii_only)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            style = Style(color=_rgb(above), bgcolor=_rgb(below))
            text.append(_UPPER, style)
        text.append("\n")
    text.right_crop()
    return text


def _in_ink(pixels: NDArray[np.uint8], *, ascii_only: bool) -> Text:
    grey = pixels.mean(-1)
    dark = grey < (grey.min() + grey.max()) / 2
    inks = _INK[ascii_only]
    lines = (
        "".join(inks[index] for index in upper + 2 * lower)
        for upper, lower in zip(dark[::2].astype(int), dark[1::2].astype(int), strict=True)
    )
    return Text("\n".join(lines))


def _rgb(pixel: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel)


def _words(number: int, move: Move, console: Console) -> RenderableType:
    observation = move.decision.observation
    parts: list[RenderableType] = [Text(f"step {number}", style="bold")]
    labelled = (("shown", observation.text), ("states", move.stated), ("thinks", move.thought))
    for label, words in labelled:
        if words:
            parts.append(Text.assemble((f"{label} ", "dim"), words))
    parts.append(Text.assemble(("does ", "dim"), (move.said, "bold")))
    room = console.width - PICTURE_COLUMNS - 2
    parts.append(_bars(move, "#" if console.options.ascii_only else _FULL, room))
    return Group(*parts)


def _bars(move: Move, block: str, room: int) -> RenderableType:
    """A line for each action, `room` columns wide at most; bars shrink for the words."""
    if not move.choices:
        return Text("no probabilities: the reply never came to an action", style="dim")
    listed, others, rest = move.listed()
    table = Table.grid(padding=(0, 1))
    words = max(len(choice.word) for choice in listed)
    longest = max(0, min(BAR_COLUMNS, room - words - _SHARE_COLUMNS))
    for choice in listed:
        style = "bold cyan" if choice.taken else ""
        bar = block * round(longest * choice.probability)
        table.add_row(
            Text(choice.word, style), Text(f"{choice.probability:6.1%}", style), Text(bar, style)
        )
    if others:
        table.add_row(Text(f"{others} others", "dim"), Text(f"{rest:6.1%}", "dim"), "")
    if move.legal_share is not None:
        table.add_row(Text("legal, of all", "dim"), Text(f"{move.legal_share:6.1%}", "dim"), "")
    return table
