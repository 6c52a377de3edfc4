"""Plots as SVG inside a page: text as text, colours as the page's own, light or dark."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = 8  # the page's style knows so many; more series take them in turn
_SIZE = (4.4, 2.5)  # inches; the page scales it
_SHOWN = 400  # points of a curve; more than a phone has columns
_CLOUD = 800  # points of a cloud

# What matplotlib is told to draw with, and what the page puts in its place.
_STAND_INS = {"#010101": "var(--ink)", "#020202": "var(--muted)", "#030303": "var(--line)"} | {
    f"#0404{index:02x}": f"var(--s{index})" for index in range(COLOURS)
}
_INK, _MUTED, _LINE = list(_STAND_INS)[:3]
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a plot, with its spread over seeds where it has one."""

    name: str
    colour: int  # which of the page's
    x: NDArray[np.float64]  # [P]
    y: NDArray[np.float64]  # [P]  NaN where nothing is known
    low: NDArray[np.float64] | None = None  # [P]
    high: NDArray[np.float64] | None = None  # [P]
    dots: bool = False  # few and far between: mark each
    error: NDArray[np.float64] | None = None  # [2, P] of x, below and above
    cloud: NDArray[np.float64] | None = None  # [Q, 2] what its one point stands for


@dataclass(frozen=True)
class Mark:
    """A line across a plot that the eye compares with."""

    name: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An SVG with its title and key, which are the page's own text."""

    title: str
    unit: str
    svg: str
    series: tuple[tuple[str, int], ...]  # (name, colour) worth a key; none for a single one
    summary: str  # what a reader who sees no picture is told


def curves(title: str, unit: str, series: Sequence[Series], *, x_label: str = "update") -> Figure:
    """Lines over updates."""
    with _Canvas(title) as canvas:
        for each in map(_thinned, series):
            colour = _colour(each.colour)
            if each.low is not None and each.high is not None:
                canvas.axis.fill_between(
                    each.x, each.low, each.high, color=colour, alpha=0.18, linewidth=0
                )
            style = {"marker": "o", "markersize": 4} if each.dots or len(each.x) == 1 else {}
            canvas.axis.plot(each.x, each.y, color=colour, **style)
        canvas.axis.set_xlabel(x_label)
        canvas.axis.xaxis.get_major_locator().set_params(integer=True)
        if unit == "%":
            canvas.axis.yaxis.set_major_formatter(_percent)
            canvas.axis.set_ylim(-0.03, 1.03)
    lasts = ", ".join(f"{each.name} {_last(each):.4g}" for each in series if len(each.y))
    return canvas.figure_of(unit, series, f"{title} over updates; at the end: {lasts}")


