"""The loss over the plane of two Hessian eigenvectors, and what the Hessian predicts there."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style
from lossatlas.numbers import number

NAMES = {
    "largest": "largest\neigenvalue, ",
    "second": "second\nlargest eigenvalue, ",
    "smallest": "smallest\neigenvalue, ",
}
LEGEND = ("measured", "quadratic model")


def draw_eigenvector_plane(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes:
    """One split's loss, or metric, over the plane as contours; the point itself is marked.

    On the loss, the quadratic model is drawn at the same levels as dashed lines: as far as they lie on the others, the
    Hessian tells what the loss does. Both axes have one scale.
    """
    scale = scale or planes.Scale.of(result[variable])
    planes.draw_contour(result, ax, variable=variable, split=split, scale=scale)
    if variable == _modelled(result):
        _draw_quadratic(style.one_split(result, split), ax, scale)
    ax.plot(0, 0, "+", color="white", markersize=7, markeredgewidth=2.4)
    ax.plot(0, 0, "+", color="black", markersize=6, markeredgewidth=1)
    ax.set_aspect("equal")
    first, second = (
        f"eigenvector of the {NAMES[str(end)]}{number(value)}"
        for end, value in zip(result.direction.values, result.eigenvalues.values, strict=True)
    )
    ax.set_xlabel(f"α: {first}")
    ax.set_ylabel(f"β: {second}")
    return ax


def draw_eigenvector_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes3D:
    """One split's loss, or metric, over the plane as a surface."""
    planes.draw_surface(result, ax, variable=variable, split=split, scale=scale)
    one, two = map(number, result.eigenvalues.values)
    ax.set_xlabel(f"α (λ = {one})")
    ax.set_ylabel(f"β (λ = {two})")
    return ax


def pages(result: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`eigenvector_plane_contour.png` and `..._surface.png` of what was modelled, each other quantity as contours."""
    main = _modelled(result)
    yield (
        "eigenvector_plane_contour.png",
        planes.contour_page(result, title, variable=main, draw=draw_eigenvector_plane, legend=LEGEND),
    )
    yield (
        "eigenvector_plane_surface.png",
        planes.surface_page(result, title, variable=main, draw=draw_eigenvector_surface),
    )
    for variable in ("loss", *style.metrics(result)):
        if variable not in (main, "quadratic"):
            yield (
                f"eigenvector_plane_{variable}.png",
                planes.contour_page(result, title, variable=variable, draw=draw_eigenvector_plane),
            )


def _draw_quadratic(part: xr.Dataset, ax: Axes, scale: planes.Scale) -> None:
    """The quadratic model's lines, at the levels at which `planes.draw_contour` draws lines."""
    predicted = scale.plotted(part.quadratic.transpose("alpha", "beta").values).T
    if predicted.count():
        levels = [edge for edge in scale.edges[::2] if predicted.min() < edge < predicted.max()]
        if levels:
            ax.contour(
                part.alpha.values, part.beta.values, predicted, levels=levels, colors="black", linewidths=0.8,
                linestyles="dashed",
            )  # fmt: skip
    casing = [withStroke(linewidth=2, foreground="0.5")]
    ax.plot([], [], color="white", linewidth=0.8, path_effects=casing, label=LEGEND[0])
    ax.plot([], [], color="black", linewidth=0.8, linestyle="dashed", label=LEGEND[1])


def _modelled(result: xr.Dataset) -> str:
    return result.attrs.get("quadratic_of", "loss")
