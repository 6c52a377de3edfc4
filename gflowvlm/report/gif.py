"""Games as an animated GIF, drawn with Pillow: one frame a move, one for the end of each game."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gflowvlm.report.playback import EXPLANATION, Choice, Move, Playback
from gflowvlm_envs.drawing import BLACK, GREY, WHITE, Color, blank, font, write

MARGIN, PICTURE, COLUMN = 24, 320, 500  # pixels; the words stand in a column beside the picture
WIDTH = 3 * MARGIN + PICTURE + COLUMN
WORD, BAR, SHARE = 320, 200, 75  # of an action's line: its word and its bar at most, its figure
TEXT, SMALL = 20.0, 14.0  # font sizes
LEADING = 1.4  # line height over font size
TOP, BOTTOM, BANNER = 64, 84, 72  # pixels for the title above, the words below, the outcome

BLUE: Color = (30, 110, 200)
PALE: Color = (190, 200, 212)
GREEN: Color = (20, 130, 60)
RED: Color = (190, 40, 40)

SHORTEST, LONGEST, FINAL = 1500, 8000, 3000  # milliseconds that a frame stays
PER_CHARACTER = 30  # milliseconds to read a character of the thought


@dataclass(frozen=True)
class Line:
    """A line of the column: words, or an action with its bar."""

    text: str = ""
    size: float = TEXT
    color: Color = BLACK
    share: float | None = None  # length of the bar

    @property
    def height(self) -> int:
        """Pixels."""
        return round(LEADING * self.size)

    @property
    def fitted(self) -> tuple[str, float]:
        """An action's words and a font size at which they fit their place; cut as a last resort."""
        size = self.size
        while font(size).getlength(self.text) > WORD and size > SMALL:
            size -= 1
        if font(size).getlength(self.text) <= WORD:
            return self.text, size
        return wrapped(self.text, size, WORD - MARGIN)[0] + "...", size


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What one frame shows."""

    title: str
    image: NDArray[np.uint8]  # [H, W, 3]
    task: list[str]  # lines below the picture
    lines: list[Line]
    outcome: tuple[str, Color] | None
    milliseconds: int


def write_gif(playbacks: Sequence[Playback], path: Path) -> Path:
    """Draw all games into one file, which appears whole or not at all."""
    pages = [page for playback in playbacks for page in _pages(playback)]
    tallest = max(max(_task_height(page), _words_height(page)) for page in pages)
    height = TOP + tallest + BOTTOM
    frames = [_draw(page, height) for page in pages]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    frames[0].save(
        partial,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[page.milliseconds for page in pages],
        loop=0,
    )
    partial.replace(path)
    return path


def wrapped(text: str, size: float, width: float) -> list[str]:
    """The text in lines of at most `width` pixels; a word too long for one is broken."""
    lines: list[str] = []
    measure = font(size).getlength
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if measure(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            while measure(word) > width:
                fits = next(n for n in range(len(word), 0, -1) if measure(word[:n]) <= width)
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


def _pages(playback: Playback) -> list[_Page]:
    """A page a move; the last one again with the outcome below."""
    pages = [
        _Page(
            title=f"{playback.title}, step {number}",
            image=move.decision.observation.image,
            task=wrapped(move.decision.observation.task, SMALL, PICTURE),
            lines=_column(move),
            outcome=None,
            milliseconds=min(SHORTEST + PER_CHARACTER * len(move.thought), LONGEST),
        )
        for number, move in enumerate(playback.moves, start=1)
    ]
    last = pages[-1]
    end = _Page(
        title=last.title,
        image=last.image,
        task=last.task,
        lines=last.lines,
        outcome=(playback.outcome, GREEN if playback.episode.success else RED),
        milliseconds=FINAL,
    )
    return [*pages, end]


def _words_height(page: _Page) -> int:
    return sum(line.height for line in page.lines)


def _task_height(page: _Page) -> int:
    """The picture's place with the task below."""
    return PICTURE + MARGIN // 2 + len(page.task) * round(LEADING * SMALL)


