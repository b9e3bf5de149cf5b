"""Distributions: how often a quantity has which value among random draws, and how it grows with their size."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from lossatlas.figures import style
from lossatlas.numbers import number, with_error
from lossatlas.splits import splits

BINS = 30


def drawn(result: xr.Dataset) -> list[str]:
    """The quantities of which there is one value for every draw, in the order of the result."""
    return [str(name) for name, values in result.data_vars.items() if set(values.dims) - {"split"} == {"sample"}]


def kinds(result: xr.Dataset) -> tuple[str, ...]:
    """The histogram of the first quantity, and where there are several radii what becomes of its mean over them."""
    return ("hist", "radius") if "radius" in result.dims else ("hist",)


def page(result: xr.Dataset, title: str, kind: str) -> Figure:
    """One of `kinds(result)`, with the legend of every split in a row of its own.

    Args:
        result: with a quantity over `sample`.
        title: of the figure.
        kind: "hist" or "radius".
    """
    rows = len(splits(result))
    with style.single_panel(title, legend_rows=rows, label_rows=2 if kind == "hist" else 1) as (figure, ax):
        if kind == "hist":
            draw_distribution(result, ax, variable=drawn(result)[0])
        else:
            draw_radii(result, ax)
        style.legend_above(ax, columns=1 if kind == "hist" else 2)
    return figure


def draw(result: xr.Dataset, ax: Axes, *, variable: str = "even") -> Axes:
    """The histogram of a quantity over its draws; of one over the radii, the curve of both parts there.

    Args:
        result: with the quantity over `sample`, or over `radius`.
        ax: what to draw into.
        variable: the quantity.
    """
    if "radius" in result[variable].dims:
        return draw_radii(result, ax)
    return draw_distribution(result, ax, variable=variable)


def draw_distribution(result: xr.Dataset, ax: Axes, *, variable: str = "even") -> Axes:
    """Histogram of a quantity over its draws, every split in the same bins.

    Of the even part of opposite steps the mean is dashed, and the size of the odd part of the same steps is an outline
    beside it; of another quantity the maximum is dashed. Draws whose value is not finite are in no bin; the legend
    counts them. Values that are all positive and span over two decades go on a log axis with bins of equal width there.

    Args:
        result: with the quantity over `sample`.
        ax: what to draw into.
        variable: the quantity.
    """
    both = variable == "even" and "odd" in result
    every = np.stack([result.even.values, abs(result.odd.values)]) if both else result[variable].values
    edges, log = _bins(every[np.isfinite(every)])
    named = splits(result)
    for (split, part), color in zip(named.items(), style.colors(named).values(), strict=True):
        values = part[variable].values
        finite = values[np.isfinite(values)]
        ax.hist(finite, edges.tolist(), histtype="stepfilled", facecolor=(color, 0.3), edgecolor=color, linewidth=1)
        if both:
            sizes = abs(part.odd.values)
            ax.hist(sizes[np.isfinite(sizes)], edges.tolist(), histtype="step", edgecolor=color, linestyle=":")
        mark, label = _mark(part, variable)
        if len(finite) < len(values):
            label += f" ({len(values) - len(finite)} of {len(values)} draws)"
        ax.plot([], [], color=color, linestyle="--", linewidth=1.2, label=f"{split}: {label}" if split else label)
        if np.isfinite(mark):
            ax.axvline(mark, color=color, linestyle="--", linewidth=1.2)
    if log:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_formatter(style.PlainFormatter())
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    style.say_if_empty(ax, every)
    ax.set_xlabel(_name(result, variable))
    ax.set_ylabel("draws of ±δ" if both else "draws")
    return ax


def draw_radii(result: xr.Dataset, ax: Axes) -> Axes:
    """The mean of the even part over the radii, with its standard error, and dotted the size of the odd part.

    On a quadratic the first grows as the square of the radius and the second as the radius itself. Both axes are
    logarithmic; a mean below 0 is left out.

    Args:
        result: with `mean_even`, `mean_even_error` and `odd_size` over `radius`.
        ax: what to draw into.
    """
    named = splits(result)
    for (split, part), color in zip(named.items(), style.colors(named).values(), strict=True):
        radius, mean = part.radius.values, np.ma.masked_less_equal(np.ma.masked_invalid(part.mean_even.values), 0)
        words = f"{split}: " if split else ""
        ax.plot(radius, mean, color=color, marker=".", linewidth=1.2, label=f"{words}even part")
        ax.errorbar(radius, mean, part.mean_even_error.values, color=color, linewidth=1.2, capsize=2)
        size = np.ma.masked_less_equal(np.ma.masked_invalid(part.odd_size.values), 0)
        ax.plot(radius, size, ":", color=color, linewidth=1.2, label=f"{words}odd part")
    shown = np.stack([result.mean_even.values, result.odd_size.values])
    if (shown[np.isfinite(shown)] > 0).any():
        ax.set_yscale("log")
    ax.set(xscale="log", xlabel=style.label(result.radius), ylabel="change of the loss")
    places = result.radius.values.tolist()
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{place:g}" for place in places]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(True, color="0.9", linewidth=0.5)
    style.say_if_empty(ax, result.mean_even.values)
    return ax


def _mark(part: xr.Dataset, variable: str) -> tuple[float, str]:
    """Which value is marked, and what the legend calls it."""
    if variable == "even" and "mean_even" in part:
        main = part.sel(radius=part.attrs["radius"])
        mean, error = float(main.mean_even), float(main.mean_even_error)
        return mean, f"mean {with_error(mean, error)}, largest increase {number(float(part.maximum))}"
    maximum = float(part[variable].values.max())
    return maximum, f"maximum {number(maximum)}"


def _name(result: xr.Dataset, variable: str) -> str:
    if variable != "even" or "radius" not in result.attrs:
        return style.label(result[variable])
    return (
        "change of the loss: even part filled, size of the odd one dotted\n"
        f"at θ ± δ with ‖δ‖ = {result.attrs['radius']:g} ‖θ‖ in every layer"
    )


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
