"""The loss along one or two random directions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style
from lossatlas.figures.curves import curve_page, draw_curves

QUANTILES = (0.16, 0.84)  # of the band over several draws: one standard deviation of a Gaussian
FEW = 10  # draws below which the band is their range


def draw_line(result: xr.Dataset, ax: Axes, *, variable: str = "loss") -> Axes:
    """The loss, or a metric, along random directions, with a line per split; the point itself is at α = 0.

    Of several draws, each is a thin line; the thick one is their median, with dots where all were measured, and the
    band holds the middle 68 % of them, or all where they are fewer than ten. Both are broken where one of the draws is
    not finite.
    """
    several = "draw" in result[variable].dims
    if several:
        _draw_band(result, ax, variable)
    else:
        draw_curves(result, ax, variable=variable)
    style.say_if_empty(ax, result[variable].values)
    ax.axvline(0, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    ax.set_xlabel(f"position α along the random direction{'s' if several else ''}")
    return ax


def _draw_band(result: xr.Dataset, ax: Axes, variable: str) -> None:
    draws = result.sizes["draw"]
    ends, band = ((0.0, 1.0), "range") if draws < FEW else (QUANTILES, "16–84 %")
    finite = result[variable].where(np.isfinite(result[variable]))
    median = result.assign({variable: finite.median("draw", skipna=False).assign_attrs(result[variable].attrs)})
    if "measured" in median:
        median["measured"] = median.measured.all("draw")
    names = list(style.splits(result))
    draw_curves(
        median, ax, variable=variable, log=variable == "loss" and style.wants_log(result[variable].values),
        labels={name: f"{name}{': ' if name else ''}median and {band} of {draws} draws" for name in names},
    )  # fmt: skip
    others = 0
    for name, part in style.splits(result.assign({variable: finite})).items():
        color = style.color(name, others)
        others += name not in style.COLORS
        values = part[variable].transpose("alpha", "draw")
        ax.plot(part.alpha.values, values.values, color=color, linewidth=0.4, alpha=0.4, zorder=1.5)
        low, high = values.quantile(ends, "draw", skipna=False).values
        ax.fill_between(part.alpha.values, low, high, color=color, alpha=0.2, linewidth=0, zorder=1)


def draw_plane(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes:
    """One split's loss, or metric, over two random directions as contours; the point itself, (0, 0), is marked."""
    planes.draw_contour(result, ax, variable=variable, split=split, scale=scale)
    ax.plot(0, 0, "+", color="white", markersize=7, markeredgewidth=2.4)
    ax.plot(0, 0, "+", color="black", markersize=6, markeredgewidth=1)
    ax.set_xlabel("random direction α")
    ax.set_ylabel("random direction β")
    return ax


def draw_plane_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes3D:
    """One split's loss, or metric, over two random directions as a surface."""
    planes.draw_surface(result, ax, variable=variable, split=split, scale=scale)
    ax.set_xlabel("direction α")
    ax.set_ylabel("direction β")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """For a line `slice1d_<quantity>.png`; for a plane the loss as contours and surface, each metric as contours."""
    if "beta" in result.loss.dims:
        yield "slice2d_contour.png", planes.contour_page(result, title, draw=draw_plane)
        yield "slice2d_surface.png", planes.surface_page(result, title, draw=draw_plane_surface)
        for variable in style.metrics(result):
            yield f"slice2d_{variable}.png", planes.contour_page(result, title, variable=variable, draw=draw_plane)
        return
    several = "draw" in result.loss.dims
    for variable in ("loss", *style.metrics(result)):
        with curve_page(title, legend_rows=len(style.splits(result)) if several else 1) as (figure, ax):
            draw_line(result, ax, variable=variable)
            style.legend_above(ax, columns=1 if several else 2)
        yield f"slice1d_{variable}.png", figure
