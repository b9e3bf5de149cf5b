"""Strip charts: one quantity of many networks, a dot each, by two factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossatlas.figures import style

ROW = 0.3  # inches of a level
LANE = 0.62  # of a row, that its series share
SERIES_COLORS = ("#0072B2", "#D55E00", *style.OTHER_COLORS)
MARKERS = "osDv^P"


def strips(
    values: Mapping[str, Mapping[str, Sequence[float]]], title: str, quantity: str, *, log: bool | None = None
) -> Figure:
    """A dot for every value, a row for every level of one factor, a colour and marker for every level of another.

    A short line marks the median of a row and colour. What is not finite, and on a log axis not positive, is left out
    and counted beside its row.

    Args:
        values: by row, from the top, and by series.
        title: of the figure.
        quantity: what the axis shows, with its unit.
        log: whether the axis is logarithmic; if left out, where the positive values span more than two decades.
    """
    every = np.array([value for series in values.values() for some in series.values() for value in some], dtype=float)
    log = style.wants_log(every) if log is None else log
    names = list(dict.fromkeys(name for series in values.values() for name in series))
    left = 0.3 + 0.075 * max((len(row) for row in values), default=1)
    height = 0.95 + ROW * len(values)
    with style.canvas(title, width=6.0, height=height, margins=(left, 0.6, 0.5, 0.45)) as (figure, (ax,)):
        for place, series in enumerate(values.values()):
            absent = 0
            for lane, name in enumerate(names):
                given = np.asarray(series.get(name, ()), dtype=float)
                shown = given[np.isfinite(given) & ((given > 0) | (not log))]
                absent += len(given) - len(shown)
                y = place + LANE * ((lane + 0.5) / len(names) - 0.5)
                color = SERIES_COLORS[lane % len(SERIES_COLORS)]
                ax.plot(
                    shown, np.full(len(shown), y), linestyle="", marker=MARKERS[lane % len(MARKERS)], markersize=3.2,
                    color=color, alpha=0.55, markeredgewidth=0,
                )  # fmt: skip
                if len(shown):
                    ax.plot([np.median(shown)] * 2, [y - 0.13, y + 0.13], color="black", linewidth=1.4)
            if absent:
                ax.annotate(
                    f"{absent} not shown", (1.01, place), xycoords=("axes fraction", "data"), fontsize=style.SMALL - 1,
                    color="0.4", va="center",
                )  # fmt: skip
        if log:
            ax.set_xscale("log")
        ax.set_yticks(range(len(values)), list(values))
        ax.set_ylim(len(values) - 0.5, -0.5)
        ax.set_xlabel(quantity)
        ax.grid(axis="x", linewidth=0.4, color="0.85")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        handles = [
            Line2D([], [], linestyle="", marker=MARKERS[lane % len(MARKERS)], markersize=4.5,
                   color=SERIES_COLORS[lane % len(SERIES_COLORS)], label=name)
            for lane, name in enumerate(names)
        ]  # fmt: skip
        median = Line2D(
            [], [], linestyle="", marker="|", markersize=8, markeredgewidth=1.4, color="black", label="median"
        )
        ax.legend(
            handles=[*handles, median],
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(handles) + 1,
            borderaxespad=0.2,
        )
    return figure
