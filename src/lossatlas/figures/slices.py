"""The loss along one or two random directions."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style


def draw_line(result: xr.Dataset, ax: Axes, *, variable: str = "loss") -> Axes:
    """The loss, or a metric, along one random direction, with a line per split; the point itself is at α = 0."""
    style.draw_curves(result, ax, variable=variable)
    style.say_if_empty(ax, result[variable].values)
    ax.axvline(0, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
    ax.set_xlabel("position α along the random direction")
    return ax


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
    for variable in ("loss", *style.metrics(result)):
        with style.curve_page(title) as (figure, ax):
            draw_line(result, ax, variable=variable)
            style.legend_above(ax, columns=2)
        yield f"slice1d_{variable}.png", figure
