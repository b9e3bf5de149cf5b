"""The loss on the straight line between two points."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.figures import style
from lossatlas.figures.curves import curve_page, draw_curves


def draw_interpolation(result: xr.Dataset, ax: Axes, *, variable: str = "loss") -> Axes:
    """The loss, or a metric, over the position α between the two ends, with a line per split."""
    draw_curves(result, ax, variable=variable)
    style.say_if_empty(ax, result[variable].values)
    ax.set_xlabel("position α from start (0) to end (1)")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`interpolation_loss.png`, and `interpolation_<metric>.png` for every metric."""
    for variable in ("loss", *style.metrics(result)):
        with curve_page(title) as (figure, ax):
            draw_interpolation(result, ax, variable=variable)
            style.legend_above(ax, columns=2)
        yield f"interpolation_{variable}.png", figure
