"""The largest eigenvalues of the Hessian."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.figures import style

MAX_TICKS = 12
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


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`hessian_spectrum.png`."""
    with style.curve_page(title, legend_rows=len(style.splits(result))) as (figure, ax):
        draw_spectrum(result, ax)
        style.legend_above(ax, columns=1)
    yield "hessian_spectrum.png", figure


def _summary(split: str, part: xr.Dataset) -> str:
    trace = style.with_error(float(part.trace), float(part.trace_error))
    text = f"trace {trace}, smallest λ {style.number(float(part.smallest))}"
    text += "" if bool(part.converged) else ", not converged"
    return f"{split}: {text}" if split else text
