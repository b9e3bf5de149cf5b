"""The picture of the page: how many times longer the fastest other tool takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from benchmarks.timing import ratios
from lossatlas.figures.style import COLORS, OTHER_COLORS, canvas

NAMES = {
    "surface": "surface", "eigenvalues": "eigenvalues", "density": "spectral density", "training": "training",
    "study": "whole study",
}  # fmt: skip
BAR = 0.19  # inches


def fastest_rival(record: dict[str, Any]) -> dict[str, Any] | None:
    """The row of the other tool that took the least time for an answer as good as was asked for."""
    rivals = [row for row in record["rows"] if row["rival"]]
    return min(rivals, key=lambda row: min(row["seconds"]), default=None)


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Bars on a logarithmic axis from 1, the range over the rounds on each."""
    found = [
        (record["table"], record["case"], rival["tool"], ratios(rival["seconds"], record["rows"][0]["seconds"]))
        for record in records
        if (rival := fastest_rival(record)) is not None
    ]
    height = BAR * len(found) + 0.9
    colors = dict(zip(NAMES, (COLORS["train"], COLORS["test"], *OTHER_COLORS), strict=False))
    title = "Time of the fastest other tool, as a multiple of that of lossatlas"
    with canvas(title, width=6.4, height=height, margins=(2.9, 0.6, 0.45, 0.35)) as (figure, (ax,)):
        places = np.arange(len(found))
        middle, low, high = np.array([ratio for *_, ratio in found]).T
        ax.barh(places, middle - 1, left=1, color=[colors[table] for table, *_ in found], height=0.7)
        ax.errorbar(middle, places, xerr=(middle - low, high - middle), fmt="none", ecolor="0.2", elinewidth=0.8)
        for place, value, top in zip(places, middle, high, strict=True):
            text = f"{value:.2g}" if value < 10 else f"{value:.0f}"
            ax.annotate(text, (max(value, top, 1), place), (4, 0), textcoords="offset points", va="center")
        ax.set_xscale("log")
        ax.set_xlim(min(0.5, 0.8 * low.min()), 1.5 * high.max())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high.max() / low.min() < 50 else (1,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(1, color="0.2", linewidth=0.8)
        ax.set_yticks(places, [f"{NAMES[table]}, {case}: {tool}" for table, case, tool, _ in found])
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xlabel("times ours (logarithmic)")
        return figure


def save_figure(records: Sequence[dict[str, Any]], path: Path) -> None:
    """As a PNG of few colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(records).savefig(path, dpi=150)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
