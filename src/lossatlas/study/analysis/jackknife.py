"""Standard errors and intervals by leaving out draws of the data, seeds or configurations. Knows nothing of files.

Every statistic here is a function of weights: how much each of n units counts. A replicate is the statistic without one
draw, seed or configuration; how far replicates lie apart says how far the statistic would move with other ones (the
delete-a-group jackknife: Shao and Tu 1995, chapters 1 and 6). Nothing is drawn at random: the same table has the same
intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

Of = Callable[[np.ndarray], np.ndarray]  # weights (r, n), rows of sum 1 -> (r,)

LEVEL = 0.95
FEWEST = 3  # draws, or configurations: a spread between two has one degree of freedom, its interval would be 13 wide


@dataclass(frozen=True)
class Replicates:
    """Weights of n units without one member of each stratum in turn, `(r, n)` with rows of sum 1."""

    weights: np.ndarray
    strata: np.ndarray  # (r,): replicates of one stratum leave out one of its members each


@dataclass(frozen=True)
class Interval:
    """A 95 % interval by Student's t, with its standard error and degrees of freedom; NaN where there is none."""

    low: float
    high: float
    error: float
    freedom: float

    def within(self, low: float, high: float) -> Interval:
        """The part between two bounds that the quantity cannot leave: a barrier has none below 0."""
        return Interval(max(self.low, low), min(self.high, high), self.error, self.freedom)


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, math.nan)


def interval(of: Of, replicates: Replicates | None, estimate: float, *, level: float = LEVEL) -> Interval:
    """Estimate ± t · standard error, by the jackknife within strata.

    A stratum of k members adds (k − 1)/k · Σ (replicate − their mean)² to the variance; the degrees of freedom are
    Satterthwaite's. For a mean this is the textbook interval, with unbiased variances.

    Args:
        of: the statistic.
        replicates: None where nothing can be left out.
        estimate: the statistic of all units.
        level: of confidence.

    >>> thirds = Replicates(np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), np.zeros(3, int))
    >>> found = interval(lambda weights: weights @ np.array([1.0, 2.0, 6.0]), thirds, 3.0)
    >>> round(found.error, 4), found.freedom  # s/√3, with s² = 7
    (1.5275, 2.0)
    """
    if replicates is None or not math.isfinite(estimate):
        return NO_INTERVAL
    values = of(replicates.weights)
    if not np.isfinite(values).all():
        return NO_INTERVAL
    sizes = np.bincount(replicates.strata)
    means = np.bincount(replicates.strata, values) / sizes
    parts = np.bincount(replicates.strata, (values - means[replicates.strata]) ** 2) * (sizes - 1) / sizes
    variance = parts.sum()
    if variance <= (1e-12 * estimate) ** 2:  # all alike, but for rounding
        return Interval(estimate, estimate, 0.0, float((sizes - 1).sum()))
    freedom = float(variance**2 / (parts**2 / (sizes - 1)).sum())
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Interval(float(estimate - reach), float(estimate + reach), math.sqrt(variance), freedom)


def share_interval(share: float, found: Interval, n: int, *, level: float = LEVEL) -> Interval:
    """Of a share: Clopper and Pearson's, with the number of independent values that its standard error speaks of.

    Korn and Graubard (1998): n is replaced by share (1 − share) / error², and by the t quantiles of its freedom; by n
    itself where the share is 0 or 1.

    Args:
        share: from 0 to 1, of n values.
        found: the interval of the share as of any mean.
        n: values.
        level: of confidence.
    """
    if math.isnan(found.error) or n < 2:
        return NO_INTERVAL
    effective = float(n)
    if found.error > 0 and 0 < share < 1:
        tail = (1 + level) / 2
        shrunk = (stats.t.ppf(tail, n - 1) / stats.t.ppf(tail, found.freedom)) ** 2
        effective = min(share * (1 - share) / found.error**2 * shrunk, n)
    hits = share * effective
    low = special.betaincinv(hits, effective - hits + 1, (1 - level) / 2) if share > 0 else 0.0
    high = special.betaincinv(hits + 1, effective - hits, (1 + level) / 2) if share < 1 else 1.0
    return Interval(float(low), float(high), found.error, found.freedom)


# What is left out ------------------------------------------------------------------------------------------------


def without_groups(groups: Iterable[Hashable], *, fewest: int = FEWEST) -> Replicates | None:
    """Without each group of units in turn, such as each draw of the data; None where there are fewer than `fewest`."""
    codes = _codes(groups)
    count = codes.max(initial=-1) + 1
    if count < fewest:
        return None
    kept = 1.0 * (codes[None, :] != np.arange(count)[:, None])
    return Replicates(kept / kept.sum(axis=1, keepdims=True), np.zeros(count, dtype=int))


def without_units(strata: Sequence[Hashable]) -> Replicates | None:
    """Without each unit in turn, the others of its stratum standing for it.

    A stratum of one unit is left as it is and adds nothing to the interval. None when there is no other stratum.
    """
    codes = _codes(strata)
    sizes = np.bincount(codes, minlength=1)
    left_out = np.flatnonzero(sizes[codes] > 1)
    if not len(left_out):
        return None
    weights = np.full((len(left_out), len(codes)), 1 / len(codes))
    for row, unit in enumerate(left_out):
        size = sizes[codes[unit]]
        weights[row, codes == codes[unit]] *= size / (size - 1)
        weights[row, unit] = 0
    return Replicates(weights, _codes(codes[left_out].tolist()))


def without_nodes(strata: Sequence[Hashable], pairs: np.ndarray) -> Replicates | None:
    """Without the pairs of each node in turn, the other pairs of its stratum standing for them.

    Pairs that share a node are not independent: where the value of a pair is a sum of effects of its nodes, the
    variance is that of the mean of those effects. A stratum of fewer than three nodes is left as it is. None when there
    is no other stratum.

    Args:
        strata: of each pair.
        pairs: the two nodes of each, `(n, 2)`.
    """
    codes = _codes(strata)
    weights, owners = [], []
    for stratum in range(codes.max(initial=-1) + 1):
        inside = codes == stratum
        nodes = np.unique(pairs[inside])
        without = [inside & (pairs != node).all(axis=1) for node in nodes]
        if len(nodes) < 3 or not all(rest.any() for rest in without):
            continue
        for rest in without:
            row = np.full(len(codes), 1 / len(codes))
            row[inside] = np.where(rest[inside], inside.sum() / rest.sum() / len(codes), 0)
            weights.append(row)
            owners.append(stratum)
    return Replicates(np.array(weights), _codes(owners)) if weights else None


def _codes(groups: Iterable[Hashable]) -> np.ndarray:
    """Groups numbered in the order in which they first come."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(group, len(number)) for group in groups], dtype=int)
