"""What stands on a plane, and what its axes are called: its centre, a path, models, a quadratic model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from mpl_toolkits.mplot3d import Axes3D, proj3d

from lossatlas.figures import relief, style
from lossatlas.numbers import number

Plotted = Callable[[np.ndarray], np.ma.MaskedArray]  # values to heights: as they are, or their log10

POINT: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.7, "linestyle": "none"}
# Of several paths and their casings: colours that are not on the map's way from blue over green to sand.
COLORS = (("#D55E00", "white"), ("#000000", "white"), ("#E78AC3", "black"), ("#7A1FA2", "white"), ("#FFF200", "black"))
SIDES = ((0, -1), (0, 1), (1, 0), (-1, 0))  # below, above, right, left
ACROSS, UP = {-1: "right", 0: "center", 1: "left"}, {-1: "top", 0: "center", 1: "bottom"}
AWAY = 7  # points between a model and its name
HALO = [withStroke(linewidth=2, foreground="white")]
DASHES = (0, (2.5, 3.5))  # of the quadratic model
DASH_HALO: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground=(1, 1, 1, 0.8))]
# Entries of the legend.
QUADRATIC = "quadratic model"
CENTER = "the model"
PATH = ("start", "path", "end")
EIGENVECTORS = {
    "largest": "largest\neigenvalue, ",
    "second": "second\nlargest eigenvalue, ",
    "smallest": "smallest\neigenvalue, ",
}


def draw(
    part: xr.Dataset, ax: Axes, *, variable: str, plotted: Plotted, levels: Sequence[float], size: float = 1.0
) -> None:
    """Whatever the result holds that stands on its plane: on contours where it is, on a surface at its height.

    Contours: the quadratic model as dashed lines, on the quantity that was modelled; a cross at the centre, where
    neither paths nor models say what the plane leads through. Both: models as named circles; paths from square to
    star, a single one in white, several in colours that repeat after five. On a surface only what has a height in this
    quantity, that of its projection; sets `ax.computed_zorder` to False: what lies on it must not vanish behind it.

    Args:
        part: the result of one split.
        ax: that has the contours or the surface, with its limits and aspect.
        variable: the quantity that it shows.
        plotted: from values to heights.
        levels: of the contour lines, as plotted.
        size: of lines and points, relative to those on a page; on smaller maps models have no names.
    """
    kinds = [kind for kind in ("model", "path") if f"{kind}_alpha" in part]
    heights = None
    if isinstance(ax, Axes3D):
        heights = variable, plotted
        kinds = [kind for kind in kinds if f"{kind}_plane_{variable}" in part]
        if kinds:
            ax.computed_zorder = False
    else:
        if variable == modelled(part):
            _draw_quadratic(part, ax, plotted, levels)
        if has_center(part):
            cross: dict[str, Any] = {"marker": "+", "linestyle": "none"}
            ax.plot(0, 0, **cross, color="white", markersize=8 * size, markeredgewidth=2.6 * size)
            ax.plot(0, 0, **cross, color="black", markersize=7 * size, markeredgewidth=1.1 * size, label=CENTER)
    if "model" in kinds:
        ax.plot(*_places(part, "model", heights), **POINT, color="white", marker="o", markersize=9 * size, zorder=6.5)
    if "path" in kinds:
        _draw_paths(part, ax, heights, size)
    if "model" in kinds and size == 1:
        _name_models(part, ax, kinds, heights)


def legend(result: xr.Dataset, variable: str, *, on_surface: bool = False) -> list[str]:
    """What the legend says of the marks, in the order in which they are drawn.

    Args:
        result: whose plane is drawn.
        variable: the quantity that it shows.
        on_surface: whether as a surface instead of contours.
    """
    if on_surface and f"path_plane_{variable}" not in result:
        return []
    model = [QUADRATIC] if variable == modelled(result) and not on_surface else []
    center = [CENTER] if has_center(result) and not on_surface else []
    named = [name for name in paths(result) if name]
    path = [*named, PATH[0], PATH[-1]] if named else list(PATH) if "path_alpha" in result else []
    return [*model, *center, *path]


def paths(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """The checkpoints of every path by its name, in the order in which they were given; a single one is called ""."""
    if "path_alpha" not in result:
        return {}
    if "trajectory" not in result.coords:
        return {"": result}
    names = result.trajectory.values
    return {str(name): result.isel(point=np.flatnonzero(names == name)) for name in dict.fromkeys(names)}


def modelled(result: xr.Dataset) -> str:
    """The quantity of which the result holds a quadratic model; empty where it holds none."""
    return str(result.attrs.get("quadratic_of", "loss")) if "quadratic" in result else ""


def has_center(result: xr.Dataset) -> bool:
    """Whether (0, 0) is the point itself: not where paths or models span the plane, nor in other programs' results."""
    return not {"path_alpha", "model_alpha"} & set(result.data_vars) and "source" not in result.attrs


