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
    """The row of the other tool with the smallest ratio, by the median, for an answer as good as was asked for."""
    rivals, ours = [row for row in record["rows"] if row["rival"]], record["rows"][0]["seconds"]
    return min(rivals, key=lambda row: ratios(row["seconds"], ours)[0], default=None)


def rivals_of(key: Key, found: Mapping[str, Records]) -> dict[str, dict[str, Any]]:
    """The fastest other tool at one work, on the machines where it was measured and one is good enough."""
    fastest = {machine: fastest_rival(records[key]) for machine, records in found.items() if key in records}
    return {machine: rival for machine, rival in fastest.items() if rival is not None}


def draw(compared: Sequence[Key], found: Mapping[str, Records]) -> Figure:
    """Bars on a logarithmic axis from 1, a shade for each machine, the range over the rounds on each."""
    colors = dict(zip(NAMES, (COLORS["train"], COLORS["test"], *OTHER_COLORS), strict=False))
    shades = dict(zip(found, np.linspace(1, 0.45, max(len(found), 2)), strict=False))
    labels: dict[float, str] = {}  # by place
    ratio_at: dict[float, tuple[float, float, float]] = {}
    color_at: dict[float, tuple[float, ...]] = {}
    place = 0.0
    for key in compared:
        rivals = rivals_of(key, found)
        tools = {rival["tool"] for rival in rivals.values()}
        if rivals:
            label = f"{NAMES[key[0]]}, {key[1]}" + (f": {min(tools)}" if len(tools) == 1 else "")
            labels[place + (len(rivals) - 1) / 2] = label
        for machine, rival in rivals.items():
            ratio_at[place] = ratios(rival["seconds"], found[machine][key]["rows"][0]["seconds"])
            color_at[place] = to_rgba(colors[key[0]], shades[machine])
            place += 1
        place += GAP if rivals and len(found) > 1 else 0
    legend = 0.2 * (len(found) > 1)
    title = "Time of the fastest other tool, as a multiple of that of lossatlas"
    height, margins = BAR * place + 0.9 + legend, (2.9, 0.6, 0.45, 0.35 + legend)
    with canvas(title, width=6.8, height=height, margins=margins) as (figure, (ax,)):
        places = np.array(list(ratio_at))
        middle, low, high = np.array(list(ratio_at.values())).T
        ax.barh(places, middle - 1, left=1, color=list(color_at.values()), height=0.8)
        ax.errorbar(middle, places, xerr=(middle - low, high - middle), fmt="none", ecolor="0.2", elinewidth=0.8)
        for at, value, end in zip(places, middle, high, strict=True):
            text = f"{value:.2g}" if value < 10 else f"{value:.0f}"
            ax.annotate(text, (max(value, end, 1), at), (4, 0), textcoords="offset points", va="center")
        ax.set_xscale("log")
        ax.set_xlim(min(0.5, 0.8 * low.min()), 1.5 * high.max())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high.max() / low.min() < 50 else (1,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(1, color="0.2", linewidth=0.8)
        ax.set_yticks(list(labels), list(labels.values()))
        ax.set_ylim(places.max() + 0.6, -0.6)
        ax.set_xlabel("times ours (logarithmic)")
        if len(found) > 1:
            keys = [Patch(color=to_rgba("0.3", shade), linewidth=0, label=machine) for machine, shade in shades.items()]
            figure.legend(handles=keys, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.25 / height), ncols=len(found))
        return figure


def save_figure(compared: Sequence[Key], found: Mapping[str, Records], path: Path) -> None:
    """As a PNG of few colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(compared, found).savefig(path, dpi=150)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