def _column(move: Move) -> list[Line]:
    lines = []
    shown = move.decision.observation.text
    for label, words in (("shown", shown), ("states", move.stated), ("thinks", move.thought)):
        if words:
            lines.append(Line(label, SMALL, GREY))
            lines += [Line(line) for line in wrapped(words, TEXT, COLUMN)]
            lines.append(Line(size=SMALL / 2))
    lines.append(Line("does", SMALL, GREY))
    color = RED if move.decision.reply.action is None else BLUE
    lines += [Line(line, TEXT, color) for line in wrapped(move.said, TEXT, COLUMN)]
    if not move.choices:
        return lines
    lines += [Line(size=SMALL / 2), Line("could have done", SMALL, GREY)]
    listed, others, rest = move.listed()
    lines += [_bar(choice) for choice in listed]
    if others:
        lines.append(Line(f"{others} others {rest:.1%}", SMALL, GREY))
    return lines


def _bar(choice: Choice) -> Line:
    return Line(choice.word, color=BLUE if choice.taken else BLACK, share=choice.probability)


def _draw(page: _Page, height: int) -> Image.Image:
    frame = blank((WIDTH, height))
    write(frame, page.title, (MARGIN, MARGIN), TEXT, GREY)
    picture = _scaled(page.image)
    frame.paste(picture, (MARGIN, TOP))
    ImageDraw.Draw(frame).rectangle(
        (MARGIN - 1, TOP - 1, MARGIN + picture.width, TOP + picture.height), outline=PALE
    )
    for number, text in enumerate(page.task):
        below = TOP + PICTURE + MARGIN // 2 + number * round(LEADING * SMALL)
        write(frame, text, (MARGIN, below), SMALL, GREY)
    y = TOP
    words = [line.fitted for line in page.lines if line.share is not None]
    widths = [font(size).getlength(word) for word, size in words]
    place = round(max(widths, default=0)) + MARGIN
    for line in page.lines:
        _draw_line(frame, line, y, place)
        y += line.height
    if page.outcome is None:
        for number, line in enumerate(wrapped(EXPLANATION, SMALL, WIDTH - 2 * MARGIN)):
            y = height - BOTTOM + 8 + number * round(LEADING * SMALL)
            write(frame, line, (MARGIN, y), SMALL, GREY)
    else:
        text, color = page.outcome
        ImageDraw.Draw(frame).rectangle((0, height - BANNER, WIDTH, height), fill=color)
        middle = (WIDTH / 2, height - BANNER / 2)
        write(frame, text, middle, 1.2 * TEXT, WHITE, anchor="mm")
    return frame


def _draw_line(frame: Image.Image, line: Line, y: int, place: int) -> None:
    """Draw a line at height y; bars begin `place` pixels after the column does."""
    x = 2 * MARGIN + PICTURE
    middle = y + line.height / 2
    if line.share is None:
        write(frame, line.text, (x, middle), line.size, line.color, anchor="lm")
        return
    word, size = line.fitted
    write(frame, word, (x, middle), size, line.color, anchor="lm")
    longest = min(BAR, COLUMN - SHARE - place)
    left, right = x + place, x + place + max(1, round(longest * line.share))
    bar = (left, middle - 0.35 * line.size, right, middle + 0.35 * line.size)
    ImageDraw.Draw(frame).rectangle(bar, fill=line.color if line.color == BLUE else PALE)
    write(frame, f"{line.share:.1%}", (x + COLUMN, middle), line.size, line.color, anchor="rm")


def _scaled(image: NDArray[np.uint8]) -> Image.Image:
    """As large as fits; small pictures by whole factors, so that their pixels stay square."""
    height, width = image.shape[:2]
    scale = PICTURE / max(height, width)
    small = scale >= 1
    scale = int(scale) if small else scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, how)
