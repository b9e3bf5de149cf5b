"""Planes: one quantity over two directions, as filled contours or as a surface, for every split on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from lossatlas.figures import style
from lossatlas.numbers import number

LEVELS = 20  # filled bands, about; every fourth edge is drawn as a line
ROUND = [1, 2, 5, 10]  # steps between ticks
ROW = 0.17  # inches that a row of the legend takes
PANEL = 2.4  # inches along each side of a contour panel
POINT: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.7, "linestyle": "none"}
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


def draw_contour(
    result: xr.Dataset, ax: Axes, *, variable: str = "loss", split: str | None = None, scale: Scale | None = None
) -> Axes:
    """One split's `variable` over (α, β) as filled contours with lines; grey where it is not finite.

    On a log scale, grid points whose value is 0 cannot be drawn and are marked with dots.
    """
    part = style.one_split(result, split)
    values = part[variable].transpose("alpha", "beta").values
    scale = scale or Scale.of(result[variable])
    alpha, beta, z = result.alpha.values, result.beta.values, scale.plotted(values).T  # (beta, alpha): x runs fastest
    ax.set_facecolor(style.MISSING)
    if not style.say_if_empty(ax, z.compressed()):
        ax.contourf(alpha, beta, z, levels=scale.edges, cmap=style.COLORMAP, norm=scale.norm)
        lines = [edge for edge in scale.edges[::2] if z.min() < edge < z.max()]
        if lines:
            ax.contour(alpha, beta, z, levels=lines, colors="white", linewidths=0.5, linestyles="solid", alpha=0.55)
    if scale.log and (values == 0).any():
        below = np.argwhere(values == 0)
        ax.plot(alpha[below[:, 0]], beta[below[:, 1]], ".", color="0.35", markersize=2, label=f"{variable} 0")
    ax.set(xlim=_ends(alpha), ylim=_ends(beta))
    ax.set_xlabel(style.label(result.alpha))
    ax.set_ylabel(style.label(result.beta))
    return ax


def draw_surface(
    result: xr.Dataset, ax: Axes3D, *, variable: str = "loss", split: str | None = None, scale: Scale | None = None
) -> Axes3D:
    """One split's `variable` over (α, β) as a surface, with a hole wherever a corner is not finite.

    On a log scale the height is log10 of the value, and the tick labels say so.
    """
    part = style.one_split(result, split)
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
    ax.set_xlabel(style.label(result.alpha))
    ax.set_ylabel(style.label(result.beta))
    ax.set_zlabel(style.label(part[variable]) + (", log scale" if scale.log else ""))
    return ax


def draw_path(ax: Axes, *path: np.ndarray, color: str = "white", casing: str = "black", label: str = "") -> None:
    """A path over everything else, from square to star; its casing shows it on the whole colour map.

    `path` is (x, y), or (x, y, z) in three dimensions, drawn in this order: their axes must not sort by depth. Without
    a `label` the legend tells start and end.
    """
    line: dict[str, Any] = {"solid_capstyle": "round"}
    point: dict[str, Any] = POINT | {"color": color, "markeredgecolor": casing}
    ax.plot(*path, color=casing, linewidth=2.2, **line, zorder=5)
    ax.plot(
        *path, color=color, linewidth=1.1, **line, marker="o", markersize=3, markeredgecolor=casing,
        markeredgewidth=0.6, label=label or None, zorder=6,
    )  # fmt: skip
    start, end = ("", "") if label else ("start", "end")
    ax.plot(*(x[:1] for x in path), **point, marker="s", markersize=6, label=start or None, zorder=7)
    ax.plot(*(x[-1:] for x in path), **point, marker="*", markersize=10, label=end or None, zorder=8)


def shares(result: xr.Dataset) -> list[str]:
    """What each axis holds of the variance: whole percent, one decimal below ten."""
    return [
        f"{100 * share:.{0 if share >= 0.0995 else 1}f} %" if np.isfinite(share) else "undefined share"
        for share in result.explained_variance.values
    ]


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


class Draw(Protocol):
    """`draw_contour`, `draw_surface`, or one of them with something added."""

    def __call__(self, result: xr.Dataset, ax: Any, /, *, variable: str, split: str, scale: Scale) -> Axes: ...


def contour_page(
    result: xr.Dataset,
    title: str,
    *,
    variable: str = "loss",
    draw: Draw = draw_contour,
    legend: Sequence[str] = (),
) -> Figure:
    """Filled contours of every split side by side, with one colour scale and its bar.

    The legend stands beside the last panel's name; a longer one, whose entries `legend` lists, in rows of its own
    below the title.
    """
    names = list(style.splits(result))
    scale = Scale.of(result[variable])
    left, right, bottom, top = 0.7, 0.9, 0.55, 0.55
    width = left + len(names) * PANEL + (len(names) - 1) * style.GAP * PANEL + right
    columns = _columns(legend, width)
    top += ROW * -(-len(legend) // columns)
    margins = (left, right, bottom, top)
    height = bottom + PANEL + top
    with style.canvas(title, width=width, height=height, margins=margins, panels=len(names)) as (figure, axes):
        for name, ax in zip(names, axes, strict=True):
            draw(result, ax, variable=variable, split=name, scale=scale)
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
    draw: Draw = draw_surface,
    legend: Sequence[str] = (),
) -> Figure:
    """Surfaces of every split side by side, with one scale of heights and colours; `legend` as in `contour_page`."""
    names = list(style.splits(result))
    scale = Scale.of(result[variable])
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
