"""The loss on the straight path between two solutions, before and after aligning their neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.figures import style
from lossatlas.figures.curves import curve_page, draw_curves
from lossatlas.numbers import number

LINESTYLES = ("-", "--", ":", "-.")  # as trained, aligned, anything more


def draw_connectivity(
    result: xr.Dataset,
    ax: Axes,
    *,
    variable: str = "loss",
    name: str = "",
    linestyle: str = "-",
    log: bool | None = None,
) -> Axes:
    """The loss, or a metric, on the path, with a line per split; for the loss the legend gives the barrier.

    `name` says in the legend which path this is, where several are drawn into the same axes, and `log` whether
    the axis is logarithmic; as a rule it is when this result spans over two decades.
    """
    labels = {}
    for split, part in style.splits(result).items():
        words = ", ".join(word for word in (split, name) if word)
        barrier = f"barrier {number(float(part.barrier), 2)}" if variable == "loss" else ""
        labels[split] = ": ".join(word for word in (words, barrier) if word)
    draw_curves(result, ax, variable=variable, linestyle=linestyle, labels=labels, log=log)
    ax.set_xlabel("position α between the two solutions")
    return ax


def pages(results: Mapping[str, xr.Dataset], title: str) -> Iterator[tuple[str, Figure]]:
    """`connectivity_loss.png` and `connectivity_<metric>.png`, with a line style per entry of `results`.

    Its keys ("as trained", "aligned") name the paths in the legend.
    """
    first = next(iter(results.values()))
    rows = max(len(style.splits(first)), 1)
    for variable in ("loss", *style.metrics(first)):
        every = np.concatenate([result[variable].values.ravel() for result in results.values()])
        log = variable == "loss" and style.wants_log(every)
        with curve_page(title, legend_rows=rows) as (figure, ax):
            for linestyle, (name, result) in zip(LINESTYLES, results.items(), strict=False):
                draw_connectivity(result, ax, variable=variable, name=name, linestyle=linestyle, log=log)
            style.say_if_empty(ax, every)
            style.legend_above(ax, columns=len(results))
        yield f"connectivity_{variable}.png", figure
