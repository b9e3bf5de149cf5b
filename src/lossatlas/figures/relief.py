"""Planes as maps: depth in blue, heights in earth and snow, relief shaded from the upper left, contours.

The one place for the look of a plane, in print and on surfaces that turn (docs/design/figures.md says what was tried).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

from lossatlas.figures import style
from lossatlas.figures.scale import Scale
from lossatlas.numbers import number

# From the deepest to the highest, evenly apart. Their lightness (CIE L*) rises in equal steps from 12 to 97, so that
# heights are read in grey, in print, and with every kind of colour vision.
COLORS = (
    "#111D45", "#02295D", "#01356F", "#014181", "#014E95", "#045D9F", "#0A6E9E", "#097F9C", "#2D908D", "#569F6E",
    "#8CA856", "#B7AF5B", "#DEB46E", "#F0C285", "#F8D2AA", "#FCE3CF", "#F8F6F4",
)  # fmt: skip
COLORMAP = LinearSegmentedColormap.from_list("lossatlas", COLORS, N=256)

Color = tuple[float, float, float, float]

PIXELS = 240  # along each side of a map in print, 100 for an inch: it has no sharp edges, contours are lines
LIGHT = np.array([-1.0, 1.0, 1.4]) / np.sqrt(3.96)  # where the light comes from: upper left, 45 degrees high
STEEPNESS = 1.6  # heights of the whole scale over the width of a panel
SHADE = 0.33  # how much of the light's change is seen: more hides the colours, less the relief
DARKEST, LIGHTEST = -0.22, 0.12  # the largest change of a colour towards the shadow and towards white
SHADOW = np.array([0.07, 0.10, 0.24])  # bluish, as on printed maps: black would make snow look like missing values

INK: Color = (0.05, 0.08, 0.15, 0.5)  # of contours on light colours
LIGHT_INK: Color = (1.0, 1.0, 1.0, 0.4)  # on dark ones
INK_FROM = 0.42  # of the scale, from which contours are dark
THIN, THICK = 0.4, 0.7  # points; thick ones are whole decades
FLAT = 0.08  # of the scale, how far beyond its end the shade is gone: there heights are not told apart any more
ARROW = 0.04  # of the bar's length, where values lie beyond its end
HATCH, HATCH_EVERY = 0.22, 9  # how much hatching changes a colour; pixels between its lines


def draw_relief(
    ax: Axes, alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray, scale: Scale,
    *, doubtful: np.ndarray | None = None, pixels: int = PIXELS,
) -> None:  # fmt: skip
    """A map of heights with its contours; the color of the axes shows where a corner of a cell has no height.

    Args:
        ax: what to draw into.
        alpha, beta: places of the nodes, `(a,)` and `(b,)`.
        z: heights, `(b, a)`.
        scale: from heights to colours, and the step between contours.
        doubtful: which nodes are hatched, `(b, a)`.
        pixels: along each side of the map.
    """
    extent = *ends(alpha), *ends(beta)
    image = picture(alpha, beta, z, scale, doubtful=doubtful, pixels=pixels)
    ax.imshow(image, extent=extent, origin="lower", aspect="auto", zorder=0.5)
    levels = [level for level in scale.contours if z.min() < level < z.max()]
    if levels:
        ax.contour(
            alpha, beta, z, levels=levels, colors=inks(levels, scale), linewidths=widths(levels, scale),
            linestyles="solid", corner_mask=False,
        )  # fmt: skip


def picture(
    alpha: np.ndarray, beta: np.ndarray, z: np.ma.MaskedArray, scale: Scale,
    *, doubtful: np.ndarray | None = None, pixels: int = PIXELS,
) -> np.ndarray:  # fmt: skip
    """The pixels of a map, `(pixels, pixels, 4)` from the lowest β up: between nodes heights and shades are bilinear.

    Args:
        alpha, beta, z, scale, doubtful, pixels: as for `draw_relief`.
    """
    heights = z.filled(np.nan)
    middles = (np.arange(pixels) + 0.5) / pixels
    x, y = locate(_unit(alpha), middles), locate(_unit(beta), middles[:, None])
    between = bilinear(heights, x, y)
    shade = bilinear(np.nan_to_num(hillshade(alpha, beta, heights, scale)), x, y)
    rgb = COLORMAP(scale.norm(between))[..., :3]
    beyond = np.abs(scale.norm(between) - 0.5) - 0.5  # above 0 beyond the scale, where the ground becomes flat
    rgb = shaded(rgb, shade * np.clip(1 - beyond / FLAT, 0, 1))
    if doubtful is not None and doubtful.any():
        line = (np.add.outer(np.arange(pixels), np.arange(pixels)) % HATCH_EVERY == 0) & (
            bilinear(doubtful.astype(float), x, y) > 0.5
        )
        rgb = np.where(line[..., None], shaded(rgb, np.where(rgb.mean(-1) > 0.4, -HATCH, HATCH)), rgb)
    image = np.concatenate([rgb, np.isfinite(between)[..., None]], axis=-1)
    return np.round(255 * np.nan_to_num(image)).astype(np.uint8)


def hillshade(alpha: np.ndarray, beta: np.ndarray, heights: np.ndarray, scale: Scale) -> np.ndarray:
    """How the light changes the colour of every node: 0 on flat ground, so that it has the colour of the bar.

    Slopes are those of the picture, a panel wide and the whole scale high: maps of one scale are shaded alike. NaN
    beside a node without a height.

    Args:
        alpha, beta: places of the nodes, `(a,)` and `(b,)`.
        heights: at the nodes, `(b, a)`, NaN where there is none.
        scale: from lowest to highest.
    """
    rise = STEEPNESS / (scale.high - scale.low)
    down, across = np.gradient(heights * rise, _unit(beta), _unit(alpha))
    normal = np.stack([-across, -down, np.ones_like(across)])
    light = np.tensordot(LIGHT, normal / np.linalg.norm(normal, axis=0), axes=1)
    return np.clip(SHADE * (light - LIGHT[2]), DARKEST, LIGHTEST)


def shaded(rgb: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """Colours moved towards the dark where the shade is negative, and towards white where it is positive.

    Args:
        rgb: `(..., 3)`.
        shade: `(...)`, from -1 to 1.
    """
    shade = shade[..., None]
    return rgb + np.abs(shade) * (np.where(shade < 0, SHADOW, 1.0) - rgb)


def drape(alpha: np.ndarray, beta: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A path with so many points between its corners that a line through them can follow a surface.

    Args:
        alpha, beta: places of the nodes, `(a,)` and `(b,)`.
        path: its corners, `(t, 2)`.

    Returns:
        points `(n, 2)`, and which of them are the corners, `(n,)`.
    """
    node = [np.ptp(axis) / (len(axis) - 1) or 1.0 for axis in (alpha, beta)]  # from one to the next
    pieces = np.ceil(np.abs(np.diff(path, axis=0) / node).max(axis=1)).astype(int).clip(1)  # of every segment
    before = np.append(np.repeat(np.arange(len(pieces)), pieces), len(pieces))  # the corner before every point
    way = np.concatenate([*(np.arange(count) / count for count in pieces), [0]])  # from there to the next corner
    after = np.minimum(before + 1, len(pieces))
    return (1 - way[:, None]) * path[before] + way[:, None] * path[after], way == 0


