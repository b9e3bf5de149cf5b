"""Surfaces: one quantity over two directions in three dimensions, for every split on one scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from lossatlas.figures import marks, relief, style
from lossatlas.figures.scale import Scale
from lossatlas.splits import one_split, splits

STRIDE_ABOVE = 51  # grid points per axis up to which a surface shows every one
SIGHT = 40  # points between a contour and the eye at which the surface may hide it
CLEAR = 0.01  # of the whole height, by which a surface must be above the line of sight


class Contour(Line3DCollection):
    """The lines of one height on a surface, without what the surface hides, from wherever it is seen."""

    def __init__(
        self, lines: list[np.ndarray], alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray, **look: Any
    ) -> None:
        """Of lines on a surface.

        Args:
            lines: points of each, `(n, 3)`.
            alpha, beta: places of the nodes, `(a,)` and `(b,)`.
            z: heights of the surface, `(a, b)`.
            look: of the lines, as matplotlib takes it.
        """
        self._whole, self._surface = lines, (alpha, beta, z.filled(np.nan))
        super().__init__(lines, **look)

    def do_3d_projection(self) -> float:
        assert isinstance(self.axes, Axes3D)
        eye = np.linalg.svd(self.axes.get_proj()[[0, 1, 3]])[2][-1]  # what the projection sends to one point
        seen = [part for line in self._whole for part in _runs(line, _visible(line, eye, *self._surface))]
        self.set_segments(seen)
        return super().do_3d_projection()


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
        ax.computed_zorder = False  # what lies on the surface must not vanish behind it
        colors = _colors(alpha, beta, z, scale)
        # Not plot_surface: it warns of NaN, and is slower.
        ax.add_collection(Poly3DCollection(quads, linewidths=0.3, facecolors=colors, edgecolors=colors), autolim=False)
        levels = [level for level in scale.contours if z.min() < level < z.max()]
        looks = zip(relief.inks(levels, scale), relief.widths(levels, scale), strict=True)
        for lines, (ink, width) in zip(contour_lines(alpha, beta, z, levels), looks, strict=True):
            ax.add_collection(Contour(lines, alpha, beta, z, colors=[ink], linewidths=width, zorder=2), autolim=False)
    else:
        style.say_if_empty(ax, np.empty(0))
    ax.set(xlim=relief.ends(alpha), ylim=relief.ends(beta), zlim=(scale.norm.vmin, scale.norm.vmax))
    if not scale.empty:
        ax.zaxis.set_major_locator(FixedLocator(scale.ticks))
        ax.zaxis.set_major_formatter(scale.formatter())
    marks.draw(part, ax, variable=variable, plotted=scale.plotted, levels=scale.contours)
    if scale.contours:
        ax.plot([], [], [], color="0.3", linewidth=0.6, label=scale.step_words)
    first, second = marks.axis_names(result, on_surface=True)
    ax.set_xlabel(first)
    ax.set_ylabel(second)
    ax.set_zlabel(style.label(part[variable]) + (", log scale" if scale.log else ""))
    return ax


def contour_lines(
    alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray, levels: list[float]
) -> list[list[np.ndarray]]:
    """The lines of every level, `(n, 3)` each.

    Args:
        alpha, beta: places of the nodes, `(a,)` and `(b,)`.
        z: heights of the surface, `(a, b)`.
        levels: increasing heights.
    """
    if not levels:
        return []
    found = Figure().subplots().contour(alpha, beta, z.T, levels, corner_mask=False).get_paths()
    return [
        [np.column_stack([line, np.full(len(line), level)]) for line in _parts(path) if len(line) > 1]
        for level, path in zip(levels, found, strict=True)
    ]


def _parts(path: Path) -> list[np.ndarray]:
    """The lines that a path is made of, `(n, 2)` each. `allsegs` of matplotlib 3.8.0 gives single points."""
    path.should_simplify = False  # by a threshold in pixels, and these are no pixels
    return [np.asarray(line) for line in path.to_polygons(closed_only=False)]


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


def _colors(alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray, scale: Scale) -> np.ndarray:
    """The colours of the faces that `_quads` gives, shaded as on a map, `(cells, 3)`."""
    heights = z.T.filled(np.nan)  # (beta, alpha)
    both = np.stack([heights, relief.hillshade(alpha, beta, heights, scale)])
    corners = both[:, :-1, :-1], both[:, :-1, 1:], both[:, 1:, 1:], both[:, 1:, :-1]
    middle = np.mean(corners, axis=0).swapaxes(1, 2).reshape(2, -1)
    height, shade = middle[:, np.isfinite(middle[0])]
    return relief.shaded(relief.COLORMAP(scale.norm(height))[:, :3], np.nan_to_num(shade))


def _visible(line: np.ndarray, eye: np.ndarray, alpha: np.ndarray, beta: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Which points `(n, 3)` of a line no surface hides from an eye in homogeneous coordinates, `(n,)`."""
    bottom, top = np.nanmin(z), np.nanmax(z)
    toward = eye[:3] / eye[3] - line if abs(eye[3]) > 1e-12 else np.broadcast_to(eye[:3] * np.sign(eye[2]), line.shape)
    above = np.divide(top - line[:, 2], toward[:, 2], out=np.ones(len(line)), where=toward[:, 2] > 0)
    steps = np.linspace(0, 1, SIGHT + 1)[1:, None]
    ray = line + (steps * np.minimum(above, 1))[..., None] * toward  # (s, n, 3)
    x, y = relief.locate(alpha, ray[..., 0]), relief.locate(beta, ray[..., 1])
    inside = np.all([(way >= 0) & (way <= 1) for _, way in (x, y)], axis=0)
    ground = np.where(inside, relief.bilinear(z.T, x, y), -np.inf)
    return ~(ground > ray[..., 2] + CLEAR * (top - bottom)).any(0)


def _runs(line: np.ndarray, visible: np.ndarray) -> list[np.ndarray]:
    """The parts of a line whose points are visible one after the other."""
    cuts = np.flatnonzero(np.diff(visible)) + 1
    parts = zip(np.split(line, cuts), np.split(visible, cuts), strict=True)
    return [part for part, seen in parts if seen[0] and len(part) > 1]


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
    names, scale = list(splits(result)), scale or Scale.of(result[variable])
    legend = [*marks.legend(result, variable, on_surface=True), *([scale.step_words] if scale.contours else [])]
    panel, room = 3.4, 3.3
    width = panel * len(names) + 0.4  # for the label of the last vertical axis
    columns, rows = style.legend_columns(legend, width)
    height = room + style.ROW * rows
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
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND, prune="upper"))  # the first of β sits there
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=style.ROUND))
            ax.tick_params(labelsize=style.SMALL - 1, pad=-1)
            ax.zaxis.set_tick_params(pad=2)
            ax.zaxis.labelpad = 6
            ax.text2D(0.08, 0.93, name, transform=ax.transAxes, fontsize=style.NORMAL, va="top")
        style.legend_below_title(figure, figure.axes, columns)
    return figure
