"""How values become heights: as they are or as log10, within limits, with a contour at every round step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from lossatlas.figures import style
from lossatlas.numbers import general_text

STEPS = (1, 2, 5)  # round steps are these times a power of ten
FEWEST, MOST = 4, 16  # contours between the limits
# Steps of a logarithmic scale in decades, the usual one (a factor of 3) first, and the legend's words for them.
DECADE_STEPS = {0.5: "half decade", 1: "decade", 0.25: "quarter of a decade", 0.1: "tenth of a decade"}
TAIL = 0.01  # of all values of several results at each end: what lies far beyond does not decide a shared scale
FAR = 0.5, 0.25  # beyond that quantile: decades of a logarithmic scale, else a share of the range between the quantiles
LOSSES = ("loss", "objective")


@dataclass(frozen=True)
class Scale:
    """From values to heights and colours, shared by all panels of a figure.

    Attributes:
        log: whether heights are log10 of the values.
        low, high: limits, in units of height; NaN where there is no finite value.
        below, above: whether values lie below `low` or above `high`, and have the colour of that end.
    """

    log: bool
    low: float
    high: float
    below: bool = False
    above: bool = False

    @classmethod
    def of(cls, values: xr.DataArray) -> Self:
        """The scale from the lowest to the highest value: log10 for a loss whose positive values span a factor of 5.

        Args:
            values: of all that shares the scale.
        """
        log, heights = _heights([values])
        return cls(log, *_apart(heights.min(initial=np.inf), heights.max(initial=-np.inf)))

    @classmethod
    def shared(cls, results: Iterable[xr.DataArray]) -> Self:
        """The scale of many results, of which one corner that explodes must not take all colours.

        It ends at the 1 % and 99 % quantiles where values lie far beyond them, more than half a decade.

        Args:
            results: the values of each.
        """
        log, heights = _heights(list(results))
        if not heights.size:
            return cls(log, math.nan, math.nan)
        lowest, low, high, highest = np.quantile(heights, [0, TAIL, 1 - TAIL, 1])
        far = FAR[0] if log else FAR[1] * (high - low)
        below, above = bool(low - lowest > far), bool(highest - high > far)
        ends = _apart(low if below else lowest, high if above else highest)
        return cls(log, *ends, below=below, above=above)

    def plotted(self, values: np.ndarray) -> np.ma.MaskedArray:
        """The heights of `values`: themselves or their log10, masked where that is not finite."""
        return _plotted(values, self.log)

    @property
    def empty(self) -> bool:
        """Whether there was no finite value."""
        return math.isnan(self.low)

    @cached_property
    def norm(self) -> Normalize:
        """From heights to colours: the same object for every panel."""
        return Normalize(0, 1) if self.empty else Normalize(self.low, self.high)

    @cached_property
    def step(self) -> float:
        """Between two contours, in units of height."""
        return contour_step(self.low, self.high, log=self.log)

    @property
    def contours(self) -> list[float]:
        """The heights of the contours: multiples of the step inside the limits."""
        return contours(self.low, self.high, self.step)

    @property
    def step_words(self) -> str:
        """What the legend says of the contours.

        >>> Scale(True, -2, 0.5).step_words, Scale(False, 0, 1).step_words
        ('contour every half decade', 'contour every 0.1')
        """
        step = DECADE_STEPS.get(self.step, f"{self.step:g} decades") if self.log else general_text(self.step)
        return f"contour every {step}"

    @property
    def ticks(self) -> list[float]:
        """Round values inside the limits."""
        if self.log:
            return list(style.log_ticks(self.low, self.high))
        ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(tick) for tick in ticks if self.low <= tick <= self.high]

    def formatter(self) -> Formatter:
        """Tick labels in the units of the values: 10² where log10 is 2."""
        if not self.log:
            return style.PlainFormatter()
        labels = style.log_ticks(self.low, self.high)
        return FuncFormatter(lambda power, _: labels.get(power, ""))


def contour_step(low: float, high: float, *, log: bool) -> float:
    """A round step between contours; half a decade on a logarithmic scale, unless that gives too few or too many.

    Args:
        low, high: limits, in units of height.
        log: whether heights are log10 of the values.

    >>> contour_step(-3, 1, log=True), contour_step(-1, 0.5, log=True), contour_step(0, 40, log=False)
    (0.5, 0.25, 5.0)
    """
    extent = high - low
    if not extent > 0:
        return 1.0
    if not log:
        return _round_up(extent / 12)
    if extent > MOST:
        return float(math.ceil(extent / MOST))
    fitting = (step for step in DECADE_STEPS if FEWEST <= extent / step <= MOST)
    return next(fitting, min(DECADE_STEPS))


def contours(low: float, high: float, step: float) -> list[float]:
    """The multiples of `step` strictly between two limits.

    >>> contours(-0.6, 0.5, 0.5)
    [-0.5, 0.0]
    """
    if not high > low:
        return []
    return [step * at for at in range(math.floor(low / step) + 1, math.ceil(high / step))]


def _round_up(least: float) -> float:
    """The smallest round step that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    steps = (float(f"{times * power:.3g}") for times in (*STEPS, 10))
    return next(step for step in steps if step >= 0.999999 * least)


def _heights(results: list[xr.DataArray]) -> tuple[bool, np.ndarray]:
    """Whether heights are log10, and all that are finite."""
    values = np.concatenate([np.ravel(result.values) for result in results]) if results else np.empty(0)
    log = all(result.name in LOSSES for result in results) and style.wants_log(values, style.PLANE_DECADES)
    return log, _plotted(values, log).compressed()


def _apart(low: float, high: float) -> tuple[float, float]:
    """Limits that differ, around a constant too."""
    if not low <= high:
        return math.nan, math.nan
    low, high = float(low), float(high)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    pad = 0.05 * abs(low) or 1.0
    return low - pad, high + pad


def _plotted(values: np.ndarray, log: bool) -> np.ma.MaskedArray:
    values = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ma.masked_invalid(np.log10(values) if log else values)
