"""Means over many examples from few: regression on pilots that are known on more, in nested phases of sampling.

No networks in sight: an example is a row of numbers. Särndal, Swensson and Wretman 1992, chapters 6 and 9.
docs/design/sampling.md has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Of every example's chance to be drawn, the part that is the same for all: the others are drawn by their share in the
# means of the pilots. With 1 the logarithm near a minimum is off by decades, where few examples make up the loss; with
# 0 examples that no pilot finds hard are never drawn, and an error that they make is not stated.
EVEN_SHARE = 0.3

# Singular values of the pilots, relative to the largest, below which a direction is left out of the regression. With
# less, pilots that are nearly alike get large weights of both signs; with more, pilots are not used. Set by hand.
RANK_TOLERANCE = 1e-5


def inclusion_probabilities(pilots: np.ndarray, count: int) -> np.ndarray:
    """The chance of every example to be among `count` that are drawn, `(n,)`; 1 for those that must be.

    Proportional to an even share and the example's share in each pilot's sum, so that every pilot's mean, be it small,
    is estimated with a small relative error (sampling with probability proportional to size).

    Args:
        pilots: what every example adds to means at a few points, `(n, k)`.
        count: how many are to be drawn, up to n.
    """
    total = len(pilots)
    if count >= total:
        return np.ones(total)
    shares = np.abs(pilots)
    sums = shares.sum(0)
    usable = np.isfinite(sums) & (sums > 0)
    size = np.full(total, EVEN_SHARE / total)
    if usable.any():
        size += (1 - EVEN_SHARE) * (shares[:, usable] / sums[usable]).mean(1)
    certain = np.zeros(total, bool)
    while True:
        chances = np.where(certain, 1.0, (count - certain.sum()) * size / size[~certain].sum())
        above = chances > 1
        if not above.any():
            return chances
        certain |= above


def drawn(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn with these `probabilities` `(n,)`, in order, as many as they add up to (systematic, at random order).

    Args:
        probabilities: of being drawn, each up to 1.
        rng: of the order and the start.
    """
    order = rng.permutation(len(probabilities))
    ends = np.cumsum(probabilities[order])
    marks = np.arange(rng.random(), ends[-1] - 1e-9, 1.0)
    return np.sort(order[np.searchsorted(ends, marks)])


@dataclass(frozen=True)
class Phase:
    """A sample of examples, its values regressed on what is known of more of them.

    Args:
        base: what each of the m examples counts before the regression, `(m,)`.
        chances: of being drawn from the phase before, `(m,)`.
        regressors: what is known of them, `(m, k)`.
        known: the means of the regressors over the population as far as they are known, `(k,)`.
    """

    base: np.ndarray
    chances: np.ndarray
    regressors: np.ndarray
    known: np.ndarray

    @cached_property
    def weights(self) -> np.ndarray:
        """What each example counts, `(m,)`: the regressors' means come out as they are known (calibration)."""
        missing = self._rotated_means - self.base @ self._columns
        return self.base * (1 + self._columns @ missing)

    @cached_property
    def smoother(self) -> np.ndarray:
        """Values at the examples `(m,)` times this `(m, r)` are slopes by `_columns`, which are orthonormal."""
        return self.base[:, None] * self._columns

    def residuals(self, values: np.ndarray) -> np.ndarray:
        """What the regression leaves of values `(p, m)`."""
        return values - (values @ self.smoother) @ self._columns.T

    def spread(self, residuals: np.ndarray) -> np.ndarray:
        """What each example adds to the error of a mean, `(p, m)`; larger where it pulls the fit towards itself."""
        leverage = np.square(self._columns).sum(1) * self.base
        return np.sqrt(1 - self.chances) * self.weights / np.maximum(1 - leverage, 0.1) * residuals

    @cached_property
    def _rotation(self) -> np.ndarray:
        """From 1 and the regressors to columns that are orthonormal in the sample, `(k + 1, r)`."""
        scale = np.abs(self.regressors).max(0)
        scale = np.append(1.0, np.where(scale > 0, scale, 1.0))
        columns = np.column_stack([np.ones(len(self.regressors)), self.regressors]) / scale
        _, singular, rotation = np.linalg.svd(columns * np.sqrt(self.base)[:, None], full_matrices=False)
        kept = singular > RANK_TOLERANCE * singular[0]
        return rotation[kept].T / singular[kept] / scale[:, None]

    @cached_property
    def _columns(self) -> np.ndarray:
        return self.columns_of(self.regressors)

    @cached_property
    def _rotated_means(self) -> np.ndarray:
        return np.append(1.0, self.known) @ self._rotation

    def columns_of(self, regressors: np.ndarray) -> np.ndarray:
        """The columns of other examples, `(n, r)`, from their regressors `(n, k)`."""
        return np.column_stack([np.ones(len(regressors)), regressors]) @ self._rotation