def has_one_scale(result: xr.Dataset) -> bool:
    """Whether both axes are drawn to one scale: distances in parameter space, and a square of them."""
    return "model_alpha" in result or _has_eigenvectors(result)


def axis_names(result: xr.Dataset, *, on_surface: bool = False) -> tuple[str, str]:
    """What α and β are called: as the probe says it, or as follows from what the result holds.

    Args:
        result: with a plane.
        on_surface: whether in the few letters for which a surface has room.
    """
    own = style.own_label(result.alpha), style.own_label(result.beta)
    if all(own):
        return own
    if "model_alpha" in result and on_surface:
        return "α", "β"
    if "model_alpha" in result and result.sizes["model"] == 3:
        first, second, third = map(str, result.model.values)
        return f"α: distance from {first}\ntowards {second}", f"β: distance\ntowards {third}"
    if "explained_variance" in result:
        one, two = shares(result)
        if on_surface:
            return f"α ({one})", f"β ({two})"
        return f"first principal direction α\n({one})", f"second principal direction β\n({two})"
    if _has_eigenvectors(result):
        values = list(map(number, result.eigenvalues.values))
        if on_surface:
            return f"α (λ = {values[0]})", f"β (λ = {values[1]})"
        ends = [EIGENVECTORS.get(str(end), f"{end}\neigenvalue, ") for end in result.direction.values]
        one, two = (f"eigenvector of the {end}{value}" for end, value in zip(ends, values, strict=True))
        return f"α: {one}", f"β: {two}"
    if "normalize" in result.attrs:  # as only random directions are
        return ("direction α", "direction β") if on_surface else ("random direction α", "random direction β")
    return style.label(result.alpha), style.label(result.beta)


def shares(result: xr.Dataset) -> list[str]:
    """What each axis holds of the variance: whole percent, one decimal below ten."""
    return [
        f"{100 * share:.{0 if share >= 0.0995 else 1}f} % of variance"
        if np.isfinite(share)
        else "undefined share of variance"
        for share in result.explained_variance.values
    ]


def draw_path(
    ax: Axes, *path: np.ndarray, line: Sequence[np.ndarray] = (), color: str = "white", casing: str = "black",
    label: str = "", size: float = 1.0,
) -> None:  # fmt: skip
    """A path over everything else, from square to star; its casing shows it on the whole colour map.

    Args:
        ax: in three dimensions, one that does not sort by depth: the path is drawn in the order of its parts.
        path: (x, y), or (x, y, z) in three dimensions.
        line: likewise, of what joins the points, where that is not straight.
        color: of line and points.
        casing: of their edges.
        label: of the path in the legend; without one, the legend tells start, path and end.
        size: of lines and points, relative to those on a page.
    """
    point: dict[str, Any] = POINT | {"color": color, "markeredgecolor": casing, "markeredgewidth": 0.7 * size}
    start, along, end = (None, label, None) if label else PATH
    ax.plot(*(x[:1] for x in path), **point, marker="s", markersize=2 + 4 * size, label=start, zorder=7)
    ax.plot(
        *(line or path), color=color, linewidth=1.2 * size, solid_capstyle="round", label=along, zorder=5,
        path_effects=[withStroke(linewidth=2.4 * size, foreground=casing)],
    )  # fmt: skip
    ax.plot(*path, **point, marker="o", markersize=3.2 * size, zorder=6)
    ax.plot(*(x[-1:] for x in path), **point, marker="*", markersize=4 + 7 * size, label=end, zorder=8)


