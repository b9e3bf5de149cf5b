"""How the loss on a line and on a plane changes with weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import planes, style
from lossatlas.figures.curves import draw_curves
from lossatlas.figures.slices import draw_plane, draw_plane_surface
from lossatlas.numbers import number, superscript

ORDER = "plasma"  # colours of the weight decays; the loss has another map
LIGHTEST = 0.82  # of that map, on white paper
LEGEND_COLUMNS = 6
RIBBON = 0.14  # half the width of a weight decay's ribbon on the surface, in steps from one to the next
EDGE: dict[str, Any] = {"color": "white", "linewidth": 2.6, "solid_capstyle": "round"}


def draw_interpolations(
    result: xr.Dataset, ax: Axes, *, variable: str = "loss", split: str | None = None, log: bool | None = None
) -> Axes:
    """One split's loss, or a metric, between initial and final weights, with a line per weight decay.

    The darkest and widest line has the smallest one. `log` says whether the axis is logarithmic; as a rule it is when
    the losses of all splits span over two decades.
    """
    if log is None:
        log = variable == "loss" and style.wants_log(result[variable].values)
    part = style.one_split(_in_order(result), split)
    colors = _colors(part)
    for index, (color, width) in enumerate(zip(colors, np.linspace(2.8, 1.2, len(colors)), strict=True)):
        line = part.isel(weight_decay=index)
        draw_curves(line, ax, variable=variable, labels={"": _named(float(line.weight_decay))}, log=log)
        ax.lines[-1].set(color=color, linewidth=width)  # thinner ones on top: lines that coincide all show
    style.say_if_empty(ax, part[variable].values)
    ax.set_xlabel("position α from initial (0) to final weights (1)")
    return ax


def draw_interpolation_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: planes.Scale | None = None,
) -> Axes3D:
    """One split's loss over the position α and the weight decay as a surface.

    Weight decays are ordered categories, evenly apart: 0 has no logarithm. Each is a flat ribbon with a line of its
    colour in the middle; what joins two ribbons was not measured. Sets `ax.computed_zorder` to False: the lines must
    not vanish in the surface that they lie on.
    """
    scale = scale or planes.Scale.of(result[variable])
    part = style.one_split(_in_order(result), split)
    middles = np.arange(part.sizes["weight_decay"])
    ribbons = part[[variable]].isel(weight_decay=np.repeat(middles, 2)).rename(weight_decay="beta")
    edges = (middles[:, None] + (-RIBBON, RIBBON)).ravel()
    planes.draw_surface(ribbons.assign_coords(beta=edges), ax, variable=variable, scale=scale)
    ax.computed_zorder = False
    for middle, color in zip(middles, _colors(part), strict=True):
        heights = scale.plotted(part[variable].isel(weight_decay=middle).values).filled(np.nan)
        line = (part.alpha.values, np.full(len(heights), middle), heights)
        ax.plot(*line, **EDGE, zorder=5)
        ax.plot(*line, **EDGE | {"color": color, "linewidth": 1.4}, zorder=6)
    _set_categories(ax, part)
    ax.set_xlabel("position α")
    ax.set_ylabel("weight decay λ")
    return ax


def pages(interpolation: xr.Dataset, slices: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    """`interpolation_surface.png`, `interpolation_curves.png`, `slices_contour.png` and `slice_surface_wd=<value>.png`.

    All but the curves show the train loss (without that split, the first), and all slices have one scale. Of a result
    with several seeds the first is drawn, and the title names it.
    """
    title = _with_seed(title, interpolation)
    line, plane = (_of_the_data(_in_order(result)) for result in (interpolation, slices))
    figure = planes.surface_page(_train(line), title, draw=draw_interpolation_surface)
    for ax in figure.axes:
        _set_categories(ax, line)  # the page has set ticks of its own
    yield "interpolation_surface.png", figure
    yield "interpolation_curves.png", _curves_page(line, title)

    panels = _as_panels(_train(plane))
    yield "slices_contour.png", planes.contour_page(panels, title, draw=draw_plane)
    common = planes.Scale.of(panels.loss)

    def draw(result: xr.Dataset, ax: Any, /, *, variable: str, split: str, scale: planes.Scale) -> Axes:
        return draw_plane_surface(result, ax, variable=variable, split=split, scale=common)

    for index, weight_decay in enumerate(plane.weight_decay.values):
        figure = planes.surface_page(panels.isel(split=[index]), title, draw=draw)
        yield f"slice_surface_wd={weight_decay:g}.png", figure


def _curves_page(result: xr.Dataset, title: str) -> Figure:
    """A panel per split on one scale, and the weight decays' colours in a row above."""
    names = list(style.splits(result))
    rows = -(-result.sizes["weight_decay"] // LEGEND_COLUMNS)
    width, top = 0.9 + 3.1 * len(names), 0.55 + 0.17 * rows
    with style.canvas(
        title, width=width, height=2.4 + 0.45 + top, margins=(0.75, 0.15, 0.45, top), panels=len(names)
    ) as (figure, axes):
        for name, ax in zip(names, axes, strict=True):
            if ax is not axes[0]:
                ax.sharey(axes[0])
                ax.tick_params(labelleft=False)
            draw_interpolations(result, ax, split=name)
            ax.set_title(name, loc="left", pad=4)
            ax.set_xlabel("α from initial (0) to final weights (1)")
        for ax in axes[1:]:
            ax.set_ylabel("")
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.24 / (2.85 + top)),
            ncols=LEGEND_COLUMNS, borderaxespad=0.2, columnspacing=1.4,
        )  # fmt: skip
    return figure


