"""How the loss rises at a fixed distance from a point."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lossatlas.figures import style
from lossatlas.figures.curves import curve_page
from lossatlas.numbers import number

BINS = 30


def draw_sharpness(result: xr.Dataset, ax: Axes) -> Axes:
    """Histogram of L(θ + δ) − L(θ) over the draws of δ, every split in the same bins, the maximum dashed.

    Draws whose loss is not finite are in no bin; the legend counts them. Increases that are all positive and span
    over two decades go on a log axis with bins of equal width there.
    """
    increase = result.increase.values
    edges, log = _bins(increase[np.isfinite(increase)])
    others = 0
    for split, part in style.splits(result).items():
        color = style.color(split, others)
        others += split not in style.COLORS
        values = part.increase.values
        finite = values[np.isfinite(values)]
        ax.hist(finite, edges.tolist(), histtype="stepfilled", facecolor=(color, 0.3), edgecolor=color, linewidth=1)
        maximum = float(part.maximum)
        label = f"maximum {number(maximum)}"
        if len(finite) < len(values):
            label += f" ({len(values) - len(finite)} of {len(values)} draws)"
        ax.plot([], [], color=color, linestyle="--", linewidth=1.2, label=f"{split}: {label}" if split else label)
        if np.isfinite(maximum):
            ax.axvline(maximum, color=color, linestyle="--", linewidth=1.2)
    if log:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_formatter(style.PlainFormatter())
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    style.say_if_empty(ax, increase)
    ax.set_xlabel(f"increase of the loss, L(θ + δ) − L(θ)\nwith ‖δ‖ = {result.attrs['radius']:g} ‖θ‖ in every layer")
    ax.set_ylabel("draws of δ")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`sharpness_hist.png`."""
    with curve_page(title, legend_rows=len(style.splits(result)), label_rows=2) as (figure, ax):
        draw_sharpness(result, ax)
        style.legend_above(ax, columns=1)
    yield "sharpness_hist.png", figure


def _bins(finite: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges that hold all finite values, and whether they are evenly spaced on a log axis."""
    if not finite.size:
        return np.linspace(0, 1, BINS + 1), False
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and style.wants_log(finite):
        edges = np.geomspace(low, high, BINS + 1)
        edges[[0, -1]] = low, high  # rounding must not push an end out of its bin
        return edges, True
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.05 * abs(low) or 1.0
        low, high = low - pad, high + pad
    return np.linspace(low, high, BINS + 1), False
