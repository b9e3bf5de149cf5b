"""Planes: one quantity over two directions, as filled contours or as a surface, for every split on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from lossatlas.figures import marks, style
from lossatlas.numbers import number
from lossatlas.splits import one_split, splits

LEVELS = 20  # filled bands, about; every second edge is drawn as a line
ROUND = [1, 2, 5, 10]  # steps between ticks
ROW = 0.17  # inches that a row of the legend takes
PANEL = 2.4  # inches along each side of a contour panel
STRIDE_ABOVE = 33  # grid points per axis up to which a surface shows every one


@dataclass(frozen=True)
class Scale:
    """How values become heights and colours: as they are, or as log10; shared by all panels of a figure."""

    log: bool
    edges: np.ndarray  # of the colour bands, in plotted units; empty when there was no finite value

    @classmethod
    def of(cls, values: xr.DataArray) -> Self:
        """The scale for all of `values`: log10 for a loss whose positive values span over a factor of 5."""
        log = values.name in ("loss", "objective") and style.wants_log(values.values, style.PLANE_DECADES)
        plotted = _plotted(values.values, log).compressed()
        if not plotted.size:
            return cls(log, np.empty(0))
        low, high = float(plotted.min()), float(plotted.max())
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # constant: one band around the value
            pad = 0.05 * abs(low) or 1.0
            return cls(log, np.array([low - pad, high + pad]))
        return cls(log, np.asarray(MaxNLocator(LEVELS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)))

    def plotted(self, values: np.ndarray) -> np.ma.MaskedArray:
        """What is drawn for `values`: themselves or their log10, masked where that is not finite."""
        return _plotted(values, self.log)

    @cached_property
    def norm(self) -> Normalize:
        """Plotted values to colours: the same object for every panel."""
        return Normalize(self.edges[0], self.edges[-1]) if len(self.edges) else Normalize(0, 1)

    @property
    def lines(self) -> list[float]:
        """The edges at which lines are drawn."""
        return list(self.edges[::2])

    @property
    def ticks(self) -> list[float]:
        """Round values inside the scale."""
        low, high = self.edges[0], self.edges[-1]
        if len(self.edges) == 2:
            return [float(low + high) / 2]
        if self.log:
            return list(style.log_ticks(low, high))
        locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        return [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]

    def formatter(self) -> Formatter:
        """Tick labels in the units of the values: 10² where log10 is 2."""
        if not self.log:
            return style.PlainFormatter()
        labels = style.log_ticks(*self.edges[[0, -1]])
        return FuncFormatter(lambda power, _: labels.get(power, ""))


def _plotted(values: np.ndarray, log: bool) -> np.ma.MaskedArray:
    values = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ma.masked_invalid(np.log10(values) if log else values)


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
    """One split's `variable` over (α, β) as filled contours with lines, and what stands there; grey where not finite.

    On a log scale, grid points whose value is 0 cannot be drawn and are marked with dots. Where both axes are
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
    values = part[variable].transpose("alpha", "beta").values
    scale = scale or Scale.of(result[variable])
    alpha, beta, z = result.alpha.values, result.beta.values, scale.plotted(values).T  # (beta, alpha): x runs fastest
    ax.set_facecolor(style.MISSING)
    if not style.say_if_empty(ax, z.compressed()):
        ax.contourf(alpha, beta, z, levels=scale.edges, cmap=style.COLORMAP, norm=scale.norm)
        lines = [edge for edge in scale.lines if z.min() < edge < z.max()]
        if lines:
            ax.contour(alpha, beta, z, levels=lines, colors="white", linewidths=0.5, linestyles="solid", alpha=0.55)
    if scale.log and (values == 0).any():
        below = np.argwhere(values == 0)
        ax.plot(alpha[below[:, 0]], beta[below[:, 1]], ".", color="0.35", markersize=2, label=f"{variable} 0")
    ax.set(xlim=_ends(alpha), ylim=_ends(beta))
    if marks.has_one_scale(result):
        ax.set_aspect("equal")
    marks.draw(part, ax, variable=variable, plotted=scale.plotted, levels=scale.lines)
    first, second = marks.axis_names(result)
    ax.set_xlabel(first)
    ax.set_ylabel(second)
    return ax


