"""Curvature block by block: the ends of every block's spectrum, and its trace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lossatlas.figures import style
from lossatlas.numbers import superscript

DECADES = 4  # shown at most on either side of zero; what is nearer to it is drawn on a linear scale
APART = 0.26  # between two splits, in rows
ROW = 0.2  # inches
LONGEST = 40  # characters of a block's name; of a longer one the middle is left out


def draw_block_eigenvalues(result: xr.Dataset, ax: Axes) -> Axes:
    """The largest eigenvalues of every block as dots, one row per block from the top, the smallest as a hollow dot.

    A line joins both ends. Blocks that have not converged have crosses. Where the blocks' largest |λ| span over
    two decades the axis is logarithmic on both sides of zero.
    """
    ends = result.eigenvalues.isel(eigenvalue=0), result.smallest
    every = np.stack([values.values for values in ends])
    for label, color, shift, part in _parts(result):
        rows = np.arange(part.sizes["block"]) + shift
        tops = np.ma.masked_invalid(part.eigenvalues.transpose("block", "eigenvalue").values)
        bottom = np.ma.masked_invalid(part.smallest.values)
        highest = tops[:, 0]
        ax.hlines(rows, np.ma.minimum(bottom, highest), highest, color=color, linewidth=0.8, alpha=0.5)
        converged = part.converged.values.astype(bool)
        for sure, marker in ((converged, "o"), (~converged, "x")):
            if sure.any():
                at = np.repeat(rows[sure], tops.shape[1])
                ax.plot(tops[sure].ravel(), at, marker, color=color, markersize=3.5)
                ax.plot(
                    bottom[sure], rows[sure], marker, color=color, markersize=3.5,
                    markerfacecolor="white" if marker == "o" else color, markeredgewidth=0.8,
                )  # fmt: skip
        ax.plot([], [], "o", color=color, markersize=3.5, label=label)
    _scale(ax, every)
    _rows(ax, result)
    style.say_if_empty(ax, every)
    ax.set_xlabel("eigenvalues λ: largest ● and smallest ○")
    return ax


def draw_block_trace(result: xr.Dataset, ax: Axes) -> Axes:
    """The trace of every block as a dot with its standard error, one row per block from the top."""
    every = result.trace.values
    for label, color, shift, part in _parts(result):
        rows = np.arange(part.sizes["block"]) + shift
        trace, error = (np.ma.masked_invalid(part[name].values) for name in ("trace", "trace_error"))
        ax.errorbar(
            trace.filled(np.nan), rows, xerr=error.filled(0), fmt="o", color=color, markersize=3.5, ecolor="0.2",
            elinewidth=0.8, capsize=2, label=label,
        )  # fmt: skip
    _scale(ax, every[None])
    _rows(ax, result)
    style.say_if_empty(ax, every)
    ax.set_xlabel("trace ± standard error")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`hessian_blocks.png`: eigenvalues and traces side by side, the number of parameters behind each name."""
    names = _names(result)
    left = 0.2 + 0.063 * max(map(len, names))  # a letter of this size is about 0.06 inches wide
    rows = result.sizes["block"]
    many = len(style.splits(result)) > 1
    height = max(ROW * rows, 0.8) * (1.4 if many else 1)
    margins = (left, 0.15, 0.5, 0.34 + 0.2 * many)
    page = style.canvas(title, width=left + 5.2, height=height + margins[2] + margins[3], margins=margins, panels=2)
    with page as (figure, (first, second)):
        draw_block_eigenvalues(result, first)
        draw_block_trace(result, second)
        first.set_yticks(range(rows), names)
        second.tick_params(labelleft=False)
        if many:
            style.legend_above(second, columns=4)
    yield "hessian_blocks.png", figure


def _parts(result: xr.Dataset) -> Iterator[tuple[str, str, float, xr.Dataset]]:
    """Name, colour, distance from the middle of the row, and result of every split."""
    parts = style.splits(result)
    others = 0
    for index, (split, part) in enumerate(parts.items()):
        yield split, style.color(split, others), APART * (index - (len(parts) - 1) / 2), part
        others += split not in style.COLORS


def _names(result: xr.Dataset) -> list[str]:
    """Blocks with their number of parameters, not too long."""
    return [
        f"{_short(str(block))} · {int(size):,}"
        for block, size in zip(result.block.values, result.parameters.values, strict=True)
    ]


def _short(name: str) -> str:
    half = (LONGEST - 1) // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def _rows(ax: Axes, result: xr.Dataset) -> None:
    """Rows from the top, a light line in each."""
    count = result.sizes["block"]
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_yticks(range(count), [str(block) for block in result.block.values])
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color="0.4", linewidth=0.6)
    ax.grid(True, color="0.92", linewidth=0.5)


def _scale(ax: Axes, values: np.ndarray) -> None:
    """Logarithmic on both sides of zero where the largest magnitudes `(any, blocks)` span over two decades."""
    sizes = np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=0)
    sizes = sizes[sizes > 0]
    if not sizes.size or not style.wants_log(sizes):
        ax.xaxis.set_major_formatter(style.PlainFormatter())
        ax.margins(x=0.06)
        return
    top = math.ceil(math.log10(sizes.max()))
    lowest = max(top - DECADES, math.floor(math.log10(sizes.min())) - 1)
    ax.set_xscale("symlog", linthresh=10.0**lowest, linscale=0.4)
    finite = values[np.isfinite(values)]
    ends = [10.0 ** math.ceil(math.log10(max(float(side), 10.0**lowest))) for side in (-finite.min(), finite.max())]
    sides = [bool(end > 10.0**lowest) for end in ends]
    near = 10.0**lowest / 3  # the other side of zero, where nothing is
    ax.set_xlim(-1.5 * ends[0] if sides[0] else -near, 1.5 * ends[1] if sides[1] else near)
    _label_decades(ax, lowest, top, sides)


def _label_decades(ax: Axes, lowest: int, top: int, sides: Sequence[bool]) -> None:
    """Powers of ten on the sides that are there, every second where there are many, none beside zero."""
    step = 1 if sum(sides) * (top - lowest) < 6 else 2
    powers = range(top, lowest, -step)
    ticks = {0.0: "0"}
    for sign, there in zip((-1, 1), sides, strict=True):
        ticks |= {sign * 10.0**p: f"{'−' if sign < 0 else ''}10{superscript(p)}" for p in powers if there}
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    ax.xaxis.set_minor_locator(NullLocator())
