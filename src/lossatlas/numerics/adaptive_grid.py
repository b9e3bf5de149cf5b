"""Functions on a grid from few of its nodes: adaptive sampling, polyharmonic splines, and an error that is measured.

No networks in sight: the function is whatever gives values at nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from lossatlas.numerics.splines import Splines

Nodes = np.ndarray  # (m, d) of int: which value along each axis
Evaluate = Callable[[Nodes], np.ndarray]  # (m, d) -> (m, v): v quantities at m nodes

# Nodes of the first grid along each axis, nodes that are added at once, fresh random nodes that measure the error.
CURVE, SURFACE, SMALL_SURFACE = (9, 4, 6), (9, 24, 24), (7, 12, 12)
DIFFERENCE = {CURVE: (3, 3, 5), SURFACE: (3, 8, 12), SMALL_SURFACE: (3, 6, 8)}  # from a rough function
SMALL = 500  # nodes of a whole grid, below which fewer have to do
MOST = 0.4  # of the grid: beyond that it is measured as a whole
ROOMY = {1: math.ceil(sum(DIFFERENCE[CURVE]) / MOST), 2: SMALL}  # nodes of a grid, from which a floor saves some
BEND = 0.5  # of a bend between three nodes: beside a kink two splines can be off by that in the same way
SAFETY = 1.5  # 1 holds for 19 of 20 surfaces of small trained networks, 1.5 for as many sums of waves and ridges
ROOM = 4 / 3  # tolerances that the parts of an error may add up to: twice is stated then, and what a floor adds
PASSES = 3  # rounds, from the first that held the tolerance, after which a larger sum is put up with: along kinks
LOG_TOL = 2.0  # how much coarser a logarithm may be than a value, each of its own range
FACTOR = 5.0  # positive values that span more are represented by their logarithm, as they are drawn


@dataclass(frozen=True)
class Filled:
    """Values at all nodes of a grid, of which some were measured.

    `error` is, for each quantity, the largest deviation to expect at a node that was not measured: 1.5 times the sum of
    the largest at fresh random nodes, the largest at the nodes that looked most doubtful, each predicted before it was
    measured, and what is left at the others: the disagreement of two splines and, of smooth quantities, half the bend
    between the neighbours, the largest sum of both. Above a rough function that one's error is added. It is 0 on a grid
    that was measured as a whole, and `reason` says then why it was.
    """

    values: np.ndarray  # (v, *shape)
    measured: np.ndarray  # (*shape) of bool
    error: np.ndarray  # (v,)
    reason: str
    rough_nodes: int = 0  # of the rough function, where there was one

    @classmethod
    def whole(cls, values: np.ndarray, reason: str) -> Self:
        return cls(values, np.ones(values.shape[1:], bool), np.zeros(len(values)), reason)


def fill(
    evaluate: Evaluate,
    axes: Sequence[np.ndarray],
    *,
    smooth: Sequence[bool],
    tol: float,
    rough: Evaluate | None = None,
) -> Filled:
    """Measure as few nodes of a grid as represent the smooth quantities to within `tol` of their range.

    Starts from a coarse grid that is denser near the edges and adds nodes where two polyharmonic splines (r⁵ and r³)
    disagree most, until the nodes that were just added had been predicted to within `tol` of the range, and so had
    fresh random ones. Where the error to expect is then more than twice `tol`, two more rounds are made at most, and
    what is found then is stated, whether it is within `tol` or not. Positive quantities that span more than a factor of
    5 are represented by their logarithm, and must then be right to within 2 `tol` of the range of the logarithm too.
    Quantities that are not smooth, such as an accuracy, are interpolated linearly (r¹) from the same nodes, and have no
    say in where to measure.

    A grid with a value that is not finite, or one that would take more than 40 % of its nodes, is measured as a whole.

    Args:
        evaluate: nodes `(m, d)` as indices along each axis -> values `(m, v)`.
        axes: one or two arrays of increasing coordinates; the node nearest to 0 on all of them is measured first.
        rough: a function close to this one, and cheaper. The grid is filled with that first, to `tol` / 2, then with
            the difference, or that of the logarithms: it is smaller and smoother and takes fewer nodes (control
            variates; two levels of fidelity). The error is then that of both parts, from nodes of this function.
    """
    if rough is None:
        return _Filling(evaluate, axes, np.asarray(smooth), tol).run()
    floor = _Floor(rough, _Filling(rough, axes, np.asarray(smooth), tol / 2).run())
    usable = floor if np.isfinite(floor.values).all() else None
    filled = _Filling(evaluate, axes, np.asarray(smooth), tol, usable).run()
    return replace(filled, rough_nodes=floor.nodes)


class _Floor:
    """A rough function on a whole grid: what is filled above it is the difference from it."""

    def __init__(self, evaluate: Evaluate, found: Filled) -> None:
        self.evaluate, self.found = evaluate, found
        self.values = found.values.reshape(len(found.values), -1).T  # (N, v)
        self.known = found.measured.reshape(-1)
        self.positive = self.values.min(0) > 0
        self.nodes = int(found.measured.sum())

    def at(self, rows: np.ndarray, nodes: Nodes) -> np.ndarray:
        """Its own values, measured where they were not: a difference from a spline would have that one's error."""
        values = self.values[rows]
        new = ~self.known[rows]
        if new.any():
            values[new] = self.evaluate(nodes[new])
            self.nodes += int(new.sum())
        return values


