"""What the figures share: sizes, colours, labels, ticks, and which quantities of a result stand on which axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, Formatter
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.numbers import superscript

# Okabe & Ito 2008: told apart with every kind of colour vision, and in grey by their lightness.
COLORS = {"train": "#0072B2", "test": "#D55E00", "": "#0072B2"}
OTHER_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MISSING = "#D9D9D9"  # where the result has no finite value
DECADES = 2  # a loss whose positive values span more than this is drawn on a log axis
PLANE_DECADES = 0.7  # on a plane, a factor of 5: one high corner would take all colours, a curve shows its low part

FAMILY = "weight_decay"  # the dimension of a family of networks
BESIDE = {"split", "draw", "seed", FAMILY}  # dimensions along which one curve or plane stands beside another
OTHER_FORMS = {"eigenvalue", "block", "grid", "sample", "radius"}  # dimensions of spectra, densities, distributions
GENERAL = ("position α", "position β")  # long names of axes whose probe says no more

SMALL, NORMAL = 8, 9  # points
GAP = 0.14  # between panels, of their width
ROW = 0.17  # inches that a row of a legend takes
ROUND = [1, 2, 5, 10]  # steps between ticks of α and β
RC: Any = {
    "font.size": SMALL,
    "axes.labelsize": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
}
TICKS: dict[str, Any] = {"labelsize": SMALL, "width": 0.6, "length": 3, "pad": 2.5}


@contextmanager
def canvas(
    title: str, *, width: float, height: float, margins: tuple[float, float, float, float], panels: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A titled figure with panels side by side, in our style as long as the block lasts.

    Args:
        title: above them.
        width, height: of the figure, in inches.
        margins: left, right, bottom, top in inches: fixed, since a layout engine draws every figure twice.
        panels: how many; with 0 the caller adds them.
    """
    left, right, bottom, top = margins
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=GAP)
        axes = list(figure.subplots(1, panels, squeeze=False)[0]) if panels else []
        for ax in axes:
            ax.tick_params(which="major", **TICKS)  # ticks are made while saving, when this context is gone
            ax.tick_params(which="minor", width=0.4, length=1.5)
        heading(figure, title)
        yield figure, axes


@contextmanager
def single_panel(title: str, *, legend_rows: int = 1, label_rows: int = 1) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one panel, and room for a legend above it and a label below.

    Args:
        title: of the figure.
        legend_rows: for which there is room.
        label_rows: of the label below, for which there is room.
    """
    bottom, top = 0.29 + 0.16 * label_rows, 0.34 + 0.17 * legend_rows
    with canvas(title, width=5.0, height=2.5 + bottom + top, margins=(0.75, 0.15, bottom, top)) as (figure, (ax,)):
        yield figure, ax


def heading(figure: Figure, title: str) -> Text:
    """The title on top of a figure, smaller where it would be wider than the figure.

    Args:
        figure: of a size that stays.
        title: in one line.
    """
    width, height = figure.get_size_inches()
    size = min(NORMAL, 72 * (width - 0.2) / (0.6 * max(len(title), 1)))  # a letter is about 0.6 of its size wide
    return figure.suptitle(title, fontsize=size, y=1 - 0.08 / height, va="top")


def legend_above(ax: Axes, columns: int) -> None:
    """The legend in rows over the axes, where it covers no data; none where nothing has a name.

    Args:
        ax: whose lines have names.
        columns: entries that stand side by side.
    """
    if not ax.get_legend_handles_labels()[1]:
        return
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def legend_columns(entries: Sequence[str], width: float) -> tuple[int, int]:
    """How many entries of a legend stand side by side in a figure so wide, and in how many rows.

    Args:
        entries: their words.
        width: of the figure, in inches.
    """
    widths = [0.55 + 0.54 * SMALL / 72 * len(entry) for entry in entries]  # a letter is about half of its size wide
    for rows in range(1, len(widths) + 1):
        columns = [max(widths[at : at + rows]) for at in range(0, len(widths), rows)]  # filled one after the other
        if sum(columns) <= width:
            return len(columns), math.ceil(len(widths) / len(columns))
    return 1, len(widths)


def legend_below_title(figure: Figure, axes: Iterable[Axes], columns: int) -> None:
    """One legend of all axes in rows below the title; none where nothing has a name.

    Args:
        figure: with a title.
        axes: whose lines have names; those of one name have one entry.
        columns: entries that stand side by side.
    """
    named: dict[str, Artist] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    if named:
        below = 1 - 0.25 / figure.get_size_inches()[1]
        figure.legend(
            list(named.values()), list(named), loc="upper right", bbox_to_anchor=(1, below), ncols=columns,
            columnspacing=1.2,
        )  # fmt: skip


def colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for every split: blue for train (and a loss without splits), vermilion for test, others in turn.

    Args:
        names: of the splits, in the order of the result.
    """
    others = itertools.cycle(OTHER_COLORS)
    return {name: COLORS.get(name) or next(others) for name in names}


