"""The atlas wall: the maps of many results at a glance, on one scale of heights; and each of them alone, for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from lossatlas.figures import marks, planes, relief, style
from lossatlas.figures.scale import Scale
from lossatlas.splits import one_split

Cell = tuple[str, str]  # names of its row and its column

WIDTH, HEIGHT = 7.0, 8.5  # inches for the maps, the text of a page
LARGEST = 2.0  # inches along a map: fewer cells make a smaller wall
BETWEEN = 0.05  # inches between maps
BAR = 0.13  # inches across the bar of heights
RIGHT = 0.85  # inches right of the maps, for the bar and its numbers
LONGEST = 1.2  # inches of a row's name in one line
SIZE = 0.55  # of lines and points, relative to a page's
THUMBNAIL = 2.0  # inches along a map that stands alone: 200 pixels at 100 dpi
NO_RESULT = "#F1F1F1"
SMALLEST = 6.5  # points
OWN_EXTENT = "Each map shows its own plane from edge to edge: heights can be compared, distances cannot."
PATH = ("start", "training path", "end of training")


def shared_scale(results: Mapping[Cell, xr.Dataset], *, split: str | None = None, variable: str = "loss") -> Scale:
    """The scale of a wall: that of all its results, which no exploding corner of one decides.

    Args:
        results: by row and column.
        split: of which split; may be left out where there is only one.
        variable: the quantity.
    """
    return Scale.shared(one_split(result, split)[variable] for result in results.values())


def wall(
    results: Mapping[Cell, xr.Dataset], rows: Sequence[str], columns: Sequence[str],
    *, title: str, split: str | None = None, variable: str = "loss", scale: Scale | None = None,
) -> Figure:  # fmt: skip
    """Small maps in a grid, each from edge to edge of its own plane, with one bar of heights and one legend.

    Args:
        results: planes by the names of their row and column; a cell without one stays empty.
        rows: names from the top, of one result at least.
        columns: names from the left.
        title: of the figure.
        split: which is shown; may be left out where there is only one.
        variable: the quantity.
        scale: of heights and colours; if left out, `shared_scale`.
    """
    if not rows or not columns:
        raise ValueError(f"got {len(rows)} rows and {len(columns)} columns: wanted one of each at least")
    scale = scale or shared_scale(results, split=split, variable=variable)
    parts = {cell: one_split(result, split) for cell, result in results.items()}
    left = 0.15 + min(LONGEST, _length(rows))
    side = min(LARGEST, (WIDTH - left - RIGHT) / len(columns) - BETWEEN, HEIGHT / len(rows) - BETWEEN)
    width = left + RIGHT + len(columns) * side + (len(columns) - 1) * BETWEEN
    names = [_wrapped(name, side) for name in columns]
    entries = _entries(parts, scale, variable, missing=len(parts) < len(rows) * len(columns))
    per_row, legend_rows = style.legend_columns(list(entries), width)
    note = textwrap.fill(OWN_EXTENT, int(width / (0.58 * SMALLEST / 72)))
    below = 0.1 + 0.11 * (note.count("\n") + 1)
    bottom, top = 0.1 + below + style.ROW * legend_rows, 0.36 + 0.15 * max(name.count("\n") + 1 for name in names)
    tall = len(rows) * side + (len(rows) - 1) * BETWEEN
    height = bottom + tall + top
    with style.canvas(title, width=width, height=height, margins=(0, 0, 0, 0), panels=0) as (figure, _):
        for down, row in enumerate(rows):
            y = bottom + (len(rows) - 1 - down) * (side + BETWEEN)
            for across, column in enumerate(columns):
                ax = _place(figure, left + across * (side + BETWEEN), y, side, side)
                _draw_cell(ax, parts.get((row, column)), variable, scale)
                if down == 0:
                    ax.set_title(names[across], fontsize=style.SMALL, pad=3)
                if across == 0:
                    ax.set_ylabel(
                        _wrapped(row, LONGEST), fontsize=style.SMALL, rotation=0, ha="right", va="center", labelpad=5
                    )
        if not scale.empty:
            high = min(tall, max(side, 3.0))
            place = _place(figure, width - RIGHT + 0.12, bottom + (tall - high) / 2, BAR, high)
            relief.color_bar(figure, scale, _quantity(parts, variable, split), cax=place)
        figure.legend(
            list(entries.values()), list(entries), loc="lower center", bbox_to_anchor=(0.5, below / height),
            ncols=per_row, columnspacing=1.6, borderaxespad=0,
        )  # fmt: skip
        figure.text(0.5, 0.05 / height, note, color="0.35", fontsize=SMALLEST, ha="center", va="bottom")
    return figure


def thumbnail(result: xr.Dataset, *, scale: Scale, split: str | None = None, variable: str = "loss") -> Figure:
    """One small map from edge to edge, without axes and words: 200 pixels square when saved with `dpi=100`.

    Args:
        result: a plane.
        scale: that of the wall: `shared_scale`.
        split: which one is shown; may be left out where there is only one.
        variable: the quantity.
    """
    figure = Figure(figsize=(THUMBNAIL, THUMBNAIL))
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    _draw_cell(ax, one_split(result, split), variable, scale, size=0.8, pixels=200)
    ax.set_axis_off()
    return figure


def key(
    results: Mapping[Cell, xr.Dataset], *, scale: Scale, split: str | None = None, variable: str = "loss"
) -> Figure:
    """The bar of heights lying down and the legend below it, for a page that places thumbnails itself.

    Args:
        results: those that the page shows, by row and column.
        scale: that of the wall: `shared_scale`.
        split: which one is shown; may be left out where there is only one.
        variable: the quantity.
    """
    parts = {cell: one_split(result, split) for cell, result in results.items()}
    entries = _entries(parts, scale, variable, missing=False)
    width = 3.6  # a phone's, with letters as large as its text
    per_row, rows = style.legend_columns(list(entries), width)
    ends = 0.17 if scale.above or scale.below else 0.0  # inches for the words at the ends of the bar
    height = 0.6 + ends + style.ROW * rows
    with style.canvas("", width=width, height=height, margins=(0, 0, 0, 0), panels=0) as (figure, _):
        if not scale.empty:
            place = _place(figure, 0.25, height - 0.05 - ends - BAR, width - 0.5, BAR)
            relief.color_bar(figure, scale, _quantity(parts, variable, split), cax=place, orientation="horizontal")
        figure.legend(
            list(entries.values()), list(entries), loc="lower center", bbox_to_anchor=(0.5, 0), ncols=per_row,
            columnspacing=1.2, borderaxespad=0,
        )  # fmt: skip
    return figure


def _place(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the lower left."""
    whole, tall = figure.get_size_inches()
    return figure.add_axes((x / whole, y / tall, width / whole, height / tall))


