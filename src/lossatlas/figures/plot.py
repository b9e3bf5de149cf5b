"""One picture of any result: which function draws which probe, and a figure for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import MaxNLocator

from lossatlas.figures import planes, style
from lossatlas.figures.block_spectrum import draw_block_eigenvalues
from lossatlas.figures.connectivity import draw_connectivity
from lossatlas.figures.curves import draw_curves
from lossatlas.figures.eigenvector_plane import draw_eigenvector_plane
from lossatlas.figures.interpolation import draw_interpolation
from lossatlas.figures.model_plane import draw_model_plane
from lossatlas.figures.regularization import draw_interpolations
from lossatlas.figures.sharpness import draw_sharpness
from lossatlas.figures.slices import draw_line, draw_plane
from lossatlas.figures.spectrum import draw_density, draw_spectrum
from lossatlas.figures.trajectory_plane import draw_trajectory_plane

# By the attribute `probe` of a result.
PLANES: dict[str, Callable[..., Axes]] = {
    "random_plane": draw_plane,
    "trajectory_plane": draw_trajectory_plane,
    "model_plane": draw_model_plane,
    "eigenvector_plane": draw_eigenvector_plane,
    "slice_by_weight_decay": draw_plane,
    "loss_landscape_plane": planes.draw_contour,
}
CURVES: dict[str, Callable[..., Axes]] = {
    "random_line": draw_line,
    "interpolate": draw_interpolation,
    "linear_connectivity": draw_connectivity,
    "loss_landscape_line": draw_curves,
}
FAMILIES: dict[str, Callable[..., Axes]] = {"interpolate_by_weight_decay": draw_interpolations}  # lines of one split
OTHERS: dict[str, Callable[..., Axes]] = {
    "spectrum": draw_spectrum,
    "spectral_density": draw_density,
    "block_spectrum": draw_block_eigenvalues,
    "epsilon_sharpness": draw_sharpness,
}
DRAW = PLANES | CURVES | FAMILIES | OTHERS
SIZE = (4.6, 3.4)  # inches


def plot(
    result: xr.Dataset, ax: Axes | None = None, *, variable: str | None = None, split: str | None = None, **knobs: Any
) -> Axes:
    """Draw a result into `ax`, or into a pyplot figure of its own with a legend, and a colour bar for a plane.

    A plane shows one split, by default the first, and its title says which; its scale is that of all splits. What is
    not a plane shows all splits, unless one is named. `knobs` go to the probe's draw function.

    Raises ValueError where the result is of no probe, has no such split or variable, or has dimensions to choose from.
    """
    probe = result.attrs.get("probe")
    if probe not in DRAW:
        raise ValueError(f"the result's attribute probe is {probe!r}: wanted one of {', '.join(sorted(DRAW))}")
    if variable is not None:
        if variable not in result.data_vars:
            raise ValueError(f"the result has no {variable!r}: choose from {', '.join(map(str, result.data_vars))}")
        knobs["variable"] = variable
    names = [name for name in style.splits(result) if name]
    if split is not None and split not in names:
        raise ValueError(f"split is {split!r}: choose from {', '.join(names) or 'nothing, the result is of one loss'}")
    shown = split or next(iter(names), None)
    if probe in PLANES:
        _check_plane(result, variable or "loss")
        knobs["scale"] = knobs.get("scale") or planes.Scale.of(result[variable or "loss"])
    if probe in PLANES or probe in FAMILIES:
        knobs["split"] = shown
    elif split is not None:
        result = result.sel(split=[split])
    own = ax is None
    with mpl.rc_context(style.RC if own else {}):
        ax = _new_axes() if ax is None else ax
        DRAW[probe](result, ax, **knobs)
        rows = _add_legend(ax) if own else 0
        if "split" in knobs and len(names) > 1:
            ax.set_title(str(shown), loc="left", pad=4 + 1.6 * style.SMALL * rows)  # above the legend
        if own and probe in PLANES:
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=planes.ROUND))
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=planes.ROUND))
            _add_color_bar(ax, result[variable or "loss"], knobs["scale"])
    return ax


def _new_axes() -> Axes:
    # pyplot, since only its figures are shown by notebooks and plt.show(); nobody who gives axes needs it.
    import matplotlib.pyplot as plt

    ax = plt.figure(figsize=SIZE, layout="constrained").add_subplot()
    ax.tick_params(which="major", **style.TICKS)
    ax.tick_params(which="minor", width=0.4, length=1.5)
    return ax


def _check_plane(result: xr.Dataset, variable: str) -> None:
    beyond = [str(dim) for dim in result[variable].dims if dim not in ("split", "alpha", "beta")]
    if beyond:
        raise ValueError(f"{variable} has the dimension {beyond[0]} too: choose one, result.sel({beyond[0]}=...)")


def _add_legend(ax: Axes) -> int:
    """A legend over the axes; how many rows it has."""
    labels = ax.get_legend_handles_labels()[1]
    columns = 1 if max(map(len, labels), default=0) > 24 else 3
    style.legend_above(ax, columns)
    return -(-len(labels) // columns)


def _add_color_bar(ax: Axes, values: xr.DataArray, scale: planes.Scale) -> None:
    if not len(scale.edges):
        return
    figure = ax.figure
    bar = figure.colorbar(
        ScalarMappable(scale.norm, style.COLORMAP), ax=ax, boundaries=scale.edges, ticks=scale.ticks,
        format=scale.formatter(),
    )  # fmt: skip
    bar.ax.tick_params(**style.TICKS)
    bar.outline.set_linewidth(0.6)  # pyright: ignore[reportCallIssue]
    bar.set_label(style.label(values))
