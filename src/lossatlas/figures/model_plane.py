"""The loss over the plane through several models, with the models and their trajectories on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import Axes3D, proj3d

from lossatlas.figures import planes, style

# Of trajectories and their casings: Okabe and Ito's that are not on the colour map's way from purple to green.
COLORS = (("#D55E00", "white"), ("#56B4E9", "black"), ("#CC79A7", "white"), ("#000000", "white"), ("#F0E442", "black"))
SIDES = ((0, -1), (0, 1), (1, 0), (-1, 0))  # below, above, right, left
ACROSS, UP = {-1: "right", 0: "center", 1: "left"}, {-1: "top", 0: "center", 1: "bottom"}
AWAY = 7  # points between a model and its name
HALO = [withStroke(linewidth=2, foreground="white")]


def draw_model_plane(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes:
    """One split's loss, or metric, over the plane as contours; models as named circles, trajectories as lines.

    Both axes have one scale, so that distances are those of parameter space. Trajectories go from square to star; their
    colours repeat after five.
    """
    planes.draw_contour(result, ax, variable=variable, split=split, scale=scale)
    ax.set_aspect("equal")
    _draw_marks(result, ax)
    models = _places(result, "model")
    for name, place, (across, up) in zip(result.model.values, models.T, _sides(result, ax), strict=True):
        ax.annotate(
            str(name), tuple(place), (AWAY * across, AWAY * up), textcoords="offset points", ha=ACROSS[across],
            va=UP[up], fontsize=style.SMALL, path_effects=HALO, zorder=9,
        )  # fmt: skip
    alpha, beta = _labels(result)
    ax.set_xlabel(alpha)
    ax.set_ylabel(beta)
    return ax


def draw_model_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes3D:
    """One split's loss over the plane as a surface, with models and trajectories at the loss of their projections.

    Sets `ax.computed_zorder` to False: what lies on the surface must not vanish behind it.
    """
    scale = scale or planes.Scale.of(result[variable])
    planes.draw_surface(result, ax, variable=variable, split=split, scale=scale)
    ax.computed_zorder = False
    part = style.one_split(result, split)
    _draw_marks(part, ax, scale)
    models = _places(part, "model", scale)
    for name, (x, y, z), (across, up) in zip(part.model.values, models.T, _sides(part, ax, scale), strict=True):
        if np.isfinite(z):  # text in space has no offset in points: padding instead
            text = {(0, -1): f"\n{name}", (0, 1): f"{name}\n", (1, 0): f"   {name}", (-1, 0): f"{name}   "}[across, up]
            ax.text(
                x, y, z, text, ha=ACROSS[across], va=UP[up], fontsize=style.SMALL, path_effects=HALO, zorder=9
            )  # fmt: skip
    ax.set_xlabel("α")
    ax.set_ylabel("β")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`model_plane_contour.png` and `model_plane_surface.png` of the loss, and each metric as contours."""
    legend = [*_trajectories(result), "start", "end"] if "point" in result.dims else []
    yield "model_plane_contour.png", planes.contour_page(result, title, draw=draw_model_plane, legend=legend)
    yield "model_plane_surface.png", planes.surface_page(result, title, draw=draw_model_surface, legend=legend)
    for variable in style.metrics(result):
        yield (
            f"model_plane_{variable}.png",
            planes.contour_page(result, title, variable=variable, draw=draw_model_plane, legend=legend),
        )


def _places(part: xr.Dataset, kind: str, scale: planes.Scale | None = None) -> np.ndarray:
    """Where models ("model") or checkpoints ("path") are, `(2, n)`; with a scale for their heights `(3, n)`."""
    places = [part[f"{kind}_alpha"].values, part[f"{kind}_beta"].values]
    if scale is not None:
        places.append(scale.plotted(part[f"{kind}_plane_loss"].values).filled(np.nan))
    return np.stack(places)


def _draw_marks(part: xr.Dataset, ax: Axes, scale: planes.Scale | None = None) -> None:
    """Models as circles, and every trajectory in a colour of its own."""
    ax.plot(*_places(part, "model", scale), **planes.POINT, color="white", marker="o", markersize=9, zorder=6.5)
    paths = _trajectories(part)
    for number, (name, path) in enumerate(paths.items()):
        color, casing = COLORS[number % len(COLORS)]
        planes.draw_path(ax, *_places(path, "path", scale), color=color, casing=casing, label=name)
    if paths:  # in grey, what holds for all of them
        nowhere: list[list[float]] = [[]] * (2 if scale is None else 3)
        ax.plot(*nowhere, **planes.POINT, color="0.8", marker="s", markersize=6, label="start")
        ax.plot(*nowhere, **planes.POINT, color="0.8", marker="*", markersize=10, label="end")


def _sides(part: xr.Dataset, ax: Axes, scale: planes.Scale | None = None) -> list[tuple[int, int]]:
    """On which side of each model its name covers the fewest other marks, inside the panel where that is possible."""
    kinds = ("model", "path") if "point" in part.dims else ("model",)
    marks = np.concatenate([_places(part, kind, scale) for kind in kinds], axis=1)
    if isinstance(ax, Axes3D):
        alpha, beta, height = marks
        marks = np.stack(proj3d.proj_transform(alpha, beta, height, ax.get_proj())[:2])
    ax.apply_aspect()  # as drawing does: where things are in the figure is known only then
    points = 72 / ax.figure.dpi
    taken = ax.transData.transform(marks.T) * points  # (n, 2)
    frame = ax.get_window_extent().get_points() * points
    chosen = []
    for name, at in zip(map(str, part.model.values), taken[: part.sizes["model"]].copy(), strict=True):
        half = np.array([0.3 * style.SMALL * len(name), 0.6 * style.SMALL])  # a letter is 0.6 of its size wide
        centres = at + (half + AWAY) * np.array(SIDES)  # (4, 2)
        covered = (np.abs(taken - centres[:, None]) < half + 4).all(-1).sum(1)
        outside = ((centres - half < frame[0]) | (centres + half > frame[1])).any(-1)
        best = int(np.argmin(covered + len(taken) * outside))
        along = np.stack([np.linspace(-1, 1, 9), np.zeros(9)], -1)  # a name weighs more than a checkpoint
        taken = np.append(taken, centres[best] + half * along, axis=0)
        chosen.append(SIDES[best])
    return chosen


def _trajectories(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """The checkpoints of each trajectory, in the order in which they were given."""
    if "point" not in result.dims:
        return {}
    names = result.trajectory.values
    return {str(name): result.isel(point=np.flatnonzero(names == name)) for name in dict.fromkeys(names)}


def _labels(result: xr.Dataset) -> tuple[str, str]:
    """What the axes are: distances towards models where there are three, else principal directions."""
    if result.sizes["model"] == 3:
        first, second, third = map(str, result.model.values)
        return f"α: distance from {first}\ntowards {second}", f"β: distance\ntowards {third}"
    one, two = planes.shares(result)
    return f"first principal direction α\n({one} of variance)", f"second principal direction β\n({two} of variance)"
