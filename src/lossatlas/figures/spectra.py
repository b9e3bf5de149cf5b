"""Spectra of the matrices of curvature: eigenvalues by rank, the density of all of them, and those of every block."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lossatlas.figures import style
from lossatlas.numbers import number, with_error
from lossatlas.splits import splits

# By the attribute `matrix` of a result, which is of the Hessian where it says nothing.
MATRICES = {"hessian": "Hessian", "gauss-newton": "Gauss-Newton matrix", "fisher": "Fisher matrix"}
MAX_TICKS = 12
LINEAR_DECADES = 4  # from the largest |λ| down to where the axis of a density becomes linear
DECADES_SHOWN = 6  # of the density below its maximum: further down are the tails of the broadening
BLOCK_DECADES = 4  # of blocks, shown at most on either side of zero; what is nearer to it is drawn on a linear scale
APART = 0.24  # between the stems of two splits, in ranks
ROWS_APART = 0.26  # between two splits, in rows of blocks
ROW = 0.2  # inches that a block takes
LONGEST = 40  # characters of a block's name; of a longer one the middle is left out


def spectrum_page(result: xr.Dataset, title: str) -> Figure:
    """The largest eigenvalues by rank, with the legend of every split in a row of its own."""
    with style.single_panel(title, legend_rows=len(splits(result))) as (figure, ax):
        draw_spectrum(result, ax)
        style.legend_above(ax, columns=1)
    return figure


def density_page(result: xr.Dataset, title: str) -> Figure:
    """The spectral density, with the legend of every split in a row of its own."""
    with style.single_panel(title, legend_rows=len(splits(result))) as (figure, ax):
        draw_density(result, ax)
        style.legend_above(ax, columns=1)
    return figure


def blocks_page(result: xr.Dataset, title: str) -> Figure:
    """Eigenvalues and traces of blocks side by side, the number of parameters behind each name."""
    names = _names(result)
    left = 0.2 + 0.063 * max(map(len, names))  # a letter of this size is about 0.06 inches wide
    rows = result.sizes["block"]
    many = len(splits(result)) > 1
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
    return figure


def draw_spectrum(result: xr.Dataset, ax: Axes) -> Axes:
    """The largest eigenvalues by rank as stems, with their residuals ‖Hv − λv‖ as error bars.

    The legend gives the trace with its standard error and the smallest eigenvalue of each split, as far as the result
    holds them, and says which of them have not converged. Eigenvalues that are all positive and span over two decades
    go on a log axis.

    Args:
        result: with `eigenvalues` by `eigenvalue`.
        ax: what to draw into.
    """
    every = result.eigenvalues.values
    finite = every[np.isfinite(every)]
    log = style.wants_log(finite) and bool((finite > 0).all())
    bottom = 10.0 ** math.floor(math.log10(finite.min())) if log else 0.0
    for split, color, shift, part in _parts(result, APART):
        rank, values = part.eigenvalue.values + shift, np.ma.masked_invalid(part.eigenvalues.values)
        ax.vlines(rank, bottom, values, color=color, linewidth=1.2)
        ax.plot(rank, values, "o", color=color, markersize=4, label=_summary(split, part))
        if "residuals" in part:
            residuals = np.ma.masked_invalid(part.residuals.values)
            ax.errorbar(
                rank, values.filled(np.nan), residuals.filled(np.nan), fmt="none", ecolor="0.2", elinewidth=0.8,
                capsize=2, zorder=1.5,
            )  # fmt: skip
    if log:
        ax.set_yscale("log", nonpositive="mask")
        ax.set_ylim(bottom=bottom)
    else:
        ax.yaxis.set_major_formatter(style.PlainFormatter())
        ax.axhline(0, color="0.4", linewidth=0.6)
    style.say_if_empty(ax, every)
    ax.set_xlim(result.eigenvalue.values[0] - 0.6, result.eigenvalue.values[-1] + 0.6)
    ax.set_xticks(result.eigenvalue.values[:: -(-result.sizes["eigenvalue"] // MAX_TICKS)])
    ax.set_xlabel("rank of the eigenvalue")
    ax.set_ylabel(_eigenvalue_of(result))
    ax.grid(True, axis="y", color="0.9", linewidth=0.5)
    return ax


def draw_density(result: xr.Dataset, ax: Axes) -> Axes:
    """The spectral density over the eigenvalues, a line per split, its standard error as a band.

    The density axis is logarithmic, and so is the axis of the eigenvalues where the result was broadened on such a
    scale: linear within the smallest decade around zero, so that bulk and outliers can be read together. The legend
    gives the share of clearly negative eigenvalues.

    Args:
        result: with `density` and `position` over the grid; `density_error` and `negative` if it holds them.
        ax: what to draw into.
    """
    every, places = (np.ma.masked_invalid(result[name].values) for name in ("density", "position"))
    largest = float(every.max()) if every.count() and every.max() > 0 else 1.0
    floor = largest / 10.0**DECADES_SHOWN
    for split, color, _, part in _parts(result):
        at, density = (np.ma.masked_invalid(part[name].values) for name in ("position", "density"))
        density = np.ma.masked_less(density, floor)
        ax.plot(at, density, color=color, linewidth=1.2, label=_share(split, part))
        if "density_error" in part:
            error = np.ma.masked_invalid(part.density_error.values)
            band = (np.ma.maximum(density - error, floor / 10), density + error)
            ax.fill_between(at, *band, color=color, alpha=0.25, linewidth=0)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(floor, 3 * largest)
    shown = np.ma.masked_where(np.ma.getmaskarray(every) | (every.filled(0) < floor), places).compressed()
    log = result.attrs.get("scale") == "log"
    if shown.size and shown.min() < shown.max():
        low, high = float(shown.min()), float(shown.max())
        ax.set_xlim(low, high)
        if log:
            reach = float(np.abs(shown).max())
            ax.set_xscale("symlog", linthresh=10.0**-LINEAR_DECADES * reach, linscale=0.5)
            top = math.floor(math.log10(reach))
            style.label_decades(ax, range(top, top - LINEAR_DECADES, -1), low, high)
    style.say_if_empty(ax, result.density.values)
    ax.axvline(0, color="0.4", linewidth=0.6)
    ax.set_xlabel(_eigenvalue_of(result))
    ax.set_ylabel("share per decade of λ" if log else "spectral density")
    ax.grid(True, color="0.9", linewidth=0.5)
    return ax


def draw_block_eigenvalues(result: xr.Dataset, ax: Axes) -> Axes:
    """The largest eigenvalues of every block as dots, one row per block from the top, the smallest as a hollow dot.

    A line joins both ends. Blocks that have not converged have crosses. Where the blocks' largest |λ| span over
    two decades the axis is logarithmic on both sides of zero.

    Args:
        result: with `eigenvalues` by block and rank, `smallest` and `converged` by block.
        ax: what to draw into.
    """
    every = np.stack([result.eigenvalues.isel(eigenvalue=0).values, result.smallest.values])
    for label, color, shift, part in _parts(result, ROWS_APART):
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
    _set_block_scale(ax, every)
    _set_rows(ax, result)
    style.say_if_empty(ax, every)
    ax.set_xlabel("eigenvalues λ: largest ● and smallest ○")
    return ax


def draw_block_trace(result: xr.Dataset, ax: Axes) -> Axes:
    """The trace of every block as a dot with its standard error, one row per block from the top.

    Args:
        result: with `trace` and `trace_error` by block.
        ax: what to draw into.
    """
    every = result.trace.values
    for label, color, shift, part in _parts(result, ROWS_APART):
        rows = np.arange(part.sizes["block"]) + shift
        trace, error = (np.ma.masked_invalid(part[name].values) for name in ("trace", "trace_error"))
        ax.errorbar(
            trace.filled(np.nan), rows, xerr=error.filled(0), fmt="o", color=color, markersize=3.5, ecolor="0.2",
            elinewidth=0.8, capsize=2, label=label,
        )  # fmt: skip
    _set_block_scale(ax, every[None])
    _set_rows(ax, result)
    style.say_if_empty(ax, every)
    ax.set_xlabel("trace ± standard error")
    return ax


def _parts(result: xr.Dataset, apart: float = 0.0) -> Iterator[tuple[str, str, float, xr.Dataset]]:
    """Name, colour, distance from the middle of the splits, and result of every split, `apart` from each other."""
    named = splits(result)
    for index, ((split, part), color) in enumerate(zip(named.items(), style.colors(named).values(), strict=True)):
        yield split, color, apart * (index - (len(named) - 1) / 2), part


def _eigenvalue_of(result: xr.Dataset) -> str:
    matrix = result.attrs.get("matrix", "hessian")
    return f"eigenvalue λ of the {MATRICES.get(matrix, f'{matrix} matrix')}"


def _summary(split: str, part: xr.Dataset) -> str:
    words = []
    if "trace" in part:
        words.append(f"trace {with_error(float(part.trace), float(part.trace_error))}")
    if "smallest" in part:
        words.append(f"smallest λ {number(float(part.smallest))}")
    if not bool(part.get("converged", True)):
        words.append("not converged")
    return ": ".join(filter(None, (split, ", ".join(words))))


def _share(split: str, part: xr.Dataset) -> str:
    if "negative" not in part:
        return split
    share = with_error(100 * float(part.negative), 100 * float(part.negative_error))
    return ": ".join(filter(None, (split, f"{share} % of all λ below −max |λ| / 1000")))


def _names(result: xr.Dataset) -> list[str]:
    """Blocks with their number of parameters, not too long."""
    return [
        f"{_short(str(block))} · {int(size):,}"
        for block, size in zip(result.block.values, result.parameters.values, strict=True)
    ]


def _short(name: str) -> str:
    half = (LONGEST - 1) // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def _set_rows(ax: Axes, result: xr.Dataset) -> None:
    """Rows from the top, a light line in each."""
    count = result.sizes["block"]
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_yticks(range(count), [str(block) for block in result.block.values])
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color="0.4", linewidth=0.6)
    ax.grid(True, color="0.92", linewidth=0.5)


def _set_block_scale(ax: Axes, values: np.ndarray) -> None:
    """Logarithmic on both sides of zero where the largest magnitudes `(any, blocks)` span over two decades."""
    sizes = np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=0)
    sizes = sizes[sizes > 0]
    if not sizes.size or not style.wants_log(sizes):
        ax.xaxis.set_major_formatter(style.PlainFormatter())
        ax.margins(x=0.06)
        return
    top = math.ceil(math.log10(sizes.max()))
    lowest = max(top - BLOCK_DECADES, math.floor(math.log10(sizes.min())) - 1)
    ax.set_xscale("symlog", linthresh=10.0**lowest, linscale=0.4)
    finite = values[np.isfinite(values)]
    ends = [10.0 ** math.ceil(math.log10(max(float(side), 10.0**lowest))) for side in (-finite.min(), finite.max())]
    sides = [bool(end > 10.0**lowest) for end in ends]
    near = 10.0**lowest / 3  # the other side of zero, where nothing is
    low, high = -1.5 * ends[0] if sides[0] else -near, 1.5 * ends[1] if sides[1] else near
    ax.set_xlim(low, high)
    step = 1 if sum(sides) * (top - lowest) < 6 else 2  # labels must not touch
    style.label_decades(ax, range(top, lowest, -step), low, high)
    ax.xaxis.set_minor_locator(NullLocator())
