"""The loss over the plane that holds most of a trajectory, and the trajectory on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style

LINE: dict[str, Any] = {"color": "white", "linewidth": 1.1, "solid_capstyle": "round"}
EDGE: dict[str, Any] = {"color": "black", "linewidth": 2.2, "solid_capstyle": "round"}
POINT: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "markeredgewidth": 0.7, "linestyle": "none"}


def draw_trajectory_plane(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes:
    """One split's loss over the principal plane as contours, with the projected path from square to star.

    Each axis says which share of the trajectory's variance it holds.
    """
    planes.draw_contour(result, ax, variable=variable, split=split, scale=scale)
    _draw_path(ax, result.path_alpha.values, result.path_beta.values)
    first, second = _shares(result)
    ax.set_xlabel(f"first principal direction α\n({first} of variance)")
    ax.set_ylabel(f"second principal direction β\n({second} of variance)")
    return ax


def draw_trajectory_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes3D:
    """One split's loss over the principal plane as a surface, with the path at the loss of its projections.

    Sets `ax.computed_zorder` to False: the path must not vanish behind the surface that it lies on.
    """
    scale = scale or planes.Scale.of(result[variable])
    planes.draw_surface(result, ax, variable=variable, split=split, scale=scale)
    heights = scale.plotted(style.one_split(result, split).path_plane_loss.values).filled(np.nan)
    ax.computed_zorder = False
    _draw_path(ax, result.path_alpha.values, result.path_beta.values, heights)
    first, second = _shares(result)
    ax.set_xlabel(f"α ({first} of variance)")
    ax.set_ylabel(f"β ({second} of variance)")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`plane_contour.png` and `plane_surface.png`."""
    yield "plane_contour.png", planes.contour_page(result, title, draw=draw_trajectory_plane)
    yield "plane_surface.png", planes.surface_page(result, title, draw=draw_trajectory_surface)


def _draw_path(ax: Axes, *path: np.ndarray) -> None:
    """The path over everything else: white on black, so that it shows on the whole colour map."""
    ax.plot(*path, **EDGE, zorder=5)
    ax.plot(*path, **LINE, marker="o", markersize=3, markeredgecolor="black", markeredgewidth=0.6, zorder=6)
    ax.plot(*(x[:1] for x in path), **POINT, marker="s", markersize=6, label="start", zorder=7)
    ax.plot(*(x[-1:] for x in path), **POINT, marker="*", markersize=10, label="end", zorder=8)


def _shares(result: xr.Dataset) -> list[str]:
    """What each axis holds of the trajectory's variance: whole percent, one decimal below ten."""
    return [
        f"{100 * share:.{0 if share >= 0.0995 else 1}f} %" if np.isfinite(share) else "undefined share"
        for share in result.explained_variance.values
    ]