def axes(result: xr.Dataset, variable: str) -> tuple[str, ...]:
    """The axes over which a quantity is a curve or a plane: `("alpha",)`, `("step",)`, `("alpha", "beta")`.

    Nothing for what is neither: single numbers, flags, what has a form of its own.

    Args:
        result: of a probe.
        variable: its name in the result.
    """
    values = result[variable]
    if values.dtype.kind not in "fiu":
        return ()
    dims = [str(dim) for dim in values.dims if dim not in BESIDE] or [FAMILY] * (FAMILY in values.dims)
    if {"alpha", "beta"} <= set(dims):
        return "alpha", "beta"
    single = len(dims) == 1 and dims[0] not in OTHER_FORMS
    return (dims[0],) if single and dims[0] in result.coords and result[dims[0]].dtype.kind in "fiu" else ()


def quantities(result: xr.Dataset) -> list[str]:
    """What curves or planes of the result can show: the main quantity, then all others with the same dimensions.

    The main one is the loss; without a loss, the first that is a plane, or else a curve. Errors of another quantity
    are drawn only where they are asked for. Empty where there is neither.
    """
    names = [name for name in map(str, result.data_vars) if not name.endswith(("_error", "_residual"))]
    over = {name: axes(result, name) for name in names}
    drawn = sorted((name for name in over if over[name]), key=lambda name: (name != "loss", -len(over[name])))
    return [name for name in drawn if result[name].dims == result[drawn[0]].dims]


def own_label(coordinate: xr.DataArray) -> str:
    """What the probe itself says of an axis; empty where it has the general name, of which more can be told."""
    name = coordinate.attrs.get("long_name")
    return label(coordinate) if name and name not in GENERAL else ""


def label(values: xr.DataArray) -> str:
    """What an axis shows, with its unit where that is more than "as the criterion has it"."""
    name, units = values.attrs.get("long_name", str(values.name)), values.attrs.get("units", "1")
    return name if units in ("1", "", "criterion") else f"{name} ({units})"


def wants_log(values: np.ndarray, decades: float = DECADES) -> bool:
    """Whether the finite positive values span more than so many decades, and none is negative.

    Args:
        values: of any shape.
        decades: powers of ten.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if (finite < 0).any():
        return False
    return positive.size > 0 and bool(np.log10(positive.max()) - np.log10(positive.min()) > decades)


class PlainFormatter(Formatter):
    """Tick labels with just the digits that tell them apart.

    Unlike matplotlib's own they need no common factor or offset in a corner of the axes, where legends are.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        largest = max((abs(value) for value in values), default=0)
        kind = "f" if largest == 0 or 1e-3 <= largest < 1e5 else "e"
        tolerance = 1e-3 * min(np.diff(np.unique(values)), default=largest)
        labels: list[str] = []
        for digits in range(9):
            labels = [f"{value:.{digits}{kind}}" for value in values]
            if all(abs(float(text) - value) <= tolerance for text, value in zip(labels, values, strict=True)):
                break
        return [_short(text).replace("-", "−") for text in labels]


def _short(text: str) -> str:
    """`2.5e-07` as `2.5e-7`, and 0 without an exponent."""
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}" if float(mantissa) else "0"


def log_ticks(low: float, high: float) -> dict[float, str]:
    """Ticks between two powers of ten, and their labels: whole decades, at most six or so.

    Where there are fewer than three of them, 1, 2 and 5 (or 1 and 3) of each.

    Args:
        low, high: the ends of the axis, as powers of ten.

    >>> log_ticks(-1.5, 1), log_ticks(-1, -0.3)
    ({-1: '10⁻¹', 0: '10⁰', 1: '10¹'}, {-1.0: '0.1', -0.69897: '0.2', -0.30103: '0.5'})
    """
    first, last = math.ceil(low), math.floor(high)
    if last - first >= 2:
        powers = range(first, last + 1, max(1, math.ceil((last - first + 1) / 6)))
        return {power: f"10{superscript(power)}" for power in powers}
    ticks: dict[float, str] = {}
    for within in ({1: 0.0, 2: 0.30103, 5: 0.69897}, {1: 0.0, 3: 0.47712}):
        places = ((power, *tick) for power in range(first - 1, last + 2) for tick in within.items())
        ticks = {power + log: _times(times, power) for power, times, log in places if low <= power + log <= high}
        if len(ticks) <= 7:
            break
    return ticks


def _times(times: int, power: int) -> str:
    if -4 < power < 4:
        return f"{times * 10.0**power:.{max(-power, 0)}f}"
    return f"{times} × 10{superscript(power)}"


def label_decades(ax: Axes, powers: Iterable[int], low: float, high: float) -> None:
    """Powers of ten on both sides of zero along a symmetric logarithmic x axis, as far as they are shown.

    Args:
        ax: what to label.
        powers: exponents to label; none so small that its label runs into that of zero.
        low, high: the range of the axis.
    """
    ticks = {0.0: "0"}
    for sign, minus in ((-1, "−"), (1, "")):
        ticks |= {sign * 10.0**power: f"{minus}10{superscript(power)}" for power in powers}
    shown = {at: text for at, text in ticks.items() if at == 0 or low <= at <= high}
    ax.xaxis.set_major_locator(FixedLocator(list(shown)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(shown.values())))


def say_if_empty(ax: Axes, values: np.ndarray) -> bool:
    """Write into the axes that there is nothing to draw; whether that was so.

    Args:
        ax: in two or three dimensions.
        values: all that would be drawn.
    """
    empty = not np.isfinite(values).any()
    if empty:
        write = ax.text2D if isinstance(ax, Axes3D) else ax.text
        write(0.5, 0.75, "no finite values", transform=ax.transAxes, ha="center", va="center", color="0.3")
    return empty
