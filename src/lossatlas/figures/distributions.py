"""Distributions: how often a quantity has which value among random draws."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lossatlas.figures import style
from lossatlas.numbers import number
from lossatlas.splits import splits

BINS = 30


def drawn(result: xr.Dataset) -> list[str]:
    """The quantities of which there is one value for every draw, in the order of the result."""
    return [str(name) for name, values in result.data_vars.items() if set(values.dims) - {"split"} == {"sample"}]


def page(result: xr.Dataset, title: str) -> Figure:
    """The histogram of the first quantity, with the legend of every split in a row of its own."""
    with style.single_panel(title, legend_rows=len(splits(result)), label_rows=2) as (figure, ax):
        draw_distribution(result, ax, variable=drawn(result)[0])
        style.legend_above(ax, columns=1)
    return figure


def draw_distribution(result: xr.Dataset, ax: Axes, *, variable: str = "increase") -> Axes:
    """Histogram of a quantity over its draws, every split in the same bins, the maximum dashed.

    Draws whose value is not finite are in no bin; the legend counts them. Values that are all positive and span
    over two decades go on a log axis with bins of equal width there.

    Args:
        result: with the quantity over `sample`.
        ax: what to draw into.
        variable: the quantity.
    """
    every = result[variable].values
    edges, log = _bins(every[np.isfinite(every)])
    named = splits(result)
    for (split, part), color in zip(named.items(), style.colors(named).values(), strict=True):
        values = part[variable].values
        finite = values[np.isfinite(values)]
        ax.hist(finite, edges.tolist(), histtype="stepfilled", facecolor=(color, 0.3), edgecolor=color, linewidth=1)
        maximum = float(part.maximum if variable == "increase" and "maximum" in part else values.max())
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
    style.say_if_empty(ax, every)
    ax.set_xlabel(_name(result, variable))
    ax.set_ylabel("draws of δ" if variable == "increase" else "draws")
    return ax


def _name(result: xr.Dataset, variable: str) -> str:
    if variable != "increase" or "radius" not in result.attrs:
        return style.label(result[variable])
    return f"increase of the loss, L(θ + δ) − L(θ)\nwith ‖δ‖ = {result.attrs['radius']:g} ‖θ‖ in every layer"


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
