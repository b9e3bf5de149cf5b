"""Means with bootstrap intervals. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.random_streams import key


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

    Resamples as `resampling_counts`. The interval is NaN when every stratum has a single value, or a value is not
    finite.

    >>> bootstrap_mean([1.0, 1.0, 5.0, 5.0], ["a", "a", "b", "b"], rng=np.random.default_rng(0))
    Mean(n=4, mean=3.0, low=3.0, high=3.0)
    """
    value, stratum = np.asarray(values, dtype=float), list(strata)
    if len(stratum) != len(value):
        raise ValueError(f"got {len(value)} values and {len(stratum)} strata: wanted one stratum for each value")
    counts = resampling_counts(stratum, resamples=resamples, rng=rng)
    return _mean(value, None if counts is None else counts / len(value), level)


def bootstrap_pair_mean(
    values: ArrayLike,
    pairs: Iterable[Sequence[Hashable]],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> Mean:
    """Mean over pairs of nodes, with a percentile interval from resampling the nodes.

    Resamples as `pair_resampling_weights`. The interval is NaN with fewer than three nodes, or when a value is not
    finite.

    Args:
        values: one for each pair.
        pairs: the two different nodes of each.
    """
    value, ends = np.asarray(values, dtype=float), list(pairs)
    if len(ends) != len(value):
        raise ValueError(f"got {len(value)} values and {len(ends)} pairs: wanted one pair for each value")
    weights = pair_resampling_weights([0] * len(value), np.array(ends), resamples=resamples, rng=rng)
    return _mean(value, weights, level)


def _mean(value: np.ndarray, weights: np.ndarray | None, level: float) -> Mean:
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean: NaN says so
        mean = float(value.mean()) if len(value) else np.nan
    if weights is None or not np.isfinite(value).all():
        return Mean(len(value), mean, np.nan, np.nan)
    return Mean(len(value), mean, *percentiles(weights @ value, level))


# Resampling ------------------------------------------------------------------------------------------------------


def generator_of(names: pd.DataFrame) -> np.random.Generator:
    """A generator keyed by which runs or pairs are resampled: the same ones have the same intervals on every page."""
    columns = sorted(names)
    return np.random.default_rng(key("bootstrap", *columns, *sorted(map(str, names[columns].to_numpy().tolist()))))


def resampling_counts(
    strata: Iterable[Hashable], *, resamples: int = 2000, rng: np.random.Generator
) -> np.ndarray | None:
    """How much each of n values counts in each resample within its stratum, `(resamples, n)`.

    The stratified bootstrap of Davison and Hinkley (1997, section 3.2): the counts of a stratum of k values sum to k
    in every resample, so differences between strata do not widen the interval. The draws are those of Rao and Wu
    (1988): k − 1 of the k values, each counting k/(k − 1), so that a mean has the variance s²/k, with s² unbiased;
    drawing k would give (k − 1)/k of that. A stratum with a single value is left as it is and adds nothing to the
    interval, which is too narrow by what such a stratum varies. None when there is no other stratum.
    """
    codes = _codes(strata)
    sizes = np.bincount(codes)
    if sizes.max(initial=0) < 2:
        return None
    order = np.argsort(codes, kind="stable")
    first, size = (np.cumsum(sizes) - sizes)[codes[order]], sizes[codes[order]]
    draws = np.arange(len(codes)) > first  # one fewer than values in each stratum
    drawn = order[first[draws] + rng.integers(size[draws], size=(resamples, int(draws.sum())))]
    cells = drawn + len(codes) * np.arange(resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=resamples * len(codes)).reshape(resamples, len(codes))
    own = sizes[codes]
    return np.where(own > 1, counts * (own / np.maximum(own - 1, 1)), 1.0)


def pair_resampling_weights(
    strata: Iterable[Hashable], pairs: ArrayLike, *, resamples: int = 2000, rng: np.random.Generator
) -> np.ndarray | None:
    """The weight of each of n pairs in a mean over them, `(resamples, n)`, rows of sum 1, when nodes are resampled.

    Pairs that share a node are not independent, so nodes are drawn (the vertex bootstrap of Snijders and Borgatti
    1999): a pair counts as often as the product of how often its two nodes were drawn. A node has no pair with
    itself; a draw without a pair is drawn again. Each stratum draws its own nodes, and its share of the mean stays
    that of its number of pairs.

    Such draws vary too little, for three nodes by a factor of 1.6. Their deviations from equal weights are stretched
    so that a mean has the variance that it should have where the value of a pair is a sum of independent effects of
    its nodes; weights can become negative. A stratum with fewer than three nodes is left as it is and adds nothing to
    the interval. None when there is no other stratum.
    """
    codes, ends = _codes(strata), np.asarray(pairs)
    alike: dict[tuple[tuple[int, int], ...], list[np.ndarray]] = {}  # strata of the same graph are drawn at once
    for stratum in range(codes.max(initial=-1) + 1):
        rows = np.flatnonzero(codes == stratum)
        nodes = np.unique(ends[rows], return_inverse=True)[1].reshape(-1, 2)
        if nodes.max() >= 2:
            alike.setdefault(tuple((int(a), int(b)) for a, b in nodes), []).append(rows)
    if not alike:
        return None
    weights = np.full((resamples, len(codes)), 1 / len(codes))
    for graph, members in alike.items():
        a, b = np.array(graph).T
        drawn = _weights_of_graph(a, b, (resamples, len(members)), rng)  # (resamples, strata, pairs)
        weights[:, np.concatenate(members)] = drawn.reshape(resamples, -1) * (len(a) / len(codes))
    return weights


def _weights_of_graph(a: np.ndarray, b: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = int(max(a.max(), b.max())) + 1
    weights = np.zeros((*shape, len(a)))
    while (empty := weights.sum(axis=-1) == 0).any():
        counts = rng.multinomial(size, np.full(size, 1 / size), size=int(empty.sum()))
        weights[empty] = counts[:, a] * counts[:, b]
    weights /= weights.sum(axis=-1, keepdims=True)
    incidence = 1.0 * ((np.arange(size) == a[:, None]) | (np.arange(size) == b[:, None]))  # (pairs, nodes)
    wanted = (incidence.mean(axis=0) ** 2).sum()  # variance of the mean, for node effects of variance 1
    stretch = np.sqrt(wanted / (weights @ incidence).reshape(-1, size).var(axis=0).sum())
    return 1 / len(a) + stretch * (weights - 1 / len(a))


def _codes(strata: Iterable[Hashable]) -> np.ndarray:
    """Strata numbered in ascending order, so that draws do not depend on which stands first."""
    names = list(strata)
    number = {name: index for index, name in enumerate(sorted(set(names)))}  # type: ignore[type-var]
    return np.array([number[name] for name in names], dtype=int)


def percentiles(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds `level` of the draws; NaN when one of them is not finite."""
    if not np.isfinite(draws).all():
        return np.nan, np.nan
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
