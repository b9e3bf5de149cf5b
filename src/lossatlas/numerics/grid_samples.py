"""Values measured at some nodes of a grid, the scales they are judged by, and a baseline they may be measured from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from lossatlas.work import Stopped, cut_short, grace

Nodes = np.ndarray  # (m, d) of int: which value along each axis
Evaluate = Callable[[Nodes], np.ndarray]  # (m, d) -> (m, v): v quantities at m nodes

# Positive values whose largest is more than so many times the smallest are represented by their logarithm, as they are
# drawn. With more, a loss over less than a decade is interpolated as it is, and is less right where it is small.
LOG_SPAN = 5.0

# How many times coarser a logarithm may be than a value, each relative to its own range (docs/design/surfaces.md). With
# less, a loss over decades takes more nodes; with more, it is less right near its minimum.
LOG_TOLERANCE = 2.0

# Of the largest |value|: a range below it is rounding, and the quantity a constant, which has no error.
CONSTANT = 1e-12


@dataclass(frozen=True)
class Grid:
    """All nodes of a grid of one or two axes, N in all."""

    axes: tuple[np.ndarray, ...]  # increasing coordinates
    nodes: Nodes  # (N, d)
    places: np.ndarray  # (N, d), coordinates mapped to [-1, 1]

    @classmethod
    def of(cls, axes: Sequence[np.ndarray]) -> Self:
        nodes = np.stack(np.meshgrid(*(np.arange(len(axis)) for axis in axes), indexing="ij"), -1)
        nodes = nodes.reshape(-1, len(axes))
        places = np.stack([_scaled(axis)[nodes[:, k]] for k, axis in enumerate(axes)], -1)
        return cls(tuple(axes), nodes, places)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    def __len__(self) -> int:
        return len(self.nodes)

    def coarse_rows(self, count: int) -> np.ndarray:
        """A coarse grid of `count` nodes along each axis, half Chebyshev and half even, and the node at coordinate 0.

        As rows of `nodes`; where there are more, those of the coarse grid of 3 come first, since a call may end before
        all are measured.
        """
        picks = []
        for axis in self.axes:
            even = np.linspace(-1, 1, min(count, len(axis)))
            places = (np.sin(np.pi / 2 * even) + even) / 2
            picks.append(np.unique(np.abs(_scaled(axis)[:, None] - places).argmin(0)))
        nodes = np.stack(np.meshgrid(*picks, indexing="ij"), -1).reshape(-1, len(picks))
        nodes = np.concatenate([nodes, [[np.abs(axis).argmin() for axis in self.axes]]])
        rows = np.unique(np.ravel_multi_index(tuple(nodes.T), self.shape))
        if count <= 3:
            return rows
        first = self.coarse_rows(3)
        return np.concatenate([first, np.random.default_rng(0).permutation(np.setdiff1d(rows, first))])


@dataclass
class Baseline:
    """A rough function on a whole grid: what is interpolated is the difference from it."""

    evaluate: Evaluate
    values: np.ndarray  # (N, v), interpolated where they were not measured
    measured: np.ndarray  # (N,) of bool
    error: np.ndarray  # (N, v), of the values
    evaluated: int  # nodes, so far
    positive: np.ndarray = field(init=False)  # (v,) of bool, wherever values are known

    def __post_init__(self) -> None:
        self.positive = self.values.min(0) > 0

    def at(self, rows: np.ndarray, nodes: Nodes) -> np.ndarray:
        """Its own values, measured where they were not: a difference from a spline would have that one's error."""
        values = self.values[rows]
        new = ~self.measured[rows]
        if new.any():
            values[new] = self.evaluate(nodes[new])
            self.evaluated += int(new.sum())
        return values


class GridSamples:
    """What is known of v quantities on a grid: grows with every measurement."""

    def __init__(
        self, grid: Grid, evaluate: Evaluate, *, smooth: np.ndarray, baseline: Baseline | None = None,
        together: int = 0,
    ) -> None:  # fmt: skip
        """Nothing measured yet; `smooth` `(v,)` of bool; so many nodes are measured `together`, 0: as many as come."""
        self.together, self.stopped = together, False
        self.grid, self.evaluate, self.smooth, self.baseline = grid, evaluate, smooth, baseline
        self.measured = np.zeros(len(grid), bool)
        self.rows = np.empty(0, int)  # (m,), measured nodes as rows of `grid.nodes`, in the order they came
        self.values = np.empty((0, len(smooth)))  # (m, v)
        self.baseline_values = np.empty((0, len(smooth)))  # (m, v)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.values).all())

    def measure(self, rows: np.ndarray) -> np.ndarray:
        """Values `(n, v)` of nodes that were not measured, as rows of `grid.nodes`.

        Where the call is to end (`work`), the first of them, and `stopped` is true from then on.
        """
        found = [np.empty((0, len(self.smooth)))]
        for start in range(0, len(rows), self.together or len(rows)):
            some = rows[start : start + (self.together or len(rows))]
            try:
                values = np.asarray(self.evaluate(self.grid.nodes[some]), dtype=float)
            except Stopped:
                self.stopped = True
                cut_short()
                break
            self.measured[some] = True
            self.rows = np.append(self.rows, some)
            self.values = np.concatenate([self.values, values])
            found.append(values)
        return np.concatenate(found)

    def extend_baseline(self) -> None:
        """The baseline at the nodes that came last; it is given up where it is not finite there."""
        if self.baseline is None:
            return
        rows = self.rows[len(self.baseline_values) :]
        self.baseline_values = np.concatenate([self.baseline_values, self.baseline.at(rows, self.grid.nodes[rows])])
        self.baseline.positive &= self.baseline_values.min(0) > 0
        if not np.isfinite(self.baseline_values).all():
            self.baseline = None

    def extend_baseline_or_leave_it(self) -> None:
        """As `extend_baseline`; where the call ends before it is known, it is given up."""
        if self.baseline is not None and len(self.baseline_values) < len(self):
            try:
                with grace():
                    self.extend_baseline()
            except Stopped:
                self.baseline = None

    def ranges(self) -> np.ndarray:
        """Of the values, `(v,)`; infinite for a constant."""
        span = np.ptp(self.values, axis=0)
        return np.where(span > CONSTANT * np.abs(self.values).max(0, initial=0), span, np.inf)

    def log_ranges(self) -> np.ndarray:
        """Of the logarithms, `(v,)`; infinite for quantities that are not represented by them."""
        low, high = self.values.min(0), self.values.max(0)
        ratios = np.where(low > 0, high / np.where(low > 0, low, 1), math.e)
        return np.where(self.logarithmic(), np.log(ratios), np.inf)

    def logarithmic(self) -> np.ndarray:
        """Which quantities are represented by their logarithm, `(v,)` of bool."""
        low, high = self.values.min(0), self.values.max(0)
        logs = self.smooth & (low > 0) & (high > LOG_SPAN * low)
        return logs if self.baseline is None else logs & self.baseline.positive

    def relative_deviations(self, values: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of two sets of values `(n, v)`, the smooth quantities `(n, smooth)`, relative to their ranges.

        Of logarithms too where they represent the values: the larger of both, in units of the tolerance of values.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.abs(values - others) / self.ranges()
            logs = np.abs(np.log(values) - np.log(others)) / (LOG_TOLERANCE * self.log_ranges())
        return np.where(self.logarithmic(), np.maximum(relative, logs), relative)[:, self.smooth]


def _scaled(axis: np.ndarray) -> np.ndarray:
    """An axis mapped to [-1, 1]."""
    low, high = float(axis[0]), float(axis[-1])
    return (2 * axis - low - high) / (high - low)
