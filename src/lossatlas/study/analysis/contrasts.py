"""Comparisons of networks that are alike in everything else: differences within matched cells, and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.study.analysis.runs import CONFIGURATION
from lossatlas.study.analysis.statistic import PAIR, UNBOUNDED, Statistic

Level = str | int | float | bool
Outcome = str | Callable[[pd.DataFrame], ArrayLike]

RUN = ("seed",)
BARRIERS = {"train": "linear_connectivity_barrier", "test": "linear_connectivity_test_barrier"}  # outcomes of pairs
RESOLUTION = 1e-7  # about the rounding of a float32 loss: what is below it is as good as nothing


@dataclass(frozen=True)
class Sample:
    """What comparisons are made on: a row per network and a row per path between two seeds of one configuration.

    Both have the columns of the configuration and of its shape (`runs.with_shape`), then `data_seed`, and `seed`, or
    `seed_a` and `seed_b`, then outcomes. Barriers belong to paths, everything else to networks. Paths between `aligned`
    neurons count only in contrasts of that factor.
    """

    runs: pd.DataFrame
    pairs: pd.DataFrame


@dataclass(frozen=True)
class Contrast:
    """A weighted sum over levels of some factors, within cells whose networks have the same values of `held`.

    Where several networks of a cell have the same seed and level, their mean counts. `where` keeps only rows with
    these levels. Without factors, `weights` is `{(): 1.0}` and the contrast is the plain mean.
    """

    factors: tuple[str, ...]
    weights: Mapping[tuple[Level, ...], float]
    held: tuple[str, ...]
    where: Mapping[str, tuple[Level, ...]]


def matching(factor: str) -> tuple[str, ...]:
    """What networks must share to be compared in a factor. Depth and width are the two parts of an architecture."""
    shape = {"depth": "width", "width": "depth", "family": "width"}.get(factor)
    return tuple(shape or name if name == "architecture" else name for name in CONFIGURATION if name != factor)


def between(
    factor: str,
    a: Level | tuple[Level, ...],
    b: Level | tuple[Level, ...],
    *,
    held: Sequence[str] | None = None,
    where: Mapping[str, tuple[Level, ...]] | None = None,
) -> Contrast:
    """The mean over levels `b` minus the mean over levels `a`, matched on all other factors unless `held` says what."""
    sides = [(a if isinstance(a, tuple) else (a,), -1.0), (b if isinstance(b, tuple) else (b,), 1.0)]
    weights = {(level,): sign / len(levels) for levels, sign in sides for level in levels}
    return Contrast(factors=(factor,), weights=weights, held=tuple(held or matching(factor)), where=dict(where or {}))


def average(where: Mapping[str, tuple[Level, ...]] | None = None) -> Contrast:
    """The mean over all networks, or those with the given levels."""
    return Contrast(factors=(), weights={(): 1.0}, held=tuple(CONFIGURATION), where=dict(where or {}))


# Differences within cells --------------------------------------------------------------------------------------


def log10(values: ArrayLike) -> np.ndarray:
    """The logarithm, −∞ for everything that is not positive, so that it does not go unseen; NaN stays NaN."""
    value = np.asarray(values, dtype=float)
    return np.where(value > 0, np.log10(np.where(value > 0, value, 1)), np.where(np.isnan(value), np.nan, -np.inf))


@dataclass(frozen=True)
class Matched:
    """The rows of networks or pairs that a contrast compares, and the units that they form.

    Args:
        contrast: what is compared.
        frame: the rows.
        unit: of each row, `(n,)`.
        names: of the units, `(units, ...)`.
    """

    contrast: Contrast
    frame: pd.DataFrame
    unit: np.ndarray
    names: pd.DataFrame

    @classmethod
    def of(cls, contrast: Contrast, sample: Sample, *, pairs: bool) -> Matched:
        """The units of a sample: a cell, draw of the data and seed (or pair of seeds) each."""
        frame = sample.runs if not pairs else sample.pairs
        if pairs and "aligned" not in contrast.factors:
            frame = frame.iloc[np.flatnonzero(~frame.aligned.to_numpy(dtype=bool))]
        index = [*contrast.held, "data_seed", *(PAIR if pairs else RUN)]
        frame = _compared(contrast, frame)
        named = np.logical_and.reduce([frame[name].notna().to_numpy() for name in index])  # a ConvNet has no depth
        frame = frame.iloc[np.flatnonzero(named)].reset_index(drop=True)
        groups = frame.groupby(index, sort=True).ngroup().to_numpy(dtype=int)
        _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
        return cls(contrast, frame, unit, frame[index].iloc[first].reset_index(drop=True))

    def column(self, outcome: Outcome) -> np.ndarray:
        """An outcome of the rows, `(n,)`; NaN where it was not measured."""
        if callable(outcome):
            return np.asarray(outcome(self.frame), dtype=float)
        name = outcome.removeprefix("log10 ")
        if name not in self.frame:
            return np.full(len(self.frame), np.nan)
        value = self.frame[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        # NaN stays NaN, and an infinite loss infinite.
        return log10(np.where(value < RESOLUTION, RESOLUTION, value)) if name != outcome else value

    def mean(self, values: np.ndarray, *, bounds: tuple[float, float] = UNBOUNDED) -> Statistic:
        """The mean over the units of the weighted sum over levels, of those in which every level was measured.

        Args:
            values: of the rows, `(n,)`.
            bounds: that the mean cannot leave.
        """
        total = np.zeros(len(self.names))
        infinite = np.zeros(total.shape, dtype=bool)
        for rows, weight in self._levels:
            with np.errstate(invalid="ignore"):  # 0/0 where the level was not measured; infinities of both signs
                sums = np.bincount(self.unit[rows], values[rows], minlength=len(total))
                mean = sums / np.bincount(self.unit[rows], minlength=len(total))
                total += weight * mean
            infinite |= np.isinf(mean)
        total = np.where(infinite & np.isnan(total), np.inf, total)
        measured = ~np.isnan(total)
        names = self.names.loc[measured].reset_index(drop=True)
        return Statistic(names, self.contrast.held, total[measured], bounds=bounds)

    @cached_property
    def _levels(self) -> list[tuple[np.ndarray, float]]:
        """The rows of each level, and its weight."""
        contrast = self.contrast
        return [
            (np.flatnonzero(_has(self.frame, contrast.factors, levels)), weight)
            for levels, weight in contrast.weights.items()
        ]


def units(contrast: Contrast, sample: Sample, outcome: Outcome) -> Statistic:
    """The mean of a contrast over its matched units, as a statistic.

    A unit stands for a cell, draw of the data and seed (or pair of seeds) in which every level of the contrast was
    measured. In logarithms values below `RESOLUTION`, none at all and negative ones too, count as `RESOLUTION`: one
    network that fits its data to the last bit would else decide every ratio.

    Args:
        contrast: which networks are compared.
        sample: of networks and pairs.
        outcome: a column of the sample, also as "log10 <column>", or a function of its runs.
    """
    pairs = outcome in BARRIERS.values()
    matched = Matched.of(contrast, sample, pairs=pairs)
    bounds = (0.0, np.inf) if pairs and not contrast.factors else UNBOUNDED
    return matched.mean(matched.column(outcome), bounds=bounds)


def _compared(contrast: Contrast, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that a contrast is about: those of `where`, on one of its levels."""
    for column, levels in contrast.where.items():
        frame = frame.iloc[np.flatnonzero(frame[column].isin(levels))]
    on_a_level = np.logical_or.reduce([_has(frame, contrast.factors, levels) for levels in contrast.weights])
    return frame.iloc[np.flatnonzero(on_a_level)]


def _has(frame: pd.DataFrame, factors: tuple[str, ...], levels: tuple[Level, ...]) -> np.ndarray:
    """The rows with these levels of the factors, `(n,)` of bool."""
    rows = np.ones(len(frame), dtype=bool)
    for factor, level in zip(factors, levels, strict=True):
        rows = rows & (frame[factor] == level).fillna(False).to_numpy(dtype=bool)
    return rows
