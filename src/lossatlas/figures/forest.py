"""Forest plots: what statements rest on, each with its estimate, its intervals, the rule's bound and the verdict."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lossatlas.figures import style

Verdict = Literal["supported", "contradicted", "mixed", "undecided"]

# Told by shape and fill without colour: filled where it is decided, half where both, empty where nothing is.
MARKERS: dict[str, dict[str, Any]] = {
    "supported": {"color": "#0072B2", "marker": "o", "markersize": 7.5, "markeredgecolor": "white"},
    "contradicted": {"color": "#C84B00", "marker": "X", "markersize": 9, "markeredgecolor": "white"},
    "mixed": {"color": "#7A1FA2", "marker": "D", "markersize": 5.5, "fillstyle": "left", "markerfacecoloralt": "white"},
    "undecided": {"color": "#5F5F5F", "marker": "o", "markersize": 6, "markerfacecolor": "white"},
}
HOLDS = "#DCE9F2"  # where the statement holds
THICK, THIN = 3.2, 0.9  # points: interval over seeds and draws, over configurations
LINE = 0.145  # inches from one line of text to the next
EDGE = 1.06  # half the width of a row's axis; intervals reach to 1
INTERVALS = ("95 % over seeds and draws", "95 % over configurations", "where the statement holds")


@dataclass(frozen=True)
class ForestRow:
    """A statement, and what it rests on in units of its own.

    Attributes:
        statement: in words.
        group: under which it stands, such as "optimizer".
        estimate: NaN where there is none.
        low, high: its interval over seeds and draws of the data; NaN where there is none.
        configurations_low, configurations_high: its interval over configurations; NaN where there is none.
        bound: between which two values the statement holds; infinite on a side without bound.
        verdict: supported, contradicted, mixed or undecided.
        number: the estimate and its intervals in words.
    """

    statement: str
    group: str
    estimate: float
    low: float
    high: float
    configurations_low: float
    configurations_high: float
    bound: tuple[float, float]
    verdict: Verdict
    number: str


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in inches."""

    width: float
    plot: tuple[float, float]  # left and right end
    verdict: float  # left end of the verdict
    number: float  # left end of the number
    statement_letters: int
    number_letters: int
    stacked: bool  # statement above, number below the axis
    tallest: float  # of one figure


_WIDE = _Layout(
    width=7.0, plot=(2.95, 5.15), verdict=5.3, number=5.3, statement_letters=46, number_letters=28, stacked=False,
    tallest=9.3,
)  # fmt: skip
_NARROW = _Layout(
    width=3.6, plot=(0.1, 3.5), verdict=0.1, number=1.05, statement_letters=56, number_letters=42, stacked=True,
    tallest=14.0,
)  # fmt: skip
_GROUP = 0.32  # inches that the name of a group takes


def forest(rows: Sequence[ForestRow], title: str, *, narrow: bool = False) -> list[Figure]:
    """As many figures as it takes, each with rows under the name of their group.

    Every row has an axis of its own, which grows to the right: it is as wide as the wider interval, its middle is the
    bound (with two bounds the middle between them), and it is shaded where the statement holds.

    Args:
        rows: in their order; those of one group stand together.
        title: of every figure; from the second on it says which one it is.
        narrow: for a phone: statements stand above their axes, numbers below.
    """
    layout = _NARROW if narrow else _WIDE
    pages = list(_pages(rows, layout))
    numbered = (f"{title} ({at} of {len(pages)})" if len(pages) > 1 else title for at in itertools.count(1))
    return [_draw(page, name, layout) for page, name in zip(pages, numbered, strict=False)]


def fits(rows: Sequence[ForestRow], *, narrow: bool = False) -> bool:
    """Whether these rows make one figure of `forest`."""
    layout = _NARROW if narrow else _WIDE
    return len(rows) < 2 or _height(rows, layout) <= layout.tallest


def _pages(rows: Sequence[ForestRow], layout: _Layout) -> Iterator[list[ForestRow]]:
    """Rows that fit on a figure; a group that goes on has its name again."""
    page: list[ForestRow] = []
    for row in rows:
        if page and _height([*page, row], layout) > layout.tallest:
            yield page
            page = []
        page.append(row)
    if page:
        yield page


def _height(rows: Sequence[ForestRow], layout: _Layout) -> float:
    groups = len(list(itertools.groupby(rows, key=lambda row: row.group)))
    return _top(layout) + groups * _GROUP + sum(_row_height(row, layout) for row in rows) + 0.1


def _top(layout: _Layout) -> float:
    return 0.35 + style.ROW * (4 if layout.stacked else 2)


def _row_height(row: ForestRow, layout: _Layout) -> float:
    statement, number = (len(lines) for lines in _lines(row, layout))
    if layout.stacked:
        return LINE * (statement + number) + 0.42
    return LINE * max(statement, number + 1) + 0.13


def _lines(row: ForestRow, layout: _Layout) -> tuple[list[str], list[str]]:
    """The lines of the statement, and of the number."""
    texts = ((row.statement, layout.statement_letters), (row.number, layout.number_letters))
    statement, number = (textwrap.wrap(text, letters) or [""] for text, letters in texts)
    return statement, number


