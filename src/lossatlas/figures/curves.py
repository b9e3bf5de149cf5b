"""Curves: one quantity over one axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.figures.style import (
    COLORS,
    PlainFormatter,
    canvas,
    color,
    label,
    splits,
    wants_log,
)


@contextmanager
def curve_page(title: str, *, legend_rows: int = 1, label_rows: int = 1) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one panel, and room for a legend above it and a label below."""
    bottom, top = 0.29 + 0.16 * label_rows, 0.34 + 0.17 * legend_rows
    with canvas(title, width=5.0, height=2.5 + bottom + top, margins=(0.75, 0.15, bottom, top)) as (figure, (ax,)):
        yield figure, ax


def draw_curves(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    linestyle: str = "-",
    labels: Mapping[str, str] | None = None,
    log: bool | None = None,
) -> Axes:
    """One quantity over α, a line per split with a dot at every point measured.

    The line is broken where the value is not finite. Unless `log` says, the loss goes on a log axis when it spans
    over two decades.
    """
    values = result[variable]
    measured = np.flatnonzero(result.measured.values).tolist() if "measured" in result else None
    others = 0
    for split, part in splits(result).items():
        ax.plot(
            part.alpha.values, np.ma.masked_invalid(part[variable].values), linestyle, marker=".", markersize=3,
            markevery=measured, linewidth=1.2, color=color(split, others), label=(labels or {}).get(split, split),
        )  # fmt: skip
        others += split not in COLORS
    if (variable == "loss" and wants_log(values.values)) if log is None else log:
        ax.set_yscale("log", nonpositive="mask")  # a loss of 0 is left out, not clipped to some smallest number
    elif ax.get_yscale() == "linear":  # the user, or a path drawn before, may want another
        ax.yaxis.set_major_formatter(PlainFormatter())
    ax.set_xlabel(label(result.alpha))
    ax.set_ylabel(label(values))
    ax.grid(True, color="0.9", linewidth=0.5)
    return ax