def ends(axis: np.ndarray) -> tuple[float, float]:
    """The range of an axis; around its only value for a trajectory that does not move along it."""
    low, high = float(axis[0]), float(axis[-1])
    return (low, high) if high > low else (low - 1, low + 1)


def inks(levels: list[float], scale: Scale) -> list[Color]:
    """The colours of contours: light on depths, dark on heights."""
    return [INK if scale.norm(level) > INK_FROM else LIGHT_INK for level in levels]


def widths(levels: list[float], scale: Scale) -> list[float]:
    """The widths of contours: whole decades of a logarithmic scale are thicker, where there are others between them."""
    whole = scale.log and scale.step < 1
    return [THICK if whole and abs(level - round(level)) < 1e-6 else THIN for level in levels]


def locate(axis: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The node before every place along an axis, and how far that is on the way to the next; 0 to 1 inside the axis.

    Args:
        axis: places of the nodes, increasing, or all at one place.
        at: places, of any shape.
    """
    before = np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2)
    gap = axis[before + 1] - axis[before]
    return before, np.divide(at - axis[before], gap, out=np.zeros(np.shape(at)), where=gap > 0)


def bilinear(z: np.ndarray, x: tuple[np.ndarray, np.ndarray], y: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What lies between nodes.

    Args:
        z: at the nodes, `(b, a)`.
        x, y: what `locate` gave along α and β, of shapes that broadcast.
    """
    (i, s), (j, t) = x, y
    low = z[j, i] * (1 - s) + z[j, i + 1] * s
    high = z[j + 1, i] * (1 - s) + z[j + 1, i + 1] * s
    return low * (1 - t) + high * t


def color_bar(figure: Figure | SubFigure, scale: Scale, label: str, **place: Any) -> Colorbar:
    """The bar of heights with a line for every contour, and an arrow at an end beyond which there are values.

    Args:
        figure: that gets it.
        scale: not an empty one.
        label: what the values are.
        place: `cax=` or `ax=`, `orientation=`, as `figure.colorbar` takes them.
    """
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        ScalarMappable(scale.norm, COLORMAP), ticks=scale.ticks, format=scale.formatter(),
        extend=beyond[scale.below, scale.above], extendfrac=ARROW, **place,
    )  # fmt: skip
    if scale.below:
        _say_at_end(bar, f"{_value(scale.low, scale)} and below", -1.5 * ARROW)
    if scale.above:
        _say_at_end(bar, f"{_value(scale.high, scale)} and above", 1 + 1.5 * ARROW)
    bar.ax.tick_params(**style.TICKS)
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.6)  # pyright: ignore[reportCallIssue]
    line = bar.ax.axhline if bar.orientation == "vertical" else bar.ax.axvline
    for level, ink, width in zip(
        scale.contours, inks(scale.contours, scale), widths(scale.contours, scale), strict=True
    ):
        line(level, color=ink, linewidth=width)
    bar.set_label(label)
    return bar


def _say_at_end(bar: Colorbar, words: str, end: float) -> None:
    """Words at the arrow of a bar: beyond its end, or above it where the bar lies down."""
    if bar.orientation == "vertical":
        words = words.replace(" and ", "\nand ")  # beside the bar there is room for its numbers alone
        x, y, across, up = 0.0, end, "left", "bottom" if end > 0 else "top"
    else:
        x, y, across, up = end, 1.15, "right" if end > 0 else "left", "bottom"
    bar.ax.text(x, y, words, transform=bar.ax.transAxes, ha=across, va=up, fontsize=style.SMALL - 1)


def _value(height: float, scale: Scale) -> str:
    return number(10**height if scale.log else height, 2)


def _unit(axis: np.ndarray) -> np.ndarray:
    """The places of nodes along a panel, from 0 to 1; evenly apart where they are all at one place."""
    extent = axis[-1] - axis[0]
    return (axis - axis[0]) / extent if extent > 0 else np.linspace(0, 1, len(axis))