def _draw(rows: Sequence[ForestRow], title: str, layout: _Layout) -> Figure:
    height = _height(rows, layout)
    with style.canvas(title, width=layout.width, height=height, margins=(0, 0, 0, 0), panels=0) as (figure, _):
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, layout.width), ylim=(height, 0))  # inches from the upper left
        ax.set_axis_off()
        _add_legend(figure, layout, height)
        y = _top(layout)
        for group, inside in itertools.groupby(rows, key=lambda row: row.group):
            ax.text(0.1, y + _GROUP - 0.1, group, fontsize=style.NORMAL, fontweight="bold", va="baseline")
            ax.plot([0.1, layout.width - 0.1], [y + _GROUP - 0.04] * 2, color="0.6", linewidth=0.5)
            y += _GROUP
            for row in inside:
                _draw_row(ax, row, y, layout)
                y += _row_height(row, layout)
    return figure


def _draw_row(ax: Axes, row: ForestRow, y: float, layout: _Layout) -> None:
    statement, number = _lines(row, layout)
    if layout.stacked:
        above, middle = y + 0.07, y + LINE * len(statement) + 0.2
        verdict_at = number_at = middle + 0.12
    else:
        middle = y + _row_height(row, layout) / 2
        above, verdict_at = (middle - LINE * lines / 2 for lines in (len(statement), len(number) + 1))
        number_at = verdict_at + LINE
    text: dict[str, Any] = {"fontsize": style.SMALL, "va": "top", "linespacing": LINE * 72 / style.SMALL / 1.04}
    ax.text(0.1, above, "\n".join(statement), **text)
    ax.text(layout.verdict, verdict_at, row.verdict, **text, color=MARKERS[row.verdict]["color"], fontweight="bold")
    ax.text(layout.number, number_at, "\n".join(number), **text)
    _draw_axis(ax, row, middle, layout)


def _draw_axis(ax: Axes, row: ForestRow, y: float, layout: _Layout) -> None:
    place = _Place(row, *layout.plot)
    half = 0.09
    low, high = place(row.bound[0]), place(row.bound[1])
    ax.add_patch(Rectangle((low, y - half), high - low, 2 * half, facecolor=HOLDS, linewidth=0))
    ax.plot(layout.plot, [y, y], color="0.8", linewidth=0.5, zorder=1)
    for bound in row.bound:
        if math.isfinite(bound):
            ax.plot([place(bound)] * 2, [y - half - 0.02, y + half + 0.02], color="0.2", linewidth=0.9, zorder=2)
    look = MARKERS[row.verdict]
    ends = ((row.configurations_low, row.configurations_high, THIN), (row.low, row.high, THICK))
    for start, end, width in ends:
        if not math.isnan(start) and not math.isnan(end):
            line: dict[str, Any] = {"color": look["color"], "linewidth": width, "solid_capstyle": "butt"}
            ax.plot([place(start), place(end)], [y, y], **line, zorder=3)
    if math.isfinite(row.estimate):
        ax.plot([place(row.estimate)], [y], **look, linestyle="none", markeredgewidth=0.9, zorder=4)
    else:
        ax.text(sum(layout.plot) / 2, y, "no number", fontsize=style.SMALL, color="0.4", ha="center", va="center")


class _Place:
    """From the units of a row to inches along its axis."""

    def __init__(self, row: ForestRow, left: float, right: float) -> None:
        bounds = [bound for bound in row.bound if math.isfinite(bound)]
        shown = (row.estimate, row.low, row.high, row.configurations_low, row.configurations_high, *bounds)
        values = [value for value in shown if math.isfinite(value)]
        self.middle = sum(bounds) / len(bounds) if bounds else 0.0
        self.reach = max((abs(value - self.middle) for value in values), default=0.0) or 1.0
        self.center, self.half = (left + right) / 2, (right - left) / 2 / EDGE

    def __call__(self, value: float) -> float:
        return self.center + self.half * min(max((value - self.middle) / self.reach, -EDGE), EDGE)


def _add_legend(figure: Figure, layout: _Layout, height: float) -> None:
    thick, thin, holds = INTERVALS
    entries: dict[str, Any] = {
        thick: Line2D([], [], color="0.25", linewidth=THICK),
        thin: Line2D([], [], color="0.25", linewidth=THIN),
        holds: Patch(facecolor=HOLDS, edgecolor="0.2", linewidth=0.6),
    }
    verdicts = {
        verdict: Line2D([], [], **look, linestyle="none", markeredgewidth=0.9) for verdict, look in MARKERS.items()
    }
    top = 1 - 0.25 / height
    columns = (1, 4) if layout.stacked else (3, 4)
    below = top - style.ROW * (3 if layout.stacked else 1) / height
    for drawn, y, count, length in ((entries, top, columns[0], 1.8), (verdicts, below, columns[1], 1.0)):
        figure.legend(
            list(drawn.values()), list(drawn), loc="upper left", bbox_to_anchor=(0.1 / layout.width, y), ncols=count,
            columnspacing=1.0, borderaxespad=0, borderpad=0.1, handlelength=length, handletextpad=0.5,
        )  # fmt: skip