class Regression:
    """Means over a population from nested samples of it.

    The first sample is even, and one point, the centre, is known on it. The second is drawn from it by the centre, and
    has the pilots. The third is drawn from that by the pilots. The estimate is linear in the values of the third, with
    the same weights everywhere: what is smooth stays smooth.

    Args:
        population: examples that there are.
        centre: what each example of the first sample adds at the centre, `(n0,)`.
        second: rows of the first sample, `(n1,)`.
        second_chances: of all of the first sample, `(n0,)`.
        pilots: `(n1, k)`.
        third: rows of the second sample, `(m,)`.
        third_chances: of all of the second sample, `(n1,)`.
    """

    def __init__(
        self, population: int, centre: np.ndarray, second: np.ndarray, second_chances: np.ndarray,
        pilots: np.ndarray, third: np.ndarray, third_chances: np.ndarray,
    ) -> None:  # fmt: skip
        self._population, self._size, self._pilots, self._rows = population, len(centre), pilots, third
        chances = second_chances[second]
        self._by_centre = Phase(
            base=1 / (self._size * chances), chances=chances, regressors=centre[second, None],
            known=np.array([centre.mean()]),
        )  # fmt: skip
        weights = self._by_centre.weights
        chances = third_chances[third]
        self._by_pilots = Phase(
            base=np.maximum(weights[third], 0) / chances, chances=chances, regressors=pilots[third],
            known=weights @ pilots,
        )  # fmt: skip

    @property
    def weights(self) -> np.ndarray:
        """What every example of the third sample counts, `(m,)`."""
        return self._by_pilots.weights

    def means(self, values: np.ndarray) -> np.ndarray:
        """The means over the population, `(p,)`, of `values` `(p, m)` of the third sample's examples."""
        return values @ self.weights

    def covariances(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The estimated covariance `(p, p)` of the `means` of `values` `(p, m)` over draws of the third sample, and of
        the first two; they add up.
        """
        last, before = self._by_pilots, self._by_centre
        left = last.residuals(values)
        own = last.spread(left)
        slopes = values @ last.smoother  # (p, r)
        fitted = last.columns_of(self._pilots)  # (n1, r)
        by_second = before.spread(before.residuals(fitted.T))  # (r, n1)
        unfitted = before.spread(np.ones((1, len(self._pilots))))[0, self._rows] * left / np.sqrt(last.chances)
        earlier = slopes @ (by_second @ by_second.T) @ slopes.T + unfitted @ unfitted.T
        if self._size < self._population:
            weights = np.maximum(before.weights, 0)
            centred = fitted - weights @ fitted / weights.sum()
            spread = slopes @ ((centred * weights[:, None]).T @ centred) @ slopes.T
            spread = spread + (left * np.maximum(last.weights, 0)) @ left.T
            earlier = earlier + spread * (1 / self._size - 1 / self._population)
        return own @ own.T, earlier


def sample_sizes(
    spread: float, left: float, *, population: int, error: float, pilots: float, nodes: float
) -> tuple[int, int]:
    """The cheapest numbers of examples, with pilots and at every node, whose mean has a standard error.

    From the variance of two phases, spread (1/n₁ − 1/N) + left (1/n₂ − 1/n₁), at a cost of pilots · n₁ + nodes · n₂
    (Cochran 1977, section 12.4).

    Args:
        spread: variance of single examples.
        left: what of it the regression on the pilots leaves.
        population: N.
        error: the standard error that is asked for, in units of the values.
        pilots: points of the first phase.
        nodes: points of the second.

    >>> sample_sizes(1.0, 0.0, population=10**9, error=0.01, pilots=9, nodes=100)
    (10000, 10000)
    """
    explained, left = max(spread - left, 0.0), max(left, 0.0)
    allowed = error**2 + spread / population
    both = math.sqrt(pilots * explained) + math.sqrt(nodes * left)
    first = math.sqrt(explained / pilots) * both / allowed
    if first >= population / 2:  # so many are as well known on all
        first = population
    allowed = max(allowed - explained / max(first, 1), error**2 / 4)
    second = left / allowed
    first = min(max(first, second, 1), population)
    return math.ceil(first), math.ceil(min(second or first, first))


def standard_errors(covariance: np.ndarray) -> np.ndarray:
    """Of estimates with a `covariance` `(p, p)`, `(p,)`; 0 where rounding has left less."""
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def band_factor(covariance: np.ndarray, confidence: float, rng: np.random.Generator, draws: int = 2000) -> float:
    """How many standard errors hold at all of several estimates at once in so many draws of the sample.

    Args:
        covariance: of the estimates, `(p, p)`.
        confidence: between 0 and 1.
        rng: of the normal deviates that stand for draws of the sample.
        draws: how many.
    """
    values, vectors = np.linalg.eigh(covariance)
    roots = vectors * np.sqrt(np.maximum(values, 0))
    deviates = rng.standard_normal((draws, len(values))) @ roots.T
    errors = standard_errors(covariance)
    some = errors > 1e-12 * errors.max(initial=0)
    if not some.any():
        return 0.0
    return float(np.quantile(np.abs(deviates[:, some] / errors[some]).max(1), confidence))
