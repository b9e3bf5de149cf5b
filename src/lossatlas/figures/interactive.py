"""Surfaces that turn (plotly): scales, colours, contours and marks as in print, for one loss and for pages of HTML.

`surface` is for a notebook. A page carries `surface_data` and `STYLE` and puts them together as `surface_figure` does
(`document/assets/surface.js`; a test holds the two to the same answer).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from lossatlas.figures import marks, relief, style
from lossatlas.figures.scale import DECADE_STEPS, FEWEST, MOST, STEPS, contour_step, contours
from lossatlas.splits import one_split, splits

DIGITS = 5  # significant ones that a page carries of a loss; float32 has 7, a picture shows 3
_ELEVATION, _AZIMUTH, _DISTANCE = math.radians(28), math.radians(-55), 2.2  # as the printed surfaces are seen

_GRID = "#A0A0A0"  # shows on white and on black; opaque, since WebGL blends what is not with white
_AXIS: dict[str, Any] = {
    "showbackground": False, "gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID, "nticks": 6,
    "showspikes": False,
}  # fmt: skip
_MARK: dict[str, Any] = {"type": "scatter3d", "hoverinfo": "name", "showlegend": True}
CHECKPOINT = 3.5  # size of its dot on a path
MOST_NODES = 33  # along an axis: of finer grids a page carries every second node

# What does not depend on the data. `decades`: a loss that spans more is drawn as its log10. `steps` between contours of
# a logarithmic scale, of which `contour_step` takes the first that gives neither too few nor too many.
STYLE: dict[str, Any] = {
    "decades": style.PLANE_DECADES,
    "steps": {"decades": list(DECADE_STEPS), "round": list(STEPS), "few": FEWEST, "many": MOST},
    "surface": {
        "type": "surface",
        "colorscale": [[at / (len(relief.COLORS) - 1), color] for at, color in enumerate(relief.COLORS)],
        "connectgaps": False,
        "hovertemplate": "α %{x:.4g}<br>β %{y:.4g}<br>loss %{customdata:.4g}<extra></extra>",
        "contours": {
            "x": {"highlight": False}, "y": {"highlight": False},
            "z": {"highlight": False, "show": True, "color": "#24303F", "width": 1.5},
        },
        "lighting": {"ambient": 0.8, "diffuse": 0.4, "specular": 0.02, "roughness": 0.9},
        "colorbar": {"thickness": 12, "len": 0.7, "x": 1.0, "outlinewidth": 0, "nticks": 6},
    },
    "path": {
        **_MARK, "mode": "lines+markers",
        "line": {"color": "#FFFFFF", "width": 5},
        "marker": {"color": "#FFFFFF", "line": {"color": "#000000", "width": 1}},
    },
    "start": {
        **_MARK, "mode": "markers",
        "marker": {"color": "#FFFFFF", "size": 6, "symbol": "square", "line": {"color": "#000000", "width": 2}},
    },
    "end": {
        **_MARK, "mode": "markers",
        "marker": {"color": "#FFFFFF", "size": 7, "symbol": "diamond", "line": {"color": "#000000", "width": 2}},
    },
    "models": {
        **_MARK, "mode": "markers+text", "textposition": "top center",
        "marker": {"color": "#FFFFFF", "size": 6, "symbol": "circle", "line": {"color": "#000000", "width": 2}},
    },
    # Of the whole height, by which marks stand above the surface: in it they would be half hidden.
    "lift": {"path": 0.012, "start": 0.035, "end": 0.035, "models": 0.035},
    "layout": {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "showlegend": True,
        "legend": {
            "orientation": "h", "x": 0, "y": 1, "yanchor": "top", "bgcolor": "rgba(128, 128, 128, 0.15)",
            "itemclick": "toggle", "itemdoubleclick": False,
        },
        "uirevision": "kept",
        "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": "#8A8A8A", "activecolor": "#8A8A8A"},
        "scene": {
            "aspectmode": "manual",
            "aspectratio": {"x": 1, "y": 1, "z": 0.75},
            "camera": {
                "eye": {
                    "x": round(_DISTANCE * math.cos(_ELEVATION) * math.cos(_AZIMUTH), 3),
                    "y": round(_DISTANCE * math.cos(_ELEVATION) * math.sin(_AZIMUTH), 3),
                    "z": round(_DISTANCE * math.sin(_ELEVATION), 3),
                },
                "center": {"x": 0, "y": 0, "z": -0.12},
            },
            "xaxis": {**_AXIS},
            "yaxis": {**_AXIS},
            "zaxis": {**_AXIS},
        },
    },
}  # fmt: skip


def surface(result: xr.Dataset, *, variable: str = "loss", split: str | None = None) -> go.Figure:
    """One split's `variable` over the plane of any probe that has one, as a surface that turns.

    Heights and colors are log10 where the loss of all splits together spans over a factor of 5. Paths and models are
    drawn at the loss of their projections on the plane; else the weights at its centre are marked. Gaps are not finite.

    Args:
        result: with a quantity over alpha and beta.
        variable: the quantity.
        split: which one; the first if left out.
    """
    chosen = split if split is not None or "split" not in result.dims else str(result.split.values[0])
    if variable not in result.data_vars or not {"alpha", "beta"} <= set(result[variable].dims):
        planes = [str(name) for name, values in result.data_vars.items() if {"alpha", "beta"} <= set(values.dims)]
        raise ValueError(f"there is no plane of {variable!r} in the result: choose from {', '.join(planes) or 'none'}")
    one_split(result, chosen)  # says what there is when there is no such split
    return go.Figure(surface_figure(surface_data(result, variable=variable, digits=17), chosen or ""))


def surface_data(
    result: xr.Dataset, *, variable: str = "loss", digits: int = DIGITS, most_nodes: int | None = None
) -> dict[str, Any]:
    """What a surface shows, as JSON can hold it: axes, values by split with β outermost, and what is marked on it.

    Numbers are null where they are not finite.

    Args:
        result: with a quantity over alpha and beta.
        variable: the quantity.
        digits: significant ones of every number.
        most_nodes: of an axis with more, every second node is kept, with the one at 0 and both ends.
    """
    parts = splits(result)
    if "explained_variance" in result:
        first, second = marks.shares(result)
        labels = {"alpha": f"α ({first})", "beta": f"β ({second})"}
    else:
        labels = {"alpha": "direction α", "beta": "direction β"}
    kept = {axis: _kept(result[axis].values, most_nodes) for axis in labels}
    return {
        "is_loss": variable == "loss",
        "quantity": style.label(result[variable]),
        **{
            axis: {"label": labels[axis], "values": _numbers(result[axis].values[kept[axis]], digits)}
            for axis in labels
        },
        "values": {
            name: _numbers(part[variable].isel(kept).transpose("beta", "alpha").values, digits)
            for name, part in parts.items()
        },
        "marks": [_written(mark, digits) for mark in _marks(result, parts, variable)],
    }


def surface_figure(data: dict[str, Any], split: str) -> dict[str, Any]:
    """The plotly figure, traces and layout; all splits have one scale.

    Args:
        data: what `surface_data` gave.
        split: which one of it.
    """
    log, low, high = _scale(data)
    ticks = _log_ticks(low, high) if log else {}
    shown = copy.deepcopy(STYLE)
    grid = {
        **shown["surface"],
        "x": data["alpha"]["values"],
        "y": data["beta"]["values"],
        "z": _plotted(data["values"][split], log),
        "customdata": data["values"][split],
        "cmin": low,
        "cmax": high,
    }
    step = contour_step(low, high, log=log)
    inside = contours(low, high, step)
    grid["contours"]["z"] |= {"start": inside[0], "end": inside[-1], "size": step} if inside else {"show": False}
    grid["colorbar"] |= {"title": {"text": data["quantity"]}, **ticks}
    layout = shown["layout"]
    for axis, name in (("xaxis", "alpha"), ("yaxis", "beta")):
        layout["scene"][axis] |= {
            "title": {"text": data[name]["label"]},
            "range": [data[name]["values"][0], data[name]["values"][-1]],
        }
    title = data["quantity"] + (", log scale" if log else "")
    layout["scene"]["zaxis"] |= {"title": {"text": title}, "range": [low, high], **ticks}
    traces = [_trace(mark, split, (log, low, high), shown) for mark in data["marks"] if split in mark["values"]]
    return {"data": [grid, *traces], "layout": layout}


def _trace(mark: dict[str, Any], split: str, scale: tuple[bool, float, float], shown: dict[str, Any]) -> dict[str, Any]:
    log, low, high = scale
    lift = shown["lift"][mark["style"]] * (high - low)
    trace = copy.deepcopy(shown[mark["style"]])
    heights = [None if height is None else height + lift for height in _plotted(mark["values"][split], log)]
    trace |= {"name": mark["name"], "x": mark["alpha"], "y": mark["beta"], "z": heights}
    if "text" in mark:
        trace["text"] = mark["text"]
    if "size" in mark:
        trace["marker"]["size"] = mark["size"]
    if "color" in mark:
        trace["line"]["color"] = trace["marker"]["color"] = mark["color"]
    return trace


def _marks(result: xr.Dataset, parts: dict[str, xr.Dataset], variable: str) -> Iterator[dict[str, Any]]:
    """What is marked: its style and name, where it is, and how high in every split."""
    if variable == "loss" and "model_alpha" in result:
        yield _mark("models", "models", parts, "model", slice(None)) | {
            "text": [str(name) for name in result.model.values]
        }
        names = result.trajectory.values if "point" in result.dims else np.empty(0, dtype=str)
        for (color, _), name in zip(itertools.cycle(marks.COLORS), dict.fromkeys(names)):
            yield _path(str(name), parts, np.flatnonzero(names == name)) | {"color": color}
    elif variable == "loss" and "path_alpha" in result:
        yield _path("training", parts, np.arange(result.path_alpha.size))
        yield _mark("start", "initial weights", parts, "path", slice(0, 1))
        yield _mark("end", "final weights", parts, "path", slice(-1, None))
    elif "path_alpha" not in result and "model_alpha" not in result:
        center = {axis: [int(np.abs(result[axis].values).argmin())] for axis in ("alpha", "beta")}
        yield {
            "style": "end",
            "name": "final weights",
            **{axis: result[axis].values[at] for axis, at in center.items()},
            "values": {name: part[variable].isel(center).values.reshape(1) for name, part in parts.items()},
        }


def _mark(kind: str, name: str, parts: dict[str, xr.Dataset], prefix: str, rows: slice | np.ndarray) -> dict[str, Any]:
    first = next(iter(parts.values()))
    return {
        "style": kind,
        "name": name,
        **{axis: first[f"{prefix}_{axis}"].values[rows] for axis in ("alpha", "beta")},
        "values": {split: part[f"{prefix}_plane_loss"].values[rows] for split, part in parts.items()},
    }


def _path(name: str, parts: dict[str, xr.Dataset], rows: np.ndarray) -> dict[str, Any]:
    """A path that follows the surface from checkpoint to checkpoint, of which alone there are dots."""
    mark = _mark("path", name, parts, "path", rows)
    first = next(iter(parts.values()))
    alpha, beta = first.alpha.values, first.beta.values
    points, corners = relief.drape(alpha, beta, np.stack([mark["alpha"], mark["beta"]], axis=-1))
    x, y = relief.locate(alpha, points[:, 0]), relief.locate(beta, points[:, 1])
    heights = {}
    for split, part in parts.items():
        heights[split] = relief.bilinear(part.loss.transpose("beta", "alpha").values, x, y)
        heights[split][corners] = mark["values"][split]
    sizes = np.where(corners, CHECKPOINT, 0).tolist()
    return mark | {"alpha": points[:, 0], "beta": points[:, 1], "values": heights, "size": sizes}


def _written(mark: dict[str, Any], digits: int) -> dict[str, Any]:
    """A mark as JSON can hold it."""
    heights = {split: _numbers(values, digits) for split, values in mark["values"].items()}
    return mark | {axis: _numbers(mark[axis], digits) for axis in ("alpha", "beta")} | {"values": heights}


def _kept(axis: np.ndarray, most: int | None) -> np.ndarray:
    """Which nodes of an axis a page carries."""
    every = np.arange(len(axis))
    if most is None or len(axis) <= most:
        return every
    return every[((every - np.abs(axis).argmin()) % 2 == 0) | (every == 0) | (every == len(axis) - 1)]


def _scale(data: dict[str, Any]) -> tuple[bool, float, float]:
    """Whether heights are log10, and the lowest and highest of all splits, what is marked among them, as plotted."""
    grid = np.array(list(data["values"].values()), dtype=float)
    log = data["is_loss"] and style.wants_log(grid, style.PLANE_DECADES)
    marks = [value for mark in data["marks"] for values in mark["values"].values() for value in values]
    values = np.append(grid.ravel(), np.array(marks, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        plotted = np.log10(values) if log else values
    finite = plotted[np.isfinite(plotted)]
    if not finite.size:
        return log, 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # constant
        pad = 0.05 * abs(low) or 1.0
        return log, low - pad, high + pad
    return log, low, high


def _plotted(values: list[Any], log: bool) -> list[Any]:
    if not log:
        return values
    return [_plotted(value, log) if isinstance(value, list) else _log10(value) for value in values]


def _log10(value: float | None) -> float | None:
    return math.log10(value) if value is not None and value > 0 else None


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    ticks = style.log_ticks(low, high)
    return {"tickvals": list(ticks), "ticktext": list(ticks.values())}


def _numbers(values: np.ndarray, digits: int) -> list[Any]:
    if values.ndim > 1:
        return [_numbers(row, digits) for row in values]
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]
