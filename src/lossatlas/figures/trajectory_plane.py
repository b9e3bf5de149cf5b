"""The loss over the plane that holds most of a trajectory, and the trajectory on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style


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
    planes.draw_path(ax, result.path_alpha.values, result.path_beta.values)
    first, second = planes.shares(result)
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
    planes.draw_path(ax, result.path_alpha.values, result.path_beta.values, heights)
    first, second = planes.shares(result)
    ax.set_xlabel(f"α ({first} of variance)")
    ax.set_ylabel(f"β ({second} of variance)")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`plane_contour.png` and `plane_surface.png`."""
    yield "plane_contour.png", planes.contour_page(result, title, draw=draw_trajectory_plane)
    yield "plane_surface.png", planes.surface_page(result, title, draw=draw_trajectory_surface)
