"""Families over weight decay: a curve or a plane for each network, in one picture or on one scale."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import curves, planes, style, surfaces
from lossatlas.figures.scale import Scale
from lossatlas.numbers import number, superscript
from lossatlas.splits import one_split, splits

ORDER = "plasma"  # colours of the weight decays; the loss has another map
LIGHTEST = 0.82  # of that map, on white paper
LEGEND_COLUMNS = 6
RIBBON = 0.14  # half the width of a weight decay's ribbon on the surface, in steps from one to the next
EDGE: dict[str, Any] = {"color": "white", "linewidth": 2.6, "solid_capstyle": "round"}


def curve_kinds(result: xr.Dataset) -> tuple[str, ...]:
    """A surface over position and weight decay, and the curves in one panel per split."""
    return "surface", "curves"


def curve_page(result: xr.Dataset, title: str, kind: str) -> Figure:
    """One of the pages `curve_kinds(result)`, of the main quantity.

    The surface shows the train split (without that, the first). Of a result with several seeds the first is drawn, and
    the title names it.

    Args:
        result: over one axis and `weight_decay`.
        title: of the figure.
        kind: "surface" or "curves".
    """
    title, variable = _with_seed(title, result), style.quantities(result)[0]
    lines = _of_the_data(_in_order(result))
    if kind == "curves":
        return _curves_page(lines, title, variable)
    figure = surfaces.surface_page(_train(lines), title, variable=variable, draw=draw_curve_surface)
    for ax in figure.axes:
        _set_categories(ax, lines)  # the page has set ticks of its own
    return figure


def plane_kinds(result: xr.Dataset) -> tuple[str, ...]:
    """Contours of all weight decays side by side, and a surface of each."""
    return ("contour", *map(_surface_kind, np.sort(result.weight_decay.values)))


def plane_page(result: xr.Dataset, title: str, kind: str) -> Figure:
    """One of the pages `plane_kinds(result)`, of the main quantity, all with one scale; split and seed as on curves.

    Args:
        result: over alpha, beta and `weight_decay`.
        title: of the figure.
        kind: "contour", or "surface_wd=" and a weight decay.
    """
    title, variable = _with_seed(title, result), style.quantities(result)[0]
    ordered = _of_the_data(_in_order(result))
    panels = _as_panels(_train(ordered), variable)
    if kind == "contour":
        return planes.contour_page(panels, title, variable=variable)
    index = list(map(_surface_kind, ordered.weight_decay.values)).index(kind)
    scale = Scale.of(panels[variable])
    return surfaces.surface_page(panels.isel(split=[index]), title, variable=variable, scale=scale)


def draw_curves(
    result: xr.Dataset, ax: Axes, *, variable: str = "loss", split: str | None = None, log: bool | None = None
) -> Axes:
    """One split's quantity over its axis, with a line per weight decay.

    The darkest and widest line has the smallest one.

    Args:
        result: over one axis and `weight_decay`.
        ax: what to draw into.
        variable: the quantity.
        split: which one; may be left out where there is only one.
        log: whether the values are on a log axis; if left out, the loss is where that of all splits spans over two
            decades.
    """
    if log is None:
        log = curves.wants_log(result, variable, result[variable].values)
    part = one_split(_in_order(result), split)
    colors = _colors(part)
    for index, (color, width) in enumerate(zip(colors, np.linspace(2.8, 1.2, len(colors)), strict=True)):
        line = part.isel(weight_decay=index)
        labels = {"": _named(float(line.weight_decay))}
        curves.draw_lines(line, ax, variable=variable, labels=labels, log=log)
        ax.lines[-1].set(color=color, linewidth=width)  # thinner ones on top: lines that coincide all show
    style.say_if_empty(ax, part[variable].values)
    ax.set_xlabel(_axis_name(part, variable))
    return ax


def draw_curve_surface(
    result: xr.Dataset,
    ax: Axes3D,
    *,
    variable: str = "loss",
    split: str | None = None,
    scale: Scale | None = None,
) -> Axes3D:
    """One split's quantity over its axis and the weight decay as a surface.

    Weight decays are ordered categories, evenly apart: 0 has no logarithm. Each is a flat ribbon with a line of its
    colour in the middle; what joins two ribbons was not measured. Sets `ax.computed_zorder` to False: the lines must
    not vanish in the surface that they lie on.

    Args:
        result: over one axis and `weight_decay`.
        ax: what to draw into.
        variable: the quantity.
        split: which one; may be left out where there is only one.
        scale: from values to heights and colours; if left out, that of all splits of the result.
    """
    scale = scale or Scale.of(result[variable])
    part = one_split(_in_order(result), split)
    (axis,) = style.axes(result, variable)
    middles = np.arange(part.sizes[style.FAMILY])
    ribbons = part[[variable]].isel(weight_decay=np.repeat(middles, 2)).rename({style.FAMILY: "beta", axis: "alpha"})
    edges = (middles[:, None] + (-RIBBON, RIBBON)).ravel()
    surfaces.draw_surface(ribbons.assign_coords(beta=edges), ax, variable=variable, scale=scale)
    ax.computed_zorder = False
    for middle, color in zip(middles, _colors(part), strict=True):
        heights = scale.plotted(part[variable].isel(weight_decay=middle).values).filled(np.nan)
        line = (part[axis].values, np.full(len(heights), middle), heights)
        ax.plot(*line, **EDGE, zorder=5)
        ax.plot(*line, **EDGE | {"color": color, "linewidth": 1.4}, zorder=6)
    _set_categories(ax, part)
    ax.set_xlabel(style.own_label(part[axis]) or f"position {'α' if axis == 'alpha' else axis}")
    ax.set_ylabel("weight decay λ")
    return ax


def _curves_page(result: xr.Dataset, title: str, variable: str) -> Figure:
    """A panel per split on one scale, and the weight decays' colours in a row above."""
    names = list(splits(result))
    rows = -(-result.sizes[style.FAMILY] // LEGEND_COLUMNS)
    width, top = 0.9 + 3.1 * len(names), 0.55 + 0.17 * rows
    with style.canvas(
        title, width=width, height=2.4 + 0.45 + top, margins=(0.75, 0.15, 0.45, top), panels=len(names)
    ) as (figure, axes):
        for name, ax in zip(names, axes, strict=True):
            if ax is not axes[0]:
                ax.sharey(axes[0])
                ax.tick_params(labelleft=False)
            draw_curves(result, ax, variable=variable, split=name)
            ax.set_title(name, loc="left", pad=4)
            ax.set_xlabel(_axis_name(result, variable).removeprefix("position "))  # panels are narrow
        for ax in axes[1:]:
            ax.set_ylabel("")
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.24 / (2.85 + top)),
            ncols=LEGEND_COLUMNS, borderaxespad=0.2, columnspacing=1.4,
        )  # fmt: skip
    return figure