def _in_order(result: xr.Dataset) -> xr.Dataset:
    """The first seed, if there are several, with the weight decays from small to large."""
    return (result.isel(seed=0) if "seed" in result.dims else result).sortby("weight_decay")


def _of_the_data(result: xr.Dataset) -> xr.Dataset:
    """The loss called what it is beside a penalty, unless it has a name of its own."""
    name = result.loss.attrs.get("long_name", "loss")
    return result.assign(loss=result.loss.assign_attrs(long_name="data loss" if name == "loss" else name))


def _train(result: xr.Dataset) -> xr.Dataset:
    """The train split alone, or the first where there is none of that name; without splits the result itself."""
    names = list(style.splits(result))
    return result.isel(split=[names.index("train") if "train" in names else 0]) if names != [""] else result


def _as_panels(result: xr.Dataset) -> xr.Dataset:
    """One split's slices with the weight decays in the place of splits, so that each gets a panel.

    A panel's name says how long the directions, the same in all of them, are beside its network.
    """
    ((split, one),) = style.splits(result).items()
    names = [
        f"{_named(value)},  ‖d‖ = {number(float(length))} ‖θ‖"
        for value, length in zip(one.weight_decay.values, one.relative_length.values, strict=True)
    ]
    panels = one[["loss"]].drop_vars("split", errors="ignore").rename(weight_decay="split").assign_coords(split=names)
    return panels.assign(loss=panels.loss.assign_attrs(long_name=f"{split} {one.loss.attrs['long_name']}".strip()))


def _with_seed(title: str, result: xr.Dataset) -> str:
    return f"{title} · seed {result.seed.values[0]}" if "seed" in result.dims else title


def _set_categories(ax: Axes, result: xr.Dataset) -> None:
    values = result.weight_decay.values
    ax.set_ylim(-RIBBON, len(values) - 1 + RIBBON)
    ax.yaxis.set_major_locator(FixedLocator(range(len(values))))
    ax.yaxis.set_major_formatter(FixedFormatter([_power(value) for value in values]))


def _colors(result: xr.Dataset) -> np.ndarray:
    """One colour per weight decay, dark to light, `(w, 4)`."""
    return mpl.colormaps[ORDER](np.linspace(0, LIGHTEST, result.sizes["weight_decay"]))


def _named(weight_decay: float) -> str:
    return f"λ = {_power(weight_decay)}"


def _power(value: float) -> str:
    """All digits of a weight decay as a power of ten.

    >>> _power(0), _power(1e-4), _power(0.0005), _power(1)
    ('0', '10⁻⁴', '5 × 10⁻⁴', '1')
    """
    mantissa, exponent = f"{value:e}".split("e")
    digits, power = f"{float(mantissa):g}", int(exponent)
    if value == 0 or power == 0:
        return digits
    return ("" if digits == "1" else f"{digits} × ") + f"10{superscript(power)}"
