"""Curves: one quantity over one axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.figures import style
from lossatlas.numbers import number
from lossatlas.splits import splits

LINESTYLES = ("-", "--", ":", "-.")  # of results drawn together, in their order
QUANTILES = (0.16, 0.84)  # of the band over several draws: one standard deviation of a Gaussian
FEW = 10  # draws below which the band is their range


def kinds(results: Mapping[str, xr.Dataset]) -> tuple[str, ...]:
    """A page for every quantity, of the loss first.

    Args:
        results: drawn together; the first says which quantities there are.
    """
    return tuple(style.quantities(next(iter(results.values()))))


def page(results: Mapping[str, xr.Dataset], title: str, kind: str) -> Figure:
    """The quantity `kind` of one result, or of several in one panel with a line style each.

    Args:
        results: by the words that tell them apart in the legend; `""` for a single one.
        title: of the figure.
        kind: one of `kinds(results)`.
    """
    first = next(iter(results.values()))
    every = np.concatenate([result[kind].values.ravel() for result in results.values()])
    long_entries = len(results) > 1 or "draw" in first[kind].dims or "barrier" in first
    rows, columns = (len(splits(first)), len(results)) if long_entries else (1, 2)
    with style.single_panel(title, legend_rows=rows) as (figure, ax):
        for linestyle, (name, result) in zip(LINESTYLES, results.items(), strict=False):
            _draw(result, ax, variable=kind, name=name, linestyle=linestyle, log=wants_log(first, kind, every))
        style.say_if_empty(ax, every)
        style.legend_above(ax, columns=columns)
    return figure


def draw_curve(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    name: str = "",
    linestyle: str = "-",
    log: bool | None = None,
) -> Axes:
    """One quantity over its axis, a line per split with a dot at every point measured.

    The line is broken where the value is not finite. Of several draws, each is a thin line; the thick one is their
    median, with dots where all were measured, and the band holds the middle 68 % of them, or all where they are fewer
    than ten. Both are broken where one of the draws is not finite. A dotted line stands at 0 where the axis has two
    sides. Where the result has a barrier, the legend gives it with the loss.

    Args:
        result: of a probe, over one axis such as α or a step.
        ax: what to draw into.
        variable: the quantity.
        name: said in the legend, where several results are drawn into the same axes.
        linestyle: of the lines, as matplotlib names them.
        log: whether the values are on a log axis; if left out, the loss is where it spans over two decades.
    """
    values = result[variable].values
    _draw(
        result, ax, variable=variable, name=name, linestyle=linestyle,
        log=wants_log(result, variable, values) if log is None else log,
    )  # fmt: skip
    style.say_if_empty(ax, values)
    return ax


def draw_lines(
    result: xr.Dataset, ax: Axes, *, variable: str, labels: Mapping[str, str], linestyle: str = "-", log: bool = False
) -> None:
    """The lines alone, with grid and the name of the vertical axis.

    Args:
        result: over one axis, of one draw.
        ax: what to draw into.
        variable: the quantity.
        labels: what the legend says of every split.
        linestyle: of the lines, as matplotlib names them.
        log: whether the values are on a log axis.
    """
    values = result[variable]
    (axis,) = style.axes(result, variable)
    measured = np.flatnonzero(result.measured.values).tolist() if "measured" in result else None
    named = splits(result)
    for (split, part), color in zip(named.items(), style.colors(named).values(), strict=True):
        ax.plot(
            part[axis].values, np.ma.masked_invalid(part[variable].values), linestyle, marker=".", markersize=3,
            markevery=measured, linewidth=1.2, color=color, label=labels[split],
        )  # fmt: skip
    if log:
        ax.set_yscale("log", nonpositive="mask")  # a loss of 0 is left out, not clipped to some smallest number
    elif ax.get_yscale() == "linear":  # the user, or a path drawn before, may want another
        ax.yaxis.set_major_formatter(style.PlainFormatter())
    ax.set_ylabel(style.label(values))
    ax.grid(True, color="0.9", linewidth=0.5)


def axis_name(result: xr.Dataset, axis: str) -> str:
    """What the axis of a curve is called: as the probe says it, or as the result tells what its ends are.

    Args:
        result: with a curve over the axis.
        axis: its dimension.
    """
    if axis == "alpha" and not style.own_label(result.alpha):
        if "barrier" in result:
            return "position α between the two solutions"
        if leads_to_end(result):
            return "position α from start (0) to end (1)"
        if "normalize" in result.attrs:  # as only random directions are
            return f"position α along the random direction{'s' if 'draw' in result.dims else ''}"
    return style.label(result[axis])


def leads_to_end(result: xr.Dataset) -> bool:
    """Whether α goes from the start of a path, 0, to its end, 1.

    What another program measured (`source`) may have its zero elsewhere.
    """
    alpha = result.alpha.values
    return len(alpha) > 1 and (alpha[0], alpha[-1]) == (0, 1) and "source" not in result.attrs


def _draw(result: xr.Dataset, ax: Axes, *, variable: str, name: str, linestyle: str, log: bool) -> None:
    (axis,) = style.axes(result, variable)
    words = {split: ", ".join(word for word in (split, name) if word) for split in splits(result)}
    if "draw" in result[variable].dims:
        _draw_band(result, ax, variable=variable, words=words, linestyle=linestyle, log=log)
    else:
        labels = words
        if variable == "loss" and "barrier" in result:
            barriers = {split: number(float(part.barrier), 2) for split, part in splits(result).items()}
            labels = {split: _joined(words[split], f"barrier {barrier}") for split, barrier in barriers.items()}
        draw_lines(result, ax, variable=variable, labels=labels, linestyle=linestyle, log=log)
    ax.set_xlabel(axis_name(result, axis))
    places = result[axis].values
    if places.min() < 0 < places.max() and "source" not in result.attrs:
        ax.axvline(0, color="0.6", linewidth=0.6, linestyle=":", zorder=0)


def _draw_band(
    result: xr.Dataset, ax: Axes, *, variable: str, words: Mapping[str, str], linestyle: str, log: bool
) -> None:
    draws = result.sizes["draw"]
    ends, band = ((0.0, 1.0), "range") if draws < FEW else (QUANTILES, "16–84 %")
    finite = result[variable].where(np.isfinite(result[variable]))
    median = result.assign({variable: finite.median("draw", skipna=False).assign_attrs(result[variable].attrs)})
    if "measured" in median:
        median["measured"] = median.measured.all("draw")
    labels = {split: _joined(word, f"median and {band} of {draws} draws") for split, word in words.items()}
    draw_lines(median, ax, variable=variable, labels=labels, linestyle=linestyle, log=log)
    (axis,) = style.axes(result, variable)
    named = splits(result.assign({variable: finite}))
    for part, color in zip(named.values(), style.colors(named).values(), strict=True):
        places, values = part[axis].values, part[variable].transpose(axis, "draw")
        ax.plot(places, values.values, color=color, linewidth=0.4, alpha=0.4, zorder=1.5)
        low, high = values.quantile(ends, "draw", skipna=False).values
        ax.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0, zorder=1)


def _joined(*words: str) -> str:
    return ": ".join(word for word in words if word)


def wants_log(result: xr.Dataset, variable: str, values: np.ndarray) -> bool:
    """Whether a curve is on a log axis: the main quantity, and those with a unit of their own; metrics stay on a linear
    one, whatever they span.

    Args:
        result: with the curve.
        variable: its quantity.
        values: all that share the axis.
    """
    own_unit = result[variable].attrs.get("units", "1") not in ("1", "", "criterion")
    return (own_unit or variable == style.quantities(result)[0]) and style.wants_log(values)