def draw_surface(
    result: xr.Dataset, ax: Axes3D, *, variable: str = "loss", split: str | None = None, scale: Scale | None = None
) -> Axes3D:
    """One split's `variable` over (α, β) as a surface, and what stands on it; a hole where a corner is not finite.

    On a log scale the height is log10 of the value, and the tick labels say so.

    Args:
        result: with a quantity over alpha and beta.
        ax: what to draw into.
        variable: the quantity.
        split: which one; may be left out where there is only one.
        scale: from values to heights and colours; if left out, that of all splits of the result.
    """
    part = one_split(result, split)
    scale = scale or Scale.of(result[variable])
    alpha, beta, z = _strided(
        result.alpha.values, result.beta.values, scale.plotted(part[variable].transpose("alpha", "beta").values)
    )
    quads = _quads(alpha, beta, z.filled(np.nan))
    if len(quads):
        # Not plot_surface: it warns of NaN, and is slower.
        faces = Poly3DCollection(
            quads, cmap=style.COLORMAP, norm=scale.norm, linewidths=0.25, edgecolors=(0, 0, 0, 0.25)
        )
        faces.set_array(quads[:, :, 2].mean(axis=1))
        ax.add_collection3d(faces, autolim=False)
    else:
        style.say_if_empty(ax, np.empty(0))
    ax.set(xlim=_ends(alpha), ylim=_ends(beta), zlim=(scale.norm.vmin, scale.norm.vmax))
    if len(scale.edges):
        ax.zaxis.set_major_locator(FixedLocator(scale.ticks))
        ax.zaxis.set_major_formatter(scale.formatter())
    marks.draw(part, ax, variable=variable, plotted=scale.plotted, levels=scale.lines)
    first, second = marks.axis_names(result, on_surface=True)
    ax.set_xlabel(first)
    ax.set_ylabel(second)
    ax.set_zlabel(style.label(part[variable]) + (", log scale" if scale.log else ""))
    return ax


def _ends(axis: np.ndarray) -> tuple[float, float]:
    """The range of an axis; around its only value for a trajectory that does not move along it."""
    low, high = float(axis[0]), float(axis[-1])
    return (low, high) if high > low else (low - 1, low + 1)


def _strided(
    alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray
) -> tuple[np.ndarray, np.ndarray, np.ma.MaskedArray]:
    """Every n-th grid line so that about `STRIDE_ABOVE` are left, the last one always."""
    keep = []
    for size in z.shape:
        stride = -(-(size - 1) // (STRIDE_ABOVE - 1))
        keep.append(np.unique(np.append(np.arange(0, size, max(stride, 1)), size - 1)))
    return alpha[keep[0]], beta[keep[1]], z[np.ix_(*keep)]


def _quads(alpha: np.ndarray, beta: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The grid's cells whose four corners are finite, `(cells, 4, 3)`."""
    points = np.stack([*np.meshgrid(alpha, beta, indexing="ij"), z], axis=-1)  # (alpha, beta, 3)
    cells = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=-2).reshape(-1, 4, 3)
    return cells[np.isfinite(cells).all(axis=(1, 2))]


def contour_page(result: xr.Dataset, title: str, *, variable: str = "loss") -> Figure:
    """Filled contours of every split side by side, with one colour scale and its bar.

    The legend stands beside the last panel's name; a longer one in rows of its own below the title.

    Args:
        result: with a quantity over alpha and beta.
        title: of the figure.
        variable: the quantity.
    """
    legend = marks.legend(result, variable)
    names = list(splits(result))
    scale = Scale.of(result[variable])
    left, right, bottom, top = 0.7, 0.9, 0.55, 0.55
    width = left + len(names) * PANEL + (len(names) - 1) * style.GAP * PANEL + right
    columns = _columns(legend, width)
    top += ROW * -(-len(legend) // columns)
    margins = (left, right, bottom, top)
    height = bottom + PANEL + top
    with style.canvas(title, width=width, height=height, margins=margins, panels=len(names)) as (figure, axes):
        for name, ax in zip(names, axes, strict=True):
            draw_plane(result, ax, variable=variable, split=name, scale=scale)
            ax.set_title(name, loc="left", pad=4)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
            if ax is not axes[0]:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
        if legend:
            _legend_below_title(figure, axes[0], columns)
        else:
            style.legend_above(axes[-1], columns=3)
        if len(scale.edges):
            box = axes[-1].get_position()
            bar = figure.colorbar(
                ScalarMappable(scale.norm, style.COLORMAP),
                cax=figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.13 / width, box.height)),
                boundaries=scale.edges, ticks=scale.ticks, format=scale.formatter(),
            )  # fmt: skip
            bar.ax.tick_params(**style.TICKS)
            bar.outline.set_linewidth(0.6)  # pyright: ignore[reportCallIssue]
            bar.set_label(style.label(result[variable]) + _doubt(result, variable))
    return figure


