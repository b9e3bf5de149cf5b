"""The largest eigenvalues of the Hessian, and the density of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from lossatlas.figures import style
from lossatlas.figures.curves import curve_page
from lossatlas.numbers import number, superscript, with_error

MAX_TICKS = 12
LINEAR_BELOW = 1e-4  # of the largest |λ|
DECADES_SHOWN = 6  # of the density below its maximum: further down are the tails of the broadening
APART = 0.24  # between the stems of two splits, in ranks


def draw_spectrum(result: xr.Dataset, ax: Axes) -> Axes:
    """The largest eigenvalues by rank as stems, with their residuals ‖Hv − λv‖ as error bars.

    The legend gives the trace with its standard error and the smallest eigenvalue of each split, and says which
    of them have not converged. Eigenvalues that are all positive and span over two decades go on a log axis.
    """
    every = result.eigenvalues.values
    finite = every[np.isfinite(every)]
    log = style.wants_log(finite) and bool((finite > 0).all())
    bottom = 10.0 ** math.floor(math.log10(finite.min())) if log else 0.0
    parts = style.splits(result)
    others = 0
    for index, (split, part) in enumerate(parts.items()):
        color = style.color(split, others)
        others += split not in style.COLORS
        rank = part.eigenvalue.values + APART * (index - (len(parts) - 1) / 2)
        values, residuals = (np.ma.masked_invalid(part[name].values) for name in ("eigenvalues", "residuals"))
        ax.vlines(rank, bottom, values, color=color, linewidth=1.2)
        ax.plot(rank, values, "o", color=color, markersize=4, label=_summary(split, part))
        ax.errorbar(
            rank, values.filled(np.nan), residuals.filled(np.nan), fmt="none", ecolor="0.2", elinewidth=0.8, capsize=2,
            zorder=1.5,
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
    ax.set_ylabel("eigenvalue λ of the Hessian")
    ax.grid(True, axis="y", color="0.9", linewidth=0.5)
    return ax


def draw_density(result: xr.Dataset, ax: Axes) -> Axes:
    """The spectral density over the eigenvalues, a line per split, its standard error as a band.

    The density axis is logarithmic, and so is the axis of the eigenvalues where the result was broadened on such a
    scale: linear within the smallest decade around zero, so that bulk and outliers can be read together. The legend
    gives the share of clearly negative eigenvalues.
    """
    every, places = (np.ma.masked_invalid(result[name].values) for name in ("density", "position"))
    largest = float(every.max()) if every.count() and every.max() > 0 else 1.0
    floor = largest / 10.0**DECADES_SHOWN
    others = 0
    for split, part in style.splits(result).items():
        color = style.color(split, others)
        others += split not in style.COLORS
        at, density, error = (
            np.ma.masked_invalid(part[name].values) for name in ("position", "density", "density_error")
        )
        density = np.ma.masked_less(density, floor)
        ax.plot(at, density, color=color, linewidth=1.2, label=_share(split, part))
        band = (np.ma.maximum(density - error, floor / 10), density + error)
        ax.fill_between(at, *band, color=color, alpha=0.25, linewidth=0)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(floor, 3 * largest)
    shown = np.ma.masked_where(np.ma.getmaskarray(every) | (every.filled(0) < floor), places).compressed()
    log = result.attrs.get("scale") == "log"
    if shown.size and shown.min() < shown.max():
        ax.set_xlim(shown.min(), shown.max())
        if log:
            ax.set_xscale("symlog", linthresh=LINEAR_BELOW * float(np.abs(shown).max()), linscale=0.5)
            _label_decades(ax, float(shown.min()), float(shown.max()))
    style.say_if_empty(ax, result.density.values)
    ax.axvline(0, color="0.4", linewidth=0.6)
    ax.set_xlabel("eigenvalue λ of the Hessian")
    ax.set_ylabel("share per decade of λ" if log else "spectral density")
    ax.grid(True, color="0.9", linewidth=0.5)
    return ax


def _label_decades(ax: Axes, low: float, high: float) -> None:
    """Powers of ten on both sides of zero that do not run into its label."""
    top = math.floor(math.log10(max(-low, high)))
    powers = range(top, top + round(math.log10(LINEAR_BELOW)), -1)
    places = [sign * 10.0**power for sign in (-1, 1) for power in powers]
    labels = [f"{'−' if sign < 0 else ''}10{superscript(power)}" for sign in (-1, 1) for power in powers]
    shown = [(at, text) for at, text in zip(places, labels, strict=True) if low <= at <= high]
    ax.xaxis.set_major_locator(FixedLocator([0.0, *(at for at, _ in shown)]))
    ax.xaxis.set_major_formatter(FixedFormatter(["0", *(text for _, text in shown)]))


def density_pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`hessian_density.png`."""
    with curve_page(title, legend_rows=len(style.splits(result))) as (figure, ax):
        draw_density(result, ax)
        style.legend_above(ax, columns=1)
    yield "hessian_density.png", figure


def _share(split: str, part: xr.Dataset) -> str:
    share = with_error(100 * float(part.negative), 100 * float(part.negative_error))
    text = f"{share} % of all λ below −max |λ| / 1000"
    return f"{split}: {text}" if split else text


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`hessian_spectrum.png`."""
    with curve_page(title, legend_rows=len(style.splits(result))) as (figure, ax):
        draw_spectrum(result, ax)
        style.legend_above(ax, columns=1)
    yield "hessian_spectrum.png", figure


def _summary(split: str, part: xr.Dataset) -> str:
    trace = with_error(float(part.trace), float(part.trace_error))
    text = f"trace {trace}, smallest λ {number(float(part.smallest))}"
    text += "" if bool(part.converged) else ", not converged"
    return f"{split}: {text}" if split else text
