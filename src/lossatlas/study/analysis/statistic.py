"""A number about networks, what it rests on, and how far it would move: with other draws, seeds or configurations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from lossatlas.study.analysis.jackknife import (
    FEWEST,
    LEVEL,
    NO_INTERVAL,
    Interval,
    Of,
    Replicates,
    interval,
    share_interval,
    without_groups,
    without_nodes,
    without_units,
)

Over = Literal["draws", "seeds", ""]  # what an interval speaks of; "" where there is none
PAIR = ("seed_a", "seed_b")
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Statistic:
    """A function of n units, each a matched comparison, network or pair that counts by its weight.

    Args:
        names: of the units, `(n, ...)`: `data_seed`, then `seed`, or `seed_a` and `seed_b`, and what was held.
        cell: columns of `names`; units of one cell differ in their draw and seed only.
        values: what is averaged, `(n,)`, where the statistic is a mean; they have signs, and shares of them.
        function: weights -> the statistic, where it is no mean.
        share: whether the values are 0 and 1, and the mean a share.
        bounds: that the statistic cannot leave.
    """

    names: pd.DataFrame
    cell: tuple[str, ...]
    values: np.ndarray | None = None
    function: Of | None = None
    share: bool = False
    bounds: tuple[float, float] = UNBOUNDED

    @property
    def n(self) -> int:
        return len(self.names)

    def of(self, weights: np.ndarray) -> np.ndarray:
        """The statistic for every row of weights, `(r, n)` -> `(r,)`."""
        if self.function is not None:
            return self.function(weights)
        assert self.values is not None
        with np.errstate(invalid="ignore"):  # infinities of both signs have no mean: NaN says so
            return np.where(weights > 0, weights * self.values, 0).sum(axis=1)

    @cached_property
    def estimate(self) -> float:
        if self.n and self.function is None:
            assert self.values is not None
            with np.errstate(invalid="ignore"):
                return float(self.values.mean())  # not by weights: 3 of 6 are a half to the last bit
        return float(self.of(np.full((1, self.n), 1 / self.n))[0]) if self.n else math.nan

    def keep(self, kept: np.ndarray) -> Statistic:
        """The same statistic of some of its units, `kept` `(n,)` of bool."""
        names = self.names.loc[kept].reset_index(drop=True)
        if self.function is None:
            assert self.values is not None
            return replace(self, names=names, values=self.values[kept])
        function, size = self.function, self.n

        def embedded(weights: np.ndarray) -> np.ndarray:
            full = np.zeros((len(weights), size))
            full[:, kept] = weights
            return function(full)

        return replace(self, names=names, function=embedded)

    def mapped(self, of: Callable[[np.ndarray], np.ndarray], *, share: bool = False) -> Statistic:
        """The mean of a function of the values."""
        assert self.values is not None
        bounds = (0.0, 1.0) if share else UNBOUNDED
        return replace(self, values=of(self.values), share=share, bounds=bounds)

    # How far it would move -----------------------------------------------------------------------------------------

    @cached_property
    def cells(self) -> list[tuple[object, ...]]:
        """The cell of every unit."""
        return list(zip(*(self.names[column].tolist() for column in self.cell), strict=True))

    def over_seeds(self, *, level: float = LEVEL) -> tuple[Interval, Over]:
        """The interval over draws of the data and seeds; where there are fewer than three draws, over seeds alone.

        Args:
            level: of confidence.
        """
        draws = without_groups(self.names.data_seed) if self.n else None
        if draws is not None:
            return self._interval(draws, level), "draws"
        strata = [(*cell, draw) for cell, draw in zip(self.cells, self.names.data_seed, strict=True)]
        pairs = [name for name in PAIR if name in self.names]
        seeds = without_nodes(strata, self.names[pairs].to_numpy()) if pairs else without_units(strata)
        found = self._interval(seeds, level)
        return found, "" if math.isnan(found.low) else "seeds"

    def over_configurations(self) -> Interval:
        """The interval if the cells of this study were a sample of all; none with fewer than three."""
        return self._interval(without_groups(self.cells)) if self.n else NO_INTERVAL

    def _interval(self, replicates: Replicates | None, level: float = LEVEL) -> Interval:
        found = interval(self.of, replicates, self.estimate, level=level)
        if self.share:
            return share_interval(self.estimate, found, self.n, level=level)
        return found.within(*self.bounds)

    def summary(self) -> Estimate:
        """The statistic with both intervals."""
        if not self.n:
            return NOTHING
        found, over = self.over_seeds()
        cells = self.cells
        sizes = pd.Series(cells).value_counts()
        return Estimate(
            n=self.n,
            mean=self.estimate,
            interval=found,
            over=over,
            configurations=self.over_configurations(),
            cells=len(sizes),
            draws=self.names.data_seed.nunique(),
            single=int((sizes < 2).sum()) if over != "draws" else 0,
        )


@dataclass(frozen=True)
class Estimate:
    """A number over n units in `cells` cells and `draws` draws, with its interval over draws and seeds (`over`).

    `configurations` is its interval if the cells were a sample. `single` cells have one unit: without several draws
    they count in the number and add nothing to the interval.
    """

    n: int
    mean: float
    interval: Interval
    over: Over
    configurations: Interval
    cells: int
    draws: int
    single: int = 0

    @property
    def low(self) -> float:
        return self.interval.low

    @property
    def high(self) -> float:
        return self.interval.high

    @property
    def too_few(self) -> bool:
        """Whether it rests on too little to decide anything: fewer than three draws, and fewer than three cells."""
        return math.isnan(self.low) or (self.over != "draws" and self.cells - self.single < FEWEST)


NOTHING = Estimate(0, math.nan, NO_INTERVAL, "", NO_INTERVAL, 0, 0)


def mean_of_rows(
    frame: pd.DataFrame, column: str, cell: Sequence[str], *, bounds: tuple[float, float] = UNBOUNDED
) -> Statistic:
    """The plain mean of a column over rows that are networks or pairs; NaN where one of them is."""
    names = [*cell, "data_seed", *(name for name in ("seed", *PAIR) if name in frame)]
    values = frame[column].astype("Float64").to_numpy(dtype=float, na_value=math.nan)
    return Statistic(frame.reindex(columns=names).reset_index(drop=True), tuple(cell), values, bounds=bounds)
