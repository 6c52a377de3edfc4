"""A schematic picture of what the player knows: labelled tiles in fixed places, no 3D view."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image, ImageDraw

from gflowvlm_envs import drawing
from gflowvlm_envs.alfworld.memory import CLEAN, COLD, HOT, LIT, SLICED, Memory
from gflowvlm_envs.alfworld.world import natural
from gflowvlm_envs.drawing import BLACK, GREY, WHITE, Color

MIN_OVERVIEW = 192  # pixels; in a smaller picture the tiles could not be told apart
PAPER: Color = (246, 244, 238)
UNSEEN: Color = (205, 205, 205)
EMPTY: Color = WHITE
FULL: Color = (255, 214, 102)
HERE: Color = (200, 20, 30)
HAND: Color = (40, 70, 150)
MARKS: dict[str, Color] = {
    HOT: (214, 69, 33),
    COLD: (33, 113, 196),
    CLEAN: (28, 140, 92),
    LIT: (214, 150, 0),
    SLICED: GREY,
}


@dataclass(frozen=True)
class Thing:
    """An object that has been named."""

    name: str
    marks: tuple[str, ...]  # as MARKS orders them


@dataclass(frozen=True)
class Tile:
    """A receptacle; `things` is None where nobody has looked, `open` where it has no door."""

    name: str
    open: bool | None  # as last told; one never told of counts as closed
    things: tuple[Thing, ...] | None
    here: bool

    @property
    def kind(self) -> str:
        """`cabinet` of `cabinet 3`."""
        return self.name.rpartition(" ")[0] or self.name

    @property
    def number(self) -> str:
        """`3` of `cabinet 3`; empty where it is the only one without a number."""
        return self.name.removeprefix(self.kind).strip()


@dataclass(frozen=True)
class View:
    """All that a picture shows."""

    tiles: tuple[Tile, ...]
    held: Thing | None

    @property
    def here(self) -> Tile | None:
        """The receptacle that is dealt with."""
        return next((tile for tile in self.tiles if tile.here), None)


def view_of(memory: Memory) -> View:
    """What the player knows, by name."""
    house = memory.house

    def thing(each: str) -> Thing:
        marks = memory.marks_of(each)
        return Thing(house.names[each], tuple(mark for mark in MARKS if mark in marks))

    tiles = [
        Tile(
            name=house.names[place],
            open=memory.open.get(place, False) if place in memory.open else None,
            things=tuple(map(thing, memory.contents[place])) if place in memory.contents else None,
            here=place == memory.here,
        )
        for place in sorted(house.receptacles, key=lambda each: natural(house.names[each]))
    ]
    return View(tuple(tiles), thing(memory.held) if memory.held else None)


def draw(view: View, size: int) -> Image.Image:
    """A square of side `size`: the room above, the place at hand below, the hands at the bottom.

    Below `MIN_OVERVIEW` pixels the room is left out, and what is at hand fills the picture. Things
    that find no room in the list are counted in its last cell.
    """
    image = drawing.blank(size, PAPER)
    large = size >= MIN_OVERVIEW
    top = _draw_room(image, view) if large else 0.0
    _draw_place(image, view, top, large)
    return image


def _draw_room(image: Image.Image, view: View) -> float:
    """A row of numbered tiles for each kind of receptacle; gives the height that is taken."""
    size, draw = image.width, ImageDraw.Draw(image)
    rows = _rows(view.tiles)
    height = min(size / 20, 0.66 * size / max(1, len(rows)))
    label = 0.32 * size
    pitch = (0.98 * size - label) / _PER_ROW
    for index, (kind, tiles) in enumerate(rows):
        top = 0.01 * size + index * height
        middle = top + height / 2
        letters = _fitting(kind, 0.75 * height, 0.3 * size)
        drawing.write(image, kind, (0.31 * size, middle), letters, GREY, anchor="rm")
        for column, tile in enumerate(tiles):
            left = label + column * pitch
            box = (left + 1, top + 1, left + pitch - 2, top + height - 2)
            fill = UNSEEN if tile.things is None else FULL if tile.things else EMPTY
            draw.rectangle(box, fill=fill, outline=GREY)
            if tile.open:  # the door stands away from the box
                draw.line((box[2], box[1], box[2], box[3]), fill=PAPER)
            if tile.here:
                draw.rectangle(box, outline=HERE, width=max(2, round(height / 8)))
            center = ((box[0] + box[2]) / 2, middle)
            drawing.write(image, tile.number, center, 0.7 * height, BLACK, anchor="mm")
    return 0.02 * size + len(rows) * height


_PER_ROW = 12


def _rows(tiles: Sequence[Tile]) -> list[tuple[str, list[Tile]]]:
    """Tiles by kind, at most `_PER_ROW` in a row; a kind's further rows carry no name."""
    rows = []
    for kind, group in groupby(tiles, key=lambda tile: tile.kind):
        members = list(group)
        for first in range(0, len(members), _PER_ROW):
            rows.append((kind if first == 0 else "", members[first : first + _PER_ROW]))
    return rows


def _draw_place(image: Image.Image, view: View, top: float, large: bool) -> None:
    """Name and contents of the place at hand, and below them what is in the hands."""
    size, draw = image.width, ImageDraw.Draw(image)
    line = (size - top) / (_LINES + 2)
    here = view.here
    draw.rectangle((0, top, size, top + line - 1), fill=HERE if here else GREY)
    _fit(image, here.name + _door(here) if here else "mid-room", (0, top, size, line), WHITE)
    cells = _cells(here)
    columns = 1 if not large else 2 if len(cells) <= 2 * _LINES else 3
    if len(cells) > columns * _LINES:
        shown = columns * _LINES - 1
        cells = [*cells[:shown], (f"+ {len(cells) - shown} more", GREY)]
    width = size / columns
    for index, (text, color) in enumerate(cells):
        row, column = divmod(index, columns)
        _fit(image, text, (column * width, top + (row + 1) * line, width, line), color)
    draw.rectangle((0, size - line, size, size), fill=HAND)
    held = _said(view.held) if view.held else "nothing"
    _fit(image, f"holds {held}" if large else held, (0, size - line, size, line), WHITE)


_LINES = 5  # of contents


def _door(tile: Tile) -> str:
    return "" if tile.open is None else ": open" if tile.open else ": shut"


def _cells(tile: Tile | None) -> list[tuple[str, Color]]:
    """What is written under the name of a place."""
    if tile is None:
        return []
    if tile.things is None:
        return [("?", GREY)]
    return [(_said(thing), _color(thing)) for thing in tile.things] or [("empty", GREY)]


def _said(thing: Thing) -> str:
    return " ".join((*thing.marks, thing.name))


def _color(thing: Thing) -> Color:
    return MARKS[thing.marks[0]] if thing.marks else BLACK


def _fit(
    image: Image.Image, text: str, box: tuple[float, float, float, float], color: Color
) -> None:
    """Write text as large as a box (left, top, width, height) allows, beginning at its left."""
    left, top, width, height = box
    margin = 0.03 * image.width
    size = _fitting(text, 0.8 * height, width - 1.5 * margin)
    drawing.write(image, text, (left + margin, top + 0.76 * height), size, color, anchor="ls")


def _fitting(text: str, size: float, width: float) -> float:
    """A font size of at most `size` at which the text is no wider than `width` pixels."""
    while size > 4 and drawing.text_size(text, size)[0] > width:
        size -= 0.5  # hinted letters do not shrink in proportion
    return size
