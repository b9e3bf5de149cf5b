"""What the figures share: sizes, colours, labels, numbers in words, and curves over α."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Formatter
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.numbers import superscript

# Okabe & Ito 2008: told apart with every kind of colour vision, and in grey by their lightness.
COLORS = {"train": "#0072B2", "test": "#D55E00", "": "#0072B2"}
OTHER_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLORMAP = "viridis"
MISSING = "#D9D9D9"  # where the result has no finite value
DECADES = 2  # a loss whose positive values span more than this is drawn on a log axis
PLANE_DECADES = 0.7  # on a plane, a factor of 5: one high corner would take all colours, a curve shows its low part

SMALL, NORMAL = 8, 9  # points
GAP = 0.14  # between panels, of their width
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
    """A titled figure with `panels` side by side (0: the caller adds them), in our style as long as the block lasts.

    `margins` are left, right, bottom, top in inches: fixed, since a layout engine draws every figure twice.
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


def heading(figure: Figure, title: str) -> Text:
    """The title on top of a figure, smaller where it would be wider than the figure."""
    width, height = figure.get_size_inches()
    size = min(NORMAL, 72 * (width - 0.2) / (0.6 * max(len(title), 1)))  # a letter is about 0.6 of its size wide
    return figure.suptitle(title, fontsize=size, y=1 - 0.08 / height, va="top")


def legend_above(ax: Axes, columns: int) -> None:
    """The legend in rows over the axes, where it covers no data; none where nothing has a name."""
    if not ax.get_legend_handles_labels()[1]:
        return
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def splits(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """The result of every split by name; `{"": result}` where there is only one loss."""
    if "split" not in result.dims:
        return {"": result}
    return {str(name): result.sel(split=name) for name in result.split.values}


def one_split(result: xr.Dataset, split: str | None) -> xr.Dataset:
    """The one split that a surface shows: the named one, or the only one there is."""
    named = splits(result)
    if split is None and len(named) == 1:
        return next(iter(named.values()))
    if split not in named:
        raise ValueError(f"split is {split!r}: one surface shows one split, choose from {', '.join(named)}")
    return named[split]


def color(split: str, others: int = 0) -> str:
    """Blue for train (and a loss without splits), vermilion for test, `others` counts through the rest."""
    return COLORS.get(split, OTHER_COLORS[others % len(OTHER_COLORS)])


def metrics(result: xr.Dataset) -> list[str]:
    """The quantities beside the loss that lie on the same grid."""
    return [
        str(name)
        for name, values in result.data_vars.items()
        if name not in ("loss", "measured") and values.dims == result.loss.dims
    ]


def label(values: xr.DataArray) -> str:
    """What an axis shows, with its unit where that is more than "as the criterion has it"."""
    name, units = values.attrs.get("long_name", str(values.name)), values.attrs.get("units", "1")
    return name if units in ("1", "", "criterion") else f"{name} ({units})"


def wants_log(values: np.ndarray, decades: float = DECADES) -> bool:
    """Whether the finite positive values span more than so many decades, and none is negative."""
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


def say_if_empty(ax: Axes, values: np.ndarray) -> bool:
    """Write into the axes that there is nothing to draw; whether that was so."""
    empty = not np.isfinite(values).any()
    if empty:
        write = ax.text2D if isinstance(ax, Axes3D) else ax.text
        write(0.5, 0.75, "no finite values", transform=ax.transAxes, ha="center", va="center", color="0.3")
    return empty
