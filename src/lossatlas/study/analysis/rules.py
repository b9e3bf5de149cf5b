"""How a number with its interval decides a statement: on which side of a bound it is stated to lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from lossatlas.numbers import general_text
from lossatlas.study.analysis.jackknife import LEVEL, Interval

Verdict = Literal["supported", "contradicted", "mixed", "undecided"]
ROUNDING = 1e-9  # a number this close to a limit is on neither side of it


@dataclass(frozen=True)
class Rule:
    """The number is stated to lie between `low` and `high`; one of them may be infinite.

    `step` is the smallest difference that matters: verdicts are tried with the bounds moved by it.
    """

    low: float
    high: float
    step: float

    def decide(self, found: Interval) -> Verdict:
        """Supported where the whole interval lies inside, contradicted where it lies on one side outside."""
        if math.isnan(found.low):
            return "undecided"
        if found.low > self.low + ROUNDING and found.high < self.high - ROUNDING:
            return "supported"
        outside = found.low > self.high + ROUNDING or found.high < self.low - ROUNDING
        return "contradicted" if outside else "undecided"

    def stated(self, values: np.ndarray) -> np.ndarray:
        """Which values are on the stated side of both bounds, `(n,)` of bool."""
        return (values > self.low + ROUNDING) & (values < self.high - ROUNDING)

    def contrary(self, values: np.ndarray) -> np.ndarray:
        """Which values are on the other side of a bound, `(n,)` of bool."""
        return (values < self.low - ROUNDING) | (values > self.high + ROUNDING)

    def p_value(self, mean: float, found: Interval) -> float:
        """The smallest error level at which an interval would decide, one way or the other; NaN without one."""
        if math.isnan(found.low):
            return math.nan
        ps = [_p_value(mean, found, bound) for bound in (self.low, self.high) if math.isfinite(bound)]
        return max(ps) if self.low < mean < self.high else min(ps)

    def moved(self) -> list[Rule]:
        """The rule with its bounds moved by a step, one way and the other."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            shifts = [(self.step, -self.step), (-self.step, self.step)]
        else:
            shifts = [(self.step, self.step), (-self.step, -self.step)]
        return [replace(self, low=self.low + low, high=self.high + high) for low, high in shifts]

    def words(self) -> str:
        """What supports and what contradicts."""
        if math.isinf(self.high):
            return f"above {general_text(self.low)}"
        if math.isinf(self.low):
            return f"below {general_text(self.high)}"
        return f"between {general_text(self.low)} and {general_text(self.high)}"


def _p_value(mean: float, found: Interval, bound: float) -> float:
    """Two-sided, from the reach of the interval towards the bound: by Student's t, as the interval is."""
    reach = mean - found.low if bound < mean else found.high - mean
    if reach <= 0:
        return 1.0 if abs(mean - bound) <= ROUNDING else 0.0
    quantile = stats.t.ppf((1 + LEVEL) / 2, found.freedom)
    return float(2 * stats.t.sf(quantile * abs(mean - bound) / reach, found.freedom))


def above(value: float, *, step: float) -> Rule:
    """The number is stated to be above `value`."""
    return Rule(value, math.inf, step)


def below(value: float, *, step: float) -> Rule:
    """The number is stated to be below `value`."""
    return Rule(-math.inf, value, step)


def within(margin: float, *, step: float) -> Rule:
    """The number is stated to be so close to 0 that it does not matter: an equivalence test."""
    return Rule(-margin, margin, step)


def adjusted(p_values: np.ndarray) -> np.ndarray:
    """The smallest false-discovery rate at which each of a family of decisions stands; NaN stays NaN.

    Benjamini and Hochberg 1995.

    >>> adjusted(np.array([0.01, 0.04, 0.03, np.nan])).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    result = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    result[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return result