def _doubt(result: xr.Dataset, variable: str) -> str:
    """How far a metric may be off between the nodes that were measured: it may have steps, so that may be far."""
    error = float(result[f"{variable}_error"].max()) if f"{variable}_error" in result else 0.0
    return f" (± {number(error, 1)} where interpolated)" if variable != "loss" and error > 0 else ""


def surface_page(
    result: xr.Dataset,
    title: str,
    *,
    variable: str = "loss",
    scale: Scale | None = None,
    draw: Callable[..., Axes] = draw_surface,
) -> Figure:
    """Surfaces of every split side by side, with one scale of heights and colours; legend as in `contour_page`.

    Args:
        result: with a quantity over alpha and beta, or over what `draw` takes for them.
        title: of the figure.
        variable: the quantity.
        scale: shared with other figures; if left out, that of all splits of the result.
        draw: called as `draw_surface` is.
    """
    legend = marks.legend(result, variable, on_surface=True)
    names = list(splits(result))
    scale = scale or Scale.of(result[variable])
    panel, room = 3.4, 3.3
    width = panel * len(names) + 0.4  # for the label of the last vertical axis
    columns = _columns(legend, width) if legend else 3
    height = room + ROW * -(-len(legend) // columns)
    with style.canvas(title, width=width, height=height, margins=(0, 0, 0, 0), panels=0) as (figure, _):
        for column, name in enumerate(names):
            ax = Axes3D(
                figure,
                (panel * column / width, 0.05 * room / height, panel / width, 0.9 * room / height),
                elev=28,
                azim=-55,
            )
            ax.patch.set_visible(False)  # it would hide the label of the panel before
            figure.add_axes(ax)
            ax.set_box_aspect((1, 1, 0.75), zoom=0.92)  # pyright: ignore[reportArgumentType]
            draw(result, ax, variable=variable, split=name, scale=scale)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, prune="upper"))  # the first of β sits there
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
            ax.tick_params(labelsize=style.SMALL - 1, pad=-1)
            ax.zaxis.set_tick_params(pad=2)
            ax.zaxis.labelpad = 6
            ax.text2D(0.08, 0.93, name, transform=ax.transAxes, fontsize=style.NORMAL, va="top")
        _legend_below_title(figure, figure.axes[0], columns)
    return figure


def _columns(legend: Sequence[str], width: float) -> int:
    """How many entries of a legend stand side by side in a figure so wide; a letter is about 0.6 of its size wide."""
    entry = 0.5 + 0.6 * style.SMALL / 72 * max(map(len, legend), default=0)  # inches
    fit = max(1, int(width / entry))
    rows = max(1, -(-len(legend) // fit))
    return max(1, -(-len(legend) // rows))


def _legend_below_title(figure: Figure, ax: Axes, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        below = 1 - 0.25 / figure.get_size_inches()[1]
        figure.legend(
            handles, labels, loc="upper right", bbox_to_anchor=(1, below), ncols=columns, columnspacing=1.2
        )  # fmt: skip
