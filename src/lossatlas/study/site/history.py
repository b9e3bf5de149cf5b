"""The curves of a training as SVG inside a page: no image file, and the colors of the page's theme."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lossatlas.numbers import general_text

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 14, 36
DECADES = 2  # as in the figures: what spans more is on a log scale


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What the template draws: everything in units of the drawing."""

    title: str
    lines: dict[str, str]  # by split: the path of its line, broken where it is not finite
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def charts(history: Path) -> list[Chart]:
    """Loss and accuracy by epoch from a `history.csv`; no chart of what it does not have."""
    if not history.is_file():
        return []
    with history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [float(row["epoch"]) for row in rows]
    drawn = []
    for quantity in ("loss", "accuracy"):
        values = {
            split: [float(row[f"{split}_{quantity}"]) for row in rows]
            for split in ("train", "test")
            if rows and f"{split}_{quantity}" in rows[0]
        }
        if any(math.isfinite(value) for line in values.values() for value in line):
            drawn.append(_chart(quantity, epochs, values))
    return drawn


def _chart(quantity: str, epochs: Sequence[float], values: dict[str, list[float]]) -> Chart:
    finite = [value for line in values.values() for value in line if math.isfinite(value)]
    positive = [value for value in finite if value > 0]
    log = quantity == "loss" and min(finite) >= 0 and bool(positive) and max(positive) > min(positive) * 10**DECADES
    shown = [math.log10(value) for value in positive] if log else finite
    low, high = min(shown), max(shown)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5

    def x(epoch: float) -> float:
        return LEFT + (epoch - epochs[0]) / max(epochs[-1] - epochs[0], 1) * (WIDTH - RIGHT - LEFT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - BOTTOM - TOP)

    lines = {}
    for split, line in values.items():
        parts, pen = [], "M"
        for epoch, value in zip(epochs, line, strict=True):
            if not math.isfinite(value) or (log and value <= 0):
                pen = "M"
                continue
            parts.append(f"{pen}{x(epoch):.1f} {y(math.log10(value) if log else value):.1f}")
            pen = "L"
        lines[split] = "".join(parts)
    across = [Tick(round(x(epoch), 1), general_text(epoch)) for epoch in _round_values(epochs[0], epochs[-1])]
    if log:
        powers = range(math.ceil(low), math.floor(high) + 1)
        up = [Tick(round(y(power), 1), general_text(10.0**power)) for power in powers]
    else:
        up = [Tick(round(y(value), 1), general_text(value)) for value in _round_values(low, high)]
    return Chart(f"{quantity.capitalize()} by epoch" + (", log scale" if log else ""), lines, across, up)


def _round_values(low: float, high: float) -> list[float]:
    """Some three to six multiples of a round step.

    >>> _round_values(0, 30), _round_values(0.46, 1.0)
    ([0.0, 10.0, 20.0, 30.0], [0.6, 0.8, 1.0])
    """
    if high <= low:
        return [float(low)]
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = max((factor * power for factor in (1, 2, 5, 10) if factor * power <= (high - low) / 2.5), default=power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]
