"""The picture of the page: how many times longer the fastest other tool takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from benchmarks.all_tables import Key, Records
from benchmarks.timing import ratios
from lossatlas.figures.style import COLORS, OTHER_COLORS, canvas

NAMES = {
    "surface": "surface", "eigenvalues": "eigenvalues", "density": "spectral density", "training": "training",
    "study": "whole study",
}  # fmt: skip
BAR = 0.17  # inches
GAP = 0.5  # bars


def fastest_rival(record: dict[str, Any]) -> dict[str, Any] | None:
    """The row of the other tool that took the least time for an answer as good as was asked for."""
    rivals = [row for row in record["rows"] if row["rival"]]
    return min(rivals, key=lambda row: min(row["seconds"]), default=None)


def draw(compared: Sequence[Key], found: Mapping[str, Records]) -> Figure:
    """Bars on a logarithmic axis from 1, a shade for each machine, the range over the rounds on each."""
    bars = []  # place, table, number of the machine, (median, lowest, highest)
    names, top = [], 0.0
    for key in compared:
        rivals = {machine: fastest_rival(records[key]) for machine, records in found.items() if key in records}
        there = {machine: rival for machine, rival in rivals.items() if rival is not None}
        if not there:
            continue
        tools = ", ".join(dict.fromkeys(rival["tool"] for rival in there.values()))
        names.append((top + (len(there) - 1) / 2, f"{NAMES[key[0]]}, {key[1]}: {tools}"))
        for number, (machine, records) in enumerate(found.items()):
            if machine in there:
                ratio = ratios(there[machine]["seconds"], records[key]["rows"][0]["seconds"])
                bars.append((top, key[0], number, ratio))
                top += 1
        top += GAP if len(found) > 1 else 0
    height = BAR * top + 0.9 + 0.2 * (len(found) > 1)
    colors = dict(zip(NAMES, (COLORS["train"], COLORS["test"], *OTHER_COLORS), strict=False))
    shades = np.linspace(1, 0.45, max(len(found), 2))
    title = "Time of the fastest other tool, as a multiple of that of lossatlas"
    margins = (2.9, 0.6, 0.45, 0.35 + 0.2 * (len(found) > 1))
    with canvas(title, width=6.8, height=height, margins=margins) as (figure, (ax,)):
        places = np.array([place for place, *_ in bars])
        middle, low, high = np.array([ratio for *_, ratio in bars]).T
        shaded = [to_rgba(colors[table], shades[number]) for _, table, number, _ in bars]
        ax.barh(places, middle - 1, left=1, color=shaded, height=0.8)
        ax.errorbar(middle, places, xerr=(middle - low, high - middle), fmt="none", ecolor="0.2", elinewidth=0.8)
        for place, value, end in zip(places, middle, high, strict=True):
            text = f"{value:.2g}" if value < 10 else f"{value:.0f}"
            ax.annotate(text, (max(value, end, 1), place), (4, 0), textcoords="offset points", va="center")
        ax.set_xscale("log")
        ax.set_xlim(min(0.5, 0.8 * low.min()), 1.5 * high.max())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high.max() / low.min() < 50 else (1,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(1, color="0.2", linewidth=0.8)
        ax.set_yticks([place for place, _ in names], [name for _, name in names])
        ax.set_ylim(places.max() + 0.6, -0.6)
        ax.set_xlabel("times ours (logarithmic)")
        if len(found) > 1:
            keys = [Patch(color=to_rgba("0.3", shade), label=name) for shade, name in zip(shades, found, strict=False)]
            figure.legend(handles=keys, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.25 / height), ncols=len(found))
        return figure


def save_figure(compared: Sequence[Key], found: Mapping[str, Records], path: Path) -> None:
    """As a PNG of few colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(compared, found).savefig(path, dpi=150)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