def _axis_name(result: xr.Dataset, variable: str) -> str:
    (axis,) = style.axes(result, variable)
    if axis == "alpha" and not style.own_label(result.alpha) and curves.leads_to_end(result):
        return "position α from initial (0) to final weights (1)"
    return curves.axis_name(result, axis)


def _surface_kind(weight_decay: float) -> str:
    return f"surface_wd={weight_decay:g}"


def _in_order(result: xr.Dataset) -> xr.Dataset:
    """The first seed, if there are several, with the weight decays from small to large."""
    return (result.isel(seed=0) if "seed" in result.dims else result).sortby("weight_decay")


def _of_the_data(result: xr.Dataset) -> xr.Dataset:
    """The loss called what it is beside a penalty, unless it has a name of its own."""
    if "loss" not in result or result.loss.attrs.get("long_name", "loss") != "loss":
        return result
    return result.assign(loss=result.loss.assign_attrs(long_name="data loss"))


def _train(result: xr.Dataset) -> xr.Dataset:
    """The train split alone, or the first where there is none of that name; without splits the result itself."""
    names = list(splits(result))
    return result.isel(split=[names.index("train") if "train" in names else 0]) if names != [""] else result


def _as_panels(result: xr.Dataset, variable: str) -> xr.Dataset:
    """One split's planes with the weight decays in the place of splits, so that each gets a panel.

    A panel's name says how long the directions, the same in all of them, are beside its network.
    """
    ((split, one),) = splits(result).items()
    names = [_named(value) for value in one.weight_decay.values]
    if "relative_length" in one:
        lengths = [number(float(length)) for length in one.relative_length.values]
        names = [f"{name},  ‖d‖ = {length} ‖θ‖" for name, length in zip(names, lengths, strict=True)]
    panels = one[[variable]].drop_vars("split", errors="ignore").rename({style.FAMILY: "split"})
    quantity = one[variable].attrs.get("long_name", variable)
    panels[variable].attrs["long_name"] = f"{split} {quantity}".strip()
    return panels.assign_coords(split=names)


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