class _Filling:
    def __init__(
        self,
        evaluate: Evaluate,
        axes: Sequence[np.ndarray],
        smooth: np.ndarray,
        tol: float,
        floor: _Floor | None = None,
    ) -> None:
        self.evaluate, self.axes, self.smooth, self.tol, self.floor = evaluate, axes, smooth, tol, floor
        self.shape = tuple(len(axis) for axis in axes)
        surface = SURFACE if math.prod(self.shape) >= SMALL else SMALL_SURFACE
        self.sizes = CURVE if len(axes) == 1 else surface
        self.start, self.batch, self.checks = self.sizes if floor is None else DIFFERENCE[self.sizes]
        self.every = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), -1).reshape(-1, len(axes))
        scaled = [_scaled(axis) for axis in axes]
        self.places = np.stack([axis[self.every[:, k]] for k, axis in enumerate(scaled)], -1)  # (N, d) in [-1, 1]
        self.splines = Splines(self.places, powers=(5, 3) if smooth.all() else (5, 3, 1))
        self.taken = np.zeros(len(self.every), bool)
        self.order = np.empty(0, int)  # measured nodes, as rows of `every`
        self.values = np.empty((0, len(smooth)))
        self.floors = np.empty((0, len(smooth)))  # the rough function at the measured nodes
        self.predicted: tuple[np.ndarray, np.ndarray] | None = None  # from the nodes so far

    def run(self) -> Filled:
        self.measure(self.first_nodes())
        self.extend_floor()
        limit = MOST * len(self.every)
        rng = np.random.default_rng(0)
        found, rounds = None, 0  # that held the tolerance, and those after the first of them
        reason = few = "too few nodes to leave some out"
        while True:
            if not np.isfinite(self.values).all():
                return self.whole("a value is not finite")
            if len(self.order) + self.batch + self.checks > limit:
                if found is not None:
                    break
                return self.whole(reason)
            floor = self.floor
            latest = self.round(rng, strict=not rounds)
            reason = f"not within {self.tol:g} of the range from {len(self.order)} nodes"
            if self.upset(floor):
                found, rounds, reason = None, 0, few
            elif latest is not None:
                found, rounds = latest, rounds + 1
                share = np.max((latest[1] / self.ranges())[self.smooth], initial=0.0)
                if rounds == PASSES or share <= ROOM * self.tol:
                    break
        values, error = found
        values[self.order] = self.values  # in place: nothing is predicted any more
        error = SAFETY * error
        if self.floor is not None:
            error = error + self.floor.found.error
        return Filled(values.T.reshape(-1, *self.shape), self.taken.reshape(self.shape), error, "")

    def round(self, rng: np.random.Generator, *, strict: bool) -> tuple[np.ndarray, np.ndarray] | None:
        """Measure doubtful nodes, then fresh random ones: values at all nodes, and the largest error to expect.

        None where it is upset, or `strict` and not within the tolerance.
        """
        floor = self.floor
        chosen, predicted = self.most_doubtful()
        doubtful, worst = self.errors_at(chosen, predicted)
        if self.upset(floor) or (strict and worst > self.tol):
            return None
        fresh = rng.choice(np.flatnonzero(~self.taken), self.checks, replace=False)
        fresh_error, worst = self.errors_at(fresh, self.predict()[0][fresh])
        if self.upset(floor) or (strict and worst > self.tol):
            return None
        values, coarse = self.predict()
        left = np.abs(values - coarse) + BEND * self.bends(values)
        return values, fresh_error + doubtful + left[~self.taken].max(0)

    def upset(self, floor: _Floor | None) -> bool:
        """Whether what was predicted tells nothing: above a floor that was given up since then, or beside a hole."""
        return self.floor is not floor or not np.isfinite(self.values).all()

    def first_nodes(self) -> np.ndarray:
        """A coarse grid, half Chebyshev and half even, and the node at coordinate 0."""
        picks = []
        for axis in self.axes:
            steps = np.linspace(-1, 1, min(self.start, len(axis)))
            places = (np.sin(np.pi / 2 * steps) + steps) / 2
            picks.append(np.unique(np.abs(_scaled(axis)[:, None] - places).argmin(0)))
        index = np.stack(np.meshgrid(*picks, indexing="ij"), -1).reshape(-1, len(picks))
        index = np.concatenate([index, [[np.abs(axis).argmin() for axis in self.axes]]])
        return np.unique(np.ravel_multi_index(tuple(index.T), self.shape))

    def measure(self, rows: np.ndarray) -> np.ndarray:
        got = np.asarray(self.evaluate(self.every[rows]), dtype=float)
        self.taken[rows] = True
        self.order = np.append(self.order, rows)
        self.values = np.concatenate([self.values, got])
        self.predicted = None
        return got

    def errors_at(self, rows: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, float]:
        """Measure nodes; largest error of each quantity there, and the largest of the smooth ones in units of range."""
        got = self.measure(rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(got - predicted)
            relative = error / self.ranges()
            logs = np.abs(np.log(got) - np.log(predicted)) / (LOG_TOL * self.log_ranges())
        relative = np.where(self.logs(), np.maximum(relative, logs), relative)[:, self.smooth]
        self.extend_floor()
        return error.max(0), float(np.max(relative, initial=0.0))

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """Every quantity at all nodes, `(N, v)`, by the spline that is trusted and by the one that checks it."""
        if self.predicted is None:
            self.predicted = self.predict_anew()
        return self.predicted

    def predict_anew(self) -> tuple[np.ndarray, np.ndarray]:
        self.splines.add(self.order[len(self.splines) :])
        logs = self.logs()
        data, below = _represented(self.values, logs), np.zeros((1, len(logs)))
        if self.floor is not None:
            data, below = data - _represented(self.floors, logs), _represented(self.floor.values, logs)
        fine, coarse = (below + self.splines.through(data, power=power) for power in (5, 3))
        if not self.smooth.all():
            steps = ~self.smooth
            low, high = self.values[:, steps].min(0), self.values[:, steps].max(0)
            coarse[:, steps] = np.clip(fine[:, steps], low, high)
            linear = self.splines.through(data[:, steps], power=1)
            fine[:, steps] = np.clip(below[:, steps] + linear, low, high)
        with np.errstate(over="ignore"):
            return np.where(logs, np.exp(fine), fine), np.where(logs, np.exp(coarse), coarse)

    def extend_floor(self) -> None:
        """The rough function at the nodes that came last; where it is not finite there, do without it from now on."""
        if self.floor is None:
            return
        new = self.order[len(self.floors) :]
        self.floors = np.concatenate([self.floors, self.floor.at(new, self.every[new])])
        self.floor.positive &= self.floors.min(0) > 0
        if not np.isfinite(self.floors).all():
            self.floor = None
            self.start, self.batch, self.checks = self.sizes
            nodes = self.first_nodes()
            self.measure(nodes[~self.taken[nodes]])

    def most_doubtful(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes where the two splines disagree most, at a distance from each other, and what is predicted there."""
        nodes = np.flatnonzero(~self.taken)
        fine, coarse = (values[nodes] for values in self.predict())
        with np.errstate(invalid="ignore", divide="ignore"):
            doubt = np.abs(fine - coarse) / self.ranges()
            logs = np.abs(np.log(fine) - np.log(coarse)) / (LOG_TOL * self.log_ranges())
        doubt = np.where(self.logs(), np.maximum(doubt, logs), doubt)[:, self.smooth].max(1)
        apart = (1.2 / len(self.order) ** (1 / len(self.axes))) ** 2
        places, chosen = self.places[nodes], []
        while len(chosen) < self.batch and (doubt >= 0).any():
            chosen.append(int(doubt.argmax()))
            doubt[np.square(places - places[chosen[-1]]).sum(-1) < apart] = -1
        return nodes[chosen], fine[chosen]

    def bends(self, values: np.ndarray) -> np.ndarray:
        """How far each value `(N, v)` is from what the middle of its neighbours along an axis makes it, the larger of
        both axes.

        Of what is interpolated: logarithms, differences from a floor. 0 for quantities that are not smooth, and across
        an edge of the grid.
        """
        logs = self.logs()
        data = _represented(values, logs)
        if self.floor is not None:
            data = data - _represented(self.floor.values, logs)
        grid, found = data.reshape(*self.shape, -1), np.zeros((*self.shape, len(logs)))
        for axis in range(len(self.shape)):
            low, here, high = (_part(axis, *ends) for ends in ((None, -2), (1, -1), (2, None)))
            off = (grid[low] + grid[high]) / 2 - grid[here]
            with np.errstate(over="ignore"):
                found[here] = np.maximum(found[here], np.abs(np.where(logs, np.expm1(off), off)))
        return np.where(self.smooth, found.reshape(values.shape), 0.0) * np.where(logs, values, 1.0)

    def whole(self, reason: str) -> Filled:
        if not self.taken.all():
            self.measure(np.flatnonzero(~self.taken))
        values = np.empty((len(self.every), self.values.shape[1]))
        values[self.order] = self.values
        return Filled.whole(values.T.reshape(-1, *self.shape), reason)

    def ranges(self) -> np.ndarray:
        span = np.ptp(self.values, axis=0)
        return np.where(span > 1e-12 * np.abs(self.values).max(0, initial=0), span, np.inf)  # a constant has no error

    def log_ranges(self) -> np.ndarray:
        low, high = self.values.min(0), self.values.max(0)
        return np.where(self.logs(), np.log(np.where(low > 0, high / np.where(low > 0, low, 1), math.e)), np.inf)

    def logs(self) -> np.ndarray:
        low, high = self.values.min(0), self.values.max(0)
        logs = self.smooth & (low > 0) & (high > FACTOR * low)
        return logs if self.floor is None else logs & self.floor.positive


def _scaled(axis: np.ndarray) -> np.ndarray:
    """An axis mapped to [-1, 1]."""
    low, high = float(axis[0]), float(axis[-1])
    return (2 * axis - low - high) / (high - low)


def _part(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop))


def _represented(values: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Values, or their logarithms where those are interpolated."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(logs, np.log(values), values)