def plane(
    title: str, series: Sequence[Series], marks: Sequence[Mark], *, labels: tuple[str, str]
) -> Figure:
    """Success across, diversity upwards; intervals as whiskers."""
    with _Canvas(title) as canvas:
        axis = canvas.axis
        for mark in marks:
            axis.axvline(mark.at, color=_MUTED, linewidth=1, dashes=(3, 3))
            place = ("right", -3) if mark.at > 0.5 else ("left", 3)
            axis.annotate(
                mark.name,
                (mark.at, 1),
                (place[1], -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=place[0],
                va="top",
                color=_MUTED,
                fontsize=8,
            )
        for each in series:
            colour = _colour(each.colour)
            if each.cloud is not None:
                axis.plot(*each.cloud.T, "o", color=colour, alpha=0.4, markersize=3)
            axis.errorbar(
                each.x, each.y, xerr=each.error, fmt="o", color=colour, elinewidth=1.2, markersize=6
            )
        axis.set_xlim(-0.02, 1.02)
        heights = [each.y for each in series] + [
            each.cloud[:, 1] for each in series if each.cloud is not None
        ]
        above = max(0.2, 1.2 * (float(np.nanmax(np.concatenate(heights))) - 1))
        axis.set_ylim(1 - 0.06 * above, 1 + above)  # of a start with a success there is one
        axis.xaxis.set_major_formatter(_percent)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
    told = "; ".join(f"{s.name}: {s.x[0]:.1%}, {s.y[0]:.2f}" for s in series if len(s.x))
    return canvas.figure_of("", series, f"{title}: {labels[0]} and {labels[1]}. {told}")


def scatter(title: str, unit: str, series: Sequence[Series], *, labels: tuple[str, str]) -> Figure:
    """Clouds of points around the line on which both are equal."""
    with _Canvas(title) as canvas:
        for each in series:
            chosen = np.linspace(0, len(each.x) - 1, min(len(each.x), _CLOUD)).astype(int)
            _dots(canvas.axis, each.x[chosen], each.y[chosen], _colour(each.colour))
        corner = max(float(each.x.max()) for each in series)
        canvas.axis.axline((corner, corner), slope=1, color=_MUTED, linewidth=1)
        canvas.axis.set_xlabel(labels[0])
        canvas.axis.set_ylabel(labels[1])
    summary = f"{title}: {labels[1]} over {labels[0]}, {len(series[0].x)} points"
    return canvas.figure_of(unit, series, summary)


def _dots(axis: Any, x: NDArray[np.float64], y: NDArray[np.float64], colour: str) -> None:
    """Points as one path of strokes without length: a tenth of the bytes of markers."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    vertices = np.repeat(np.stack([x, y], 1), 2, axis=0)
    path = Path(vertices, np.tile([Path.MOVETO, Path.LINETO], len(x)).tolist())
    path.should_simplify = False
    alpha, width = (0.9, 5.0) if len(x) < 60 else (0.45, 3.2)
    patch = PathPatch(path, edgecolor=colour, linewidth=width, capstyle="round", alpha=alpha)
    axis.add_patch(patch)
    axis.update_datalim(vertices)
    axis.autoscale_view()


class _Canvas:
    """A matplotlib figure in the page's style, drawn when the block ends."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._svg = ""

    def __enter__(self) -> "_Canvas":
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Drawing

        self._context = matplotlib.rc_context({**_STYLE, "svg.hashsalt": self._title})
        self._context.__enter__()
        self._drawing = Drawing(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(self._drawing)
        self.axis: Any = self._drawing.subplots()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            stream = StringIO()
            self._drawing.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
            self._svg = stream.getvalue()
        self._context.__exit__(*error)

    def figure_of(self, unit: str, series: Sequence[Series], summary: str) -> Figure:
        """What was drawn, for the page."""
        key = tuple((each.name, each.colour) for each in series) if len(series) > 1 else ()
        prefix = re.sub(r"\W+", "-", self._title.lower()).strip("-")
        return Figure(
            title=self._title,
            unit=unit,
            svg=inline(self._svg, prefix),
            series=key,
            summary=summary,
        )


def inline(svg: str, prefix: str) -> str:
    """Matplotlib's SVG as part of a page: names of its own, the page's colours and font.

    Args:
        svg: a whole document.
        prefix: begins every id that something refers to; others are dropped.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', svg))
    names = {name for pair in used for name in pair if name}
    svg = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in names else "",
        svg,
    )
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{prefix}-", svg)
    for stand_in, variable in _STAND_INS.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    svg = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg)
    head = re.match(r"<svg[^>]*>", svg)
    assert head is not None, "begins with its tag"
    box = re.search(r'viewBox="[^"]+"', head[0])
    assert box is not None, "matplotlib gives one"
    spaces = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
    return f'<svg {box[0]} {spaces} aria-hidden="true">{svg[head.end() :].strip()}'


def _colour(index: int) -> str:
    return f"#0404{index % COLOURS:02x}"


def _percent(value: float, _: object) -> str:
    return f"{value:.0%}"


def _last(series: Series) -> float:
    known = series.y[~np.isnan(series.y)]
    return float(known[-1]) if len(known) else np.nan


def _thinned(series: Series) -> Series:
    """At most `_SHOWN` points, each the mean of its neighbours; the last one stays as it is."""
    count = len(series.x)
    if count <= _SHOWN:
        return series
    edges = np.linspace(0, count - 1, _SHOWN).astype(int)

    def mean(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if values is None:
            return None
        sums = np.add.reduceat(values, edges)
        return sums / np.diff(np.append(edges, count))

    x, y = mean(series.x), mean(series.y)
    assert x is not None, "given"
    assert y is not None, "given"
    return Series(
        name=series.name,
        colour=series.colour,
        x=x,
        y=y,
        low=mean(series.low),
        high=mean(series.high),
        dots=series.dots,
    )
