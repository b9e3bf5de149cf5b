"""Means with intervals, and single numbers that stand for a curve. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Mean:
    """A mean of `n` values and its bootstrap interval, NaN where the values cannot tell how wide it is."""

    n: int
    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: ArrayLike,
    strata: Iterable[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> Mean:
    """Mean over all values, with a percentile interval from resampling within each stratum.

    The stratified bootstrap of Davison and Hinkley (1997, section 3.2): a stratum keeps its number of values in every
    resample, so differences between strata do not widen the interval. A stratum of n values shows only (n − 1)/n of
    its variance to the bootstrap. The interval is NaN when a stratum has a single value, or a value is not finite.

    >>> bootstrap_mean([1.0, 1.0, 5.0, 5.0], ["a", "a", "b", "b"], rng=np.random.default_rng(0))
    Mean(n=4, mean=3.0, low=3.0, high=3.0)
    """
    value = np.asarray(values, dtype=float)
    codes, _ = pd.factorize(pd.Index(list(strata), tupleize_cols=False, dtype=object))
    if len(codes) != len(value):
        raise ValueError(f"got {len(value)} values and {len(codes)} strata: wanted one stratum for each value")
    sizes = np.bincount(codes)
    if not len(value) or sizes.min() < 2 or not np.isfinite(value).all():
        return Mean(len(value), _plain_mean(value), np.nan, np.nan)
    order = np.argsort(codes, kind="stable")
    first = np.cumsum(sizes) - sizes
    size = sizes[codes[order]]  # (n,)
    drawn = first[codes[order]] + rng.integers(size, size=(resamples, len(value)))  # (resamples, n)
    means = value[order][drawn].mean(axis=1)
    return Mean(len(value), _plain_mean(value), *_percentiles(means, level))


def bootstrap_pair_mean(
    values: ArrayLike,
    pairs: Iterable[Sequence[Hashable]],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> Mean:
    """Mean over pairs of nodes, with a percentile interval from resampling the nodes.

    Pairs that share a node are not independent, so nodes are drawn (the vertex bootstrap of Snijders and Borgatti
    1999): a pair counts as often as the product of how often its two nodes were drawn. A node has no pair with
    itself; draws without a pair are left out. With fewer than three nodes every draw would have the same mean: the
    interval is NaN then, as it is when a value is not finite.

    Args:
        values: one for each pair.
        pairs: the two different nodes of each.
    """
    value = np.asarray(values, dtype=float)
    ends = list(pairs)
    if len(ends) != len(value):
        raise ValueError(f"got {len(value)} values and {len(ends)} pairs: wanted one pair for each value")
    nodes = {node: index for index, node in enumerate(dict.fromkeys(node for pair in ends for node in pair))}
    if len(nodes) < 3 or not np.isfinite(value).all():
        return Mean(len(value), _plain_mean(value), np.nan, np.nan)
    a, b = np.array([[nodes[node] for node in pair] for pair in ends]).T
    counts = rng.multinomial(len(nodes), np.full(len(nodes), 1 / len(nodes)), size=resamples)  # (resamples, nodes)
    weights = counts[:, a] * counts[:, b]  # (resamples, pairs)
    weights = weights[weights.sum(axis=1) > 0]
    means = weights @ value / weights.sum(axis=1)
    return Mean(len(value), _plain_mean(value), *_percentiles(means, level))


def _plain_mean(value: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean: NaN says so
        return float(value.mean()) if len(value) else np.nan


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# Draws that several statistics share -----------------------------------------------------------------------------


def resampling_counts(strata: ArrayLike, *, resamples: int = 2000, rng: np.random.Generator) -> np.ndarray | None:
    """How often each of n values is drawn in each resample within its stratum, `(resamples, n)`.

    None when a stratum has a single value: nothing says how much it varies.
    """
    codes, _ = pd.factorize(np.asarray(strata))
    sizes = np.bincount(codes)
    if not len(codes) or sizes.min() < 2:
        return None
    order = np.argsort(codes, kind="stable")
    first, size = (np.cumsum(sizes) - sizes)[codes[order]], sizes[codes[order]]
    drawn = order[first + rng.integers(size, size=(resamples, len(codes)))]  # (resamples, n)
    cells = drawn + len(codes) * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(float)


def pair_resampling_weights(
    strata: ArrayLike, pairs: ArrayLike, *, resamples: int = 2000, rng: np.random.Generator
) -> np.ndarray | None:
    """The weight of each of n pairs in a mean over them, `(resamples, n)`, rows of sum 1, when nodes are resampled.

    As in `bootstrap_pair_mean`, and within each stratum: its nodes are its own, and its share of the mean stays that
    of its number of pairs. None when a stratum has fewer than three nodes.
    """
    codes, _ = pd.factorize(np.asarray(strata))
    ends = np.asarray(pairs)
    alike: dict[tuple[tuple[int, int], ...], list[np.ndarray]] = {}  # strata of the same graph are drawn at once
    for stratum in range(codes.max(initial=-1) + 1):
        rows = np.flatnonzero(codes == stratum)
        nodes = np.unique(ends[rows], return_inverse=True)[1].reshape(-1, 2)
        if nodes.max() < 2:
            return None
        alike.setdefault(tuple((int(a), int(b)) for a, b in nodes), []).append(rows)
    if not alike:
        return None
    weights = np.empty((resamples, len(codes)))
    for graph, members in alike.items():
        a, b = np.array(graph).T
        drawn = _weights_of_graph(a, b, (resamples, len(members)), rng)  # (resamples, strata, pairs)
        weights[:, np.concatenate(members)] = drawn.reshape(resamples, -1) * (len(a) / len(codes))
    return weights


def _weights_of_graph(a: np.ndarray, b: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = int(max(a.max(), b.max())) + 1
    weights = np.zeros((*shape, len(a)))
    while (empty := weights.sum(axis=-1) == 0).any():  # a draw without a pair is drawn again
        counts = rng.multinomial(size, np.full(size, 1 / size), size=int(empty.sum()))
        weights[empty] = counts[:, a] * counts[:, b]
    return weights / weights.sum(axis=-1, keepdims=True)


def percentiles(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds `level` of the draws; NaN when one of them is not finite."""
    return _percentiles(draws, level) if np.isfinite(draws).all() else (np.nan, np.nan)