def _draw_cell(
    ax: Axes, part: xr.Dataset | None, variable: str, scale: Scale, *, size: float = SIZE, pixels: int = 200
) -> None:
    if part is None:
        ax.set_facecolor(NO_RESULT)
        ax.plot([0.44, 0.56], [0.5, 0.5], color="0.7", linewidth=1.2, transform=ax.transAxes)
    else:
        planes.draw_map(part, ax, variable=variable, scale=scale, pixels=pixels)
        marks.draw(part, ax, variable=variable, plotted=scale.plotted, levels=[], size=size)
        ax.set_aspect("auto")  # a cell is square, as the panels of a page are
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _entries(parts: Mapping[Cell, xr.Dataset], scale: Scale, variable: str, *, missing: bool) -> dict[str, Artist]:
    """What the legend explains, by its words: the marks that there are, contours, cells without a result."""
    entries: dict[str, Artist] = {}
    point: dict[str, Any] = marks.POINT | {"color": "white"}
    if any("path_alpha" in part for part in parts.values()):
        casing = [withStroke(linewidth=2, foreground="black")]
        entries[PATH[0]] = Line2D([], [], **point, marker="s", markersize=4.5)
        entries[PATH[1]] = Line2D([], [], color="white", linewidth=1, path_effects=casing)
        entries[PATH[2]] = Line2D([], [], **point, marker="*", markersize=8)
    if any("model_alpha" in part for part in parts.values()):
        entries["models"] = Line2D([], [], **point, marker="o", markersize=5)
    if any(marks.has_center(part) for part in parts.values()):
        entries[marks.CENTER] = Line2D([], [], color="black", linestyle="none", marker="+", markersize=5)
    if scale.contours:
        entries[scale.step_words] = Line2D([], [], color="0.3", linewidth=0.6)
    if any(np.any(planes.doubtful(part, variable, scale)) for part in parts.values()):
        entries[planes.DOUBTFUL] = Patch(facecolor="none", edgecolor="0.5", linewidth=0, hatch="/////")
    if missing:
        entries["no result"] = Patch(facecolor=NO_RESULT, edgecolor="0.8", linewidth=0.4)
    return entries


def _quantity(parts: Mapping[Cell, xr.Dataset], variable: str, split: str | None) -> str:
    """What the heights are: `train loss`."""
    first = next(iter(parts.values()), None)
    return " ".join(word for word in (split or "", variable if first is None else style.label(first[variable])) if word)


def _length(names: Sequence[str]) -> float:
    """The inches of the longest line of some names; a letter is about half of its size wide."""
    return 0.56 * style.SMALL / 72 * max(len(line) for name in names for line in _wrapped(name, LONGEST).split("\n"))


def _wrapped(name: str, width: float) -> str:
    """A name in as many lines as it needs, broken at the dots between levels."""
    fit = int(width / (0.56 * style.SMALL / 72))
    lines: list[str] = []
    for level in name.split(" · "):
        if lines and len(lines[-1]) + 3 + len(level) <= fit:
            lines[-1] += f" · {level}"
        else:
            lines.append(level)
    return "\n".join(lines)
