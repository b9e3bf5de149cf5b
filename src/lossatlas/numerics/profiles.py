"""Single numbers that stand for a sampled curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def largest_rise(curve: ArrayLike) -> float:
    """How far a curve climbs above the lowest value before; 0 when it never rises, NaN with a NaN on it.

    Args:
        curve: values in order, `(n,)`; the answer has their unit.

    >>> largest_rise([3.0, 1.0, 2.0, 0.0])
    1.0
    """
    value = np.asarray(curve, dtype=float)
    if not np.isfinite(value).all():
        return float("inf") if not np.isnan(value).any() else float("nan")
    return float((value - np.minimum.accumulate(value)).max())


def basin_width(position: ArrayLike, curve: ArrayLike, *, rise: float) -> float:
    """Width of the interval around 0 on which a curve stays within `rise` of its value at 0.

    Crossings are interpolated linearly between points. Where the curve does not cross before the range ends, the end
    counts: the width is then at most that of the range, and a lower bound. A point that is not finite is outside.

    Args:
        position: increasing, `(n,)`; the answer has its unit. The one nearest to 0 counts as 0.
        curve: values there, `(n,)`.
        rise: above the value at 0, in the unit of the curve.

    >>> basin_width([-2.0, -1.0, 0.0, 1.0, 2.0], [4.0, 1.0, 0.0, 1.0, 4.0], rise=0.5)
    1.0
    """
    alpha, value = np.asarray(position, dtype=float), np.asarray(curve, dtype=float)
    center = int(np.abs(alpha).argmin())
    limit = value[center] + rise
    if not np.isfinite(limit):
        return float("nan")
    right = _reach(alpha[center:], value[center:], limit)
    left = _reach(-alpha[center::-1], value[center::-1], limit)
    return right + left


def _reach(alpha: np.ndarray, value: np.ndarray, limit: float) -> float:
    outside = np.flatnonzero(~(value <= limit))
    if not len(outside):
        return float(alpha[-1])
    i = outside[0]
    if not np.isfinite(value[i]):
        return float(alpha[i - 1])
    share = (limit - value[i - 1]) / (value[i] - value[i - 1])
    return float(alpha[i - 1] + share * (alpha[i] - alpha[i - 1]))


MONOTONE = 0.01  # of a curve's range: a smaller rise counts as none


def is_monotone(curve: ArrayLike) -> bool | None:
    """Whether a curve never rises by more than `MONOTONE` of its range; None where its rise is not finite.

    >>> is_monotone([1.0, 0.5, 0.501, 0.0]), is_monotone([1.0, 0.0, 0.5])
    (True, False)
    """
    rise = largest_rise(curve)
    return bool(rise <= MONOTONE * np.ptp(np.asarray(curve, dtype=float))) if np.isfinite(rise) else None