def _has_eigenvectors(result: xr.Dataset) -> bool:
    return "eigenvalues" in result and result.eigenvalues.dims == ("direction",)


def _places(part: xr.Dataset, kind: str, heights: tuple[str, Plotted] | None) -> np.ndarray:
    """Where models ("model") or checkpoints ("path") are, `(2, n)`; with their heights in a quantity `(3, n)`."""
    places = [part[f"{kind}_alpha"].values, part[f"{kind}_beta"].values]
    if heights is not None:
        variable, plotted = heights
        places.append(plotted(part[f"{kind}_plane_{variable}"].values).filled(np.nan))
    return np.stack(places)


def _draw_quadratic(part: xr.Dataset, ax: Axes, plotted: Plotted, levels: Sequence[float]) -> None:
    """The quadratic model's lines, at the levels of the others: as far as they coincide, it tells the loss."""
    predicted = plotted(part.quadratic.transpose("alpha", "beta").values).T
    if predicted.count():
        inside = [level for level in levels if predicted.min() < level < predicted.max()]
        if inside:
            lines = ax.contour(
                part.alpha.values, part.beta.values, predicted, levels=inside, colors="black", linewidths=1.0,
                linestyles=[DASHES],
            )  # fmt: skip
            lines.set_path_effects(DASH_HALO)
    ax.plot([], [], color="black", linewidth=1.0, linestyle=DASHES, path_effects=DASH_HALO, label=QUADRATIC)


def _draw_paths(part: xr.Dataset, ax: Axes, heights: tuple[str, Plotted] | None, size: float) -> None:
    named = paths(part)
    single = list(named) == [""]
    for index, (name, path) in enumerate(named.items()):
        color, casing = ("white", "black") if single else COLORS[index % len(COLORS)]
        places = _places(path, "path", heights)
        line = _along_surface(path, places, *heights) if heights else ()
        draw_path(ax, *places, line=line, color=color, casing=casing, label=name, size=size)
    if single:
        return
    nowhere: list[list[float]] = [[]] * (2 if heights is None else 3)
    start, _, end = PATH
    ax.plot(*nowhere, **POINT, color="0.8", marker="s", markersize=6, label=start)  # in grey: of all of them
    ax.plot(*nowhere, **POINT, color="0.8", marker="*", markersize=11, label=end)


def _along_surface(
    part: xr.Dataset, path: np.ndarray, variable: str, plotted: Plotted
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What joins the checkpoints `path` `(3, t)`: a line on the surface."""
    alpha, beta = part.alpha.values, part.beta.values
    points, corners = relief.drape(alpha, beta, path[:2].T)
    surface = plotted(part[variable].transpose("beta", "alpha").values).filled(np.nan)
    heights = relief.bilinear(surface, relief.locate(alpha, points[:, 0]), relief.locate(beta, points[:, 1]))
    heights[corners] = path[2]
    return points[:, 0], points[:, 1], heights


def _name_models(part: xr.Dataset, ax: Axes, kinds: Sequence[str], heights: tuple[str, Plotted] | None) -> None:
    places = _places(part, "model", heights).T
    for name, place, (across, up) in zip(part.model.values, places, _sides(part, ax, kinds, heights), strict=True):
        look: dict[str, Any] = {"ha": ACROSS[across], "va": UP[up], "path_effects": HALO, "zorder": 9}
        if not isinstance(ax, Axes3D):
            offset = (AWAY * across, AWAY * up)
            ax.annotate(str(name), tuple(place), offset, textcoords="offset points", fontsize=style.SMALL, **look)
        elif np.isfinite(place[2]):  # text in space has no offset in points: padding instead
            text = {(0, -1): f"\n{name}", (0, 1): f"{name}\n", (1, 0): f"   {name}", (-1, 0): f"{name}   "}[across, up]
            x, y, z = place
            ax.text(x, y, z, text, fontsize=style.SMALL, **look)


def _sides(
    part: xr.Dataset, ax: Axes, kinds: Sequence[str], heights: tuple[str, Plotted] | None
) -> list[tuple[int, int]]:
    """On which side of each model its name covers the fewest other marks, inside the panel where that is possible."""
    marks = np.concatenate([_places(part, kind, heights) for kind in kinds], axis=1)
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
