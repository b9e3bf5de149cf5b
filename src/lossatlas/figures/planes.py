"""Planes: one quantity over two directions, as maps for every split on one scale."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lossatlas.figures import marks, relief, style
from lossatlas.figures.scale import Scale
from lossatlas.figures.surfaces import surface_page
from lossatlas.splits import one_split, splits

PANEL = 2.4  # inches along each side of a map
DOUBTFUL = "error above the contour step"  # what the legend says of hatching


def kinds(result: xr.Dataset) -> tuple[str, ...]:
    """The main quantity as contours and as a surface, then every other quantity as contours.

    The plane of a single path shows the main quantity alone: it is what the path went down. A quadratic model has no
    page of its own: it stands on the quantity that it is a model of.
    """
    main = main_quantity(result)
    others = [] if "" in marks.paths(result) else style.quantities(result)
    shown_already = (main, "quadratic") if marks.modelled(result) else (main,)
    return ("contour", "surface", *(name for name in others if name not in shown_already))


def page(result: xr.Dataset, title: str, kind: str) -> Figure:
    """One of the pages `kinds(result)`.

    Args:
        result: with a quantity over alpha and beta.
        title: of the figure.
        kind: "contour", "surface", or the name of a quantity.
    """
    if kind == "surface":
        return surface_page(result, title, variable=main_quantity(result))
    return contour_page(result, title, variable=main_quantity(result) if kind == "contour" else kind)


def main_quantity(result: xr.Dataset) -> str:
    """What was modelled, where there is a model; else the first quantity."""
    return marks.modelled(result) or style.quantities(result)[0]


def draw_plane(
    result: xr.Dataset, ax: Axes, *, variable: str = "loss", split: str | None = None, scale: Scale | None = None
) -> Axes:
    """One split's `variable` over (α, β) as a map with contours, and what stands there; grey where not finite.

    On a log scale, grid points whose value is 0 cannot be drawn and are marked with dots. Nodes whose stated error is
    larger than the step between contours are hatched, where the result states it for each. Where both axes are
    distances on a square they have one scale. What is marked, and what the axes are called, follows from what the
    result holds: see `marks.draw`.

    Args:
        result: with a quantity over alpha and beta.
        ax: what to draw into.
        variable: the quantity.
        split: which one; may be left out where there is only one.
        scale: from values to colours; if left out, that of all splits of the result.
    """
    part = one_split(result, split)
    scale = scale or Scale.of(result[variable])
    draw_map(part, ax, variable=variable, scale=scale)
    marks.draw(part, ax, variable=variable, plotted=scale.plotted, levels=scale.contours)
    at, across = np.nonzero(part[variable].transpose("alpha", "beta").values == 0)
    if scale.log and len(at):
        zeros = part.alpha.values[at], part.beta.values[across]
        ax.plot(*zeros, ".", color="0.35", markersize=2, label=f"{variable} 0")
    if scale.contours:
        ax.plot([], [], color="0.3", linewidth=0.6, label=scale.step_words)
    if np.any(doubtful(part, variable, scale)):
        ax.fill([], [], facecolor="none", edgecolor="0.5", linewidth=0, hatch="/////", label=DOUBTFUL)
    first, second = marks.axis_names(result)
    ax.set_xlabel(first)
    ax.set_ylabel(second)
    return ax


def draw_map(part: xr.Dataset, ax: Axes, *, variable: str, scale: Scale, pixels: int = relief.PIXELS) -> None:
    """The map alone, without marks; axes that are distances on a square have one scale.

    Args:
        part: of one split, with a quantity over alpha and beta.
        ax: what to draw into.
        variable: the quantity.
        scale: from values to colours.
        pixels: along each side.
    """
    alpha, beta = part.alpha.values, part.beta.values
    z = scale.plotted(part[variable].transpose("beta", "alpha").values)
    ax.set_facecolor(style.MISSING)
    if not style.say_if_empty(ax, z.compressed()):
        relief.draw_relief(ax, alpha, beta, z, scale, doubtful=doubtful(part, variable, scale), pixels=pixels)
    ax.set(xlim=relief.ends(alpha), ylim=relief.ends(beta))
    if marks.has_one_scale(part):
        ax.set_aspect("equal")


def doubtful(part: xr.Dataset, variable: str, scale: Scale) -> np.ndarray | None:
    """At which nodes `(beta, alpha)` the stated error reaches farther up than a contour; none without an error of each.

    On a logarithmic scale an error counts by its share of the value.
    """
    if f"{variable}_error" not in part:
        return None
    values, error = (part[name].transpose("beta", "alpha").values for name in (variable, f"{variable}_error"))
    return (scale.plotted(values + error) - scale.plotted(values)).filled(0) > scale.step


def contour_page(result: xr.Dataset, title: str, *, variable: str = "loss") -> Figure:
    """Maps of every split side by side, with one colour scale, its bar, and one legend below the title.

    Args:
        result: with a quantity over alpha and beta.
        title: of the figure.
        variable: the quantity.
    """
    names, scale = list(splits(result)), Scale.of(result[variable])
    legend = _legend(result, variable, scale)
    left, right, bottom, top = 0.7, 0.9, 0.55, 0.55
    width = left + len(names) * PANEL + (len(names) - 1) * style.GAP * PANEL + right
    columns, rows = style.legend_columns(legend, width)
    top += style.ROW * rows
    margins = (left, right, bottom, top)
    height = bottom + PANEL + top
    with style.canvas(title, width=width, height=height, margins=margins, panels=len(names)) as (figure, axes):
        for name, ax in zip(names, axes, strict=True):
            draw_plane(result, ax, variable=variable, split=name, scale=scale)
            ax.set_title(name, loc="left", pad=4)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
            if ax is not axes[0]:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
        style.legend_below_title(figure, axes, columns)
        if not scale.empty:
            box = axes[-1].get_position()
            place = figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.13 / width, box.height))
            relief.color_bar(figure, scale, style.label(result[variable]), cax=place)
    return figure


def _legend(result: xr.Dataset, variable: str, scale: Scale) -> list[str]:
    """What the legend says, of all panels."""
    zeros = [f"{variable} 0"] if scale.log and bool((result[variable] == 0).any()) else []
    hatched = any(np.any(doubtful(part, variable, scale)) for part in splits(result).values())
    step = [scale.step_words] if scale.contours else []
    return [*marks.legend(result, variable), *zeros, *step, *([DOUBTFUL] if hatched else [])]