# Are the rows of a comparison alike in everything else? -------------------------------------------------------------


def unmatched(runs: pd.DataFrame, factor: str, others: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Those of `others` whose values are not shared out alike between the levels of `factor`.

    Each comes with its table of counts, `(level of factor, value)`. A difference between two levels of `factor` may
    come from any of these as well.
    """
    tables = {other: pd.crosstab(runs[factor], runs[other]) for other in others}
    return {other: counts for other, counts in tables.items() if not _same_shares(counts.to_numpy())}


def _same_shares(counts: np.ndarray) -> bool:
    # Whole numbers, so exact: a/m == b/n is a n == b m.
    totals = counts.sum(axis=1)
    return not len(counts) or bool((counts * totals[0] == counts[0] * totals[:, None]).all())


# Curves --------------------------------------------------------------------------------------------------------


def largest_rise(curve: ArrayLike) -> float:
    """How far a curve climbs above the lowest value before; 0 when it never rises, NaN with a NaN on it.

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

    >>> basin_width([-2.0, -1.0, 0.0, 1.0, 2.0], [4.0, 1.0, 0.0, 1.0, 4.0], rise=0.5)
    1.0
    """
    alpha, value = np.asarray(position, dtype=float), np.asarray(curve, dtype=float)
    centre = int(np.abs(alpha).argmin())
    limit = value[centre] + rise
    if not np.isfinite(limit):
        return float("nan")
    right = _reach(alpha[centre:], value[centre:], limit)
    left = _reach(-alpha[centre::-1], value[centre::-1], limit)
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
