"""Functions on a grid from few of its nodes: adaptive sampling, polyharmonic splines, and an error that is measured.

No networks in sight: the function is whatever gives values at nodes. docs/design/surfaces.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Self

import numpy as np

from lossatlas.numerics.grid_errors import Trial, early_errors, node_errors, summed_error
from lossatlas.numerics.grid_interpolant import GridInterpolant
from lossatlas.numerics.grid_samples import Baseline, Evaluate, Grid, GridSamples
from lossatlas.work import Stopped


class NodeCounts(NamedTuple):
    """Nodes that are measured at a time."""

    start: int  # of the first, coarse grid, along each axis
    doubtful: int  # in a round, where the splines disagree most
    validation: int  # in a round, at random: they measure the error and are splines' nodes from then on

    @property
    def round(self) -> int:
        return self.doubtful + self.validation


# With more nodes of any kind the least that a grid takes grows; with fewer at the start more rounds are made, and with
# fewer for validation the error is less certain (docs/design/surfaces.md).
CURVE_NODES = NodeCounts(start=9, doubtful=4, validation=6)
SURFACE_NODES = NodeCounts(start=9, doubtful=24, validation=24)
SMALL_SURFACE_NODES = NodeCounts(start=7, doubtful=12, validation=12)

# The same for the difference from a baseline, which is smaller and smoother (docs/design/surfaces.md).
ABOVE_BASELINE = {
    CURVE_NODES: NodeCounts(start=3, doubtful=3, validation=5),
    SURFACE_NODES: NodeCounts(start=3, doubtful=8, validation=12),
    SMALL_SURFACE_NODES: NodeCounts(start=3, doubtful=6, validation=8),
}

# Nodes of a whole surface, below which fewer have to do at a time. With more, surfaces just below it start from too few
# nodes; with less, small ones are measured as a whole more often. Set by hand.
SMALL_SURFACE = 500

# Of all nodes of a grid: where more would be measured, all are. With more, splines that gain little are solved; with
# less, surfaces with kinks are measured as a whole. Set by hand.
MAX_MEASURED_SHARE = 0.4

# Nodes of a whole grid by its dimensions, from which a baseline saves some. With fewer nodes even the difference takes
# the whole grid.
BASELINE_PAYS_FROM = {
    1: math.ceil((ABOVE_BASELINE[CURVE_NODES].start + ABOVE_BASELINE[CURVE_NODES].round) / MAX_MEASURED_SHARE),
    2: SMALL_SURFACE,
}

# Tolerances that the parts of an error may add up to: twice is stated then, and what a baseline adds. With less, more
# nodes are measured; with more, larger errors are stated (docs/design/surfaces.md).
ACCEPTED_ERROR = 4 / 3

# Rounds, from the first that held the tolerance, after which a larger sum is put up with, along kinks. With more, kinks
# take more nodes; with fewer, larger errors are stated (docs/design/surfaces.md).
MAX_PASSED_ROUNDS = 3

# Nodes by the dimensions of the grid, with fewer of which a call that is to end has no result: splines of degree five
# want six, or three on a line, and an error wants some more.
FEWEST_NODES = {1: 6, 2: 12}

TOO_FEW_NODES = "too few nodes to leave some out"
NOT_FINITE = "a value is not finite"


@dataclass(frozen=True)
class FilledGrid:
    """Values at all nodes of a grid, of which some were measured.

    `error` is the largest deviation to expect at each node (`grid_errors.node_errors`), 0 where it was measured. It is
    0 everywhere on a grid that was measured as a whole, and `reason` says then why it was.
    """

    values: np.ndarray  # (v, *shape)
    measured: np.ndarray  # (*shape) of bool
    error: np.ndarray  # (v, *shape)
    reason: str
    rough_nodes: int = 0  # of the rough function, where there was one

    @classmethod
    def whole(cls, values: np.ndarray, reason: str) -> Self:
        """A grid of which every node was measured.

        Args:
            values: `(v, *shape)`.
            reason: why, in words.
        """
        return cls(values, np.ones(values.shape[1:], bool), np.zeros(values.shape), reason)


def fill(
    evaluate: Evaluate,
    axes: Sequence[np.ndarray],
    *,
    smooth: Sequence[bool],
    tol: float,
    rough: Evaluate | None = None,
    together: int = 0,
) -> FilledGrid:
    """Measure as few nodes of a grid as represent the smooth quantities to within `tol` of their range.

    Starts from a coarse grid that is denser near the edges and adds nodes where two polyharmonic splines (r⁵ and r³)
    disagree most, until the nodes that were just added had been predicted to within `tol` of the range, and so had
    fresh random ones. Where the error to expect is then more than twice `tol`, two more rounds are made at most, and
    what is found then is stated, whether it is within `tol` or not (`decide_filling`). Positive quantities that span
    more than a factor of 5 are represented by their logarithm, and must then be right to within 2 `tol` of the range of
    the logarithm too. Quantities that are not smooth, such as an accuracy, are interpolated linearly (r¹) from the same
    nodes, and have no say in where to measure.

    A grid with a value that is not finite, or one that would take more than 40 % of its nodes, is measured as a whole.

    Args:
        evaluate: nodes `(m, d)` as indices along each axis -> values `(m, v)`.
        axes: one or two arrays of increasing coordinates; the node nearest to 0 on all of them is measured first.
        smooth: for each of the v quantities, whether it is smooth.
        tol: largest error of a smooth quantity, relative to its range on the grid.
        rough: a function close to this one, and cheaper. The grid is filled with that first, to `tol` / 2, then with
            the difference, or that of the logarithms: it is smaller and smoother and takes fewer nodes (control
            variates; two levels of fidelity). The error is then that of both parts, from nodes of this function.
        together: nodes that are measured before it is asked whether the call is to end (`work`): what there is then is
            filled, with a larger error. 0: all that are wanted at a time.

    Raises:
        Stopped: the call is to end, and fewer nodes are measured than splines want.
    """
    grid, smooth_mask = Grid.of(axes), np.asarray(smooth)
    if rough is None:
        return _fill(GridSamples(grid, evaluate, smooth=smooth_mask, together=together), tol)
    below = _fill(GridSamples(grid, rough, smooth=smooth_mask, together=together), tol / 2)
    baseline = Baseline(
        evaluate=rough,
        values=below.values.reshape(len(below.values), -1).T,
        measured=below.measured.reshape(-1),
        error=below.error.reshape(len(below.error), -1).T,
        evaluated=int(below.measured.sum()),
    )
    usable = baseline if np.isfinite(baseline.values).all() else None
    filled = _fill(GridSamples(grid, evaluate, smooth=smooth_mask, baseline=usable, together=together), tol)
    return replace(filled, rough_nodes=baseline.evaluated)


class FillingDecision(Enum):
    """What is done next on a grid."""

    REFINE = "refine"  # another round
    ACCEPT = "accept"  # the splines, with the error that was estimated
    MEASURE_ALL = "measure all"  # every node that is left


def decide_filling(
    *, finite: bool, passed_rounds: int, error: float, tol: float, measured: int, round_nodes: int, size: int
) -> FillingDecision:
    """The stopping rule: whether the splines are accepted, go on to another round, or are given up.

    They are accepted where the rounds since the first that held the tolerance state an error that is small enough, or
    are as many as are put up with, or the nodes are used up. They are given up where a value is not finite, or the
    nodes are used up and the tolerance was not held.

    Args:
        finite: whether all values measured are.
        passed_rounds: from the first that held the tolerance, that one included; 0 where none has.
        error: estimated in the last of them, the largest of the smooth quantities, relative to its range.
        tol: relative to the range.
        measured: nodes, so far.
        round_nodes: nodes that another round would measure.
        size: nodes of the whole grid.
    """
    if not finite:
        return FillingDecision.MEASURE_ALL
    if passed_rounds and (passed_rounds >= MAX_PASSED_ROUNDS or error <= ACCEPTED_ERROR * tol):
        return FillingDecision.ACCEPT
    if measured + round_nodes > MAX_MEASURED_SHARE * size:
        return FillingDecision.ACCEPT if passed_rounds else FillingDecision.MEASURE_ALL
    return FillingDecision.REFINE


@dataclass(frozen=True)
class _Round:
    """One that held the tolerance."""

    trials: tuple[Trial, ...]
    error: float  # to expect, the largest of the smooth quantities, relative to its range


def _fill(samples: GridSamples, tol: float) -> FilledGrid:
    """Rounds until the stopping rule says so."""
    grid, interpolant, rng = samples.grid, GridInterpolant(samples), np.random.default_rng(0)
    without_baseline = _node_counts(grid)
    counts = without_baseline if samples.baseline is None else ABOVE_BASELINE[without_baseline]
    samples.measure(grid.coarse_rows(counts.start))
    samples.extend_baseline()
    last, passed_rounds, reason = None, 0, TOO_FEW_NODES
    while True:
        if samples.stopped:
            return _filled_early(interpolant)
        if samples.baseline is None and counts is not without_baseline:  # it was given up: start anew
            counts = without_baseline
            rows = grid.coarse_rows(counts.start)
            samples.measure(rows[~samples.measured[rows]])
            last, passed_rounds, reason = None, 0, TOO_FEW_NODES
        decision = decide_filling(
            finite=samples.finite, passed_rounds=passed_rounds, error=last.error if last else math.inf,
            tol=tol, measured=len(samples), round_nodes=counts.round, size=len(grid),
        )  # fmt: skip
        if decision is FillingDecision.MEASURE_ALL:
            return _measured_whole(samples, reason if samples.finite else NOT_FINITE)
        if decision is FillingDecision.ACCEPT and last is not None:  # it is not, once a round has passed
            return _filled(interpolant, last.trials)
        last = _round(samples, interpolant, counts, rng, tol=None if passed_rounds else tol)
        passed_rounds = 0 if last is None else passed_rounds + 1
        reason = f"not within {tol:g} of the range from {len(samples)} nodes"


def _node_counts(grid: Grid) -> NodeCounts:
    if len(grid.axes) == 1:
        return CURVE_NODES
    return SURFACE_NODES if len(grid) >= SMALL_SURFACE else SMALL_SURFACE_NODES


def _round(
    samples: GridSamples, interpolant: GridInterpolant, counts: NodeCounts, rng: np.random.Generator,
    *, tol: float | None,
) -> _Round | None:  # fmt: skip
    """Measure doubtful nodes, then fresh random ones, each predicted before.

    None where a value was not finite, the baseline was given up, or, with a `tol`, a prediction was off by more.
    """
    baseline, trials = samples.baseline, []
    for doubtful in (True, False):
        prediction = interpolant.predict()
        rows = (
            interpolant.most_doubtful(counts.doubtful)
            if doubtful
            else rng.choice(np.flatnonzero(~samples.measured), counts.validation, replace=False)
        )
        worst = _worst_prediction(samples, rows, prediction.trusted[rows])
        if samples.stopped:
            return None
        if not samples.finite or samples.baseline is not baseline or (tol is not None and worst > tol):
            return None
        trials.append(Trial(prediction, len(rows)))
    error = summed_error(samples, interpolant.predict(), trials)
    relative = np.max((error / samples.ranges())[samples.smooth], initial=0.0)
    return _Round(tuple(trials), float(relative))


def _worst_prediction(samples: GridSamples, rows: np.ndarray, predicted: np.ndarray) -> float:
    """Measure nodes; the largest error of the smooth quantities there, in units of their range.

    The baseline is measured last: where it shows to be negative, logarithms were nevertheless predicted.
    """
    values = samples.measure(rows)
    if samples.stopped:
        return math.inf
    relative = samples.relative_deviations(values, predicted)
    samples.extend_baseline()
    return float(np.max(relative, initial=0.0))


def _filled_early(interpolant: GridInterpolant) -> FilledGrid:
    """From the nodes that there are, whatever their error."""
    samples = interpolant.samples
    samples.extend_baseline_or_leave_it()
    if len(samples) < FEWEST_NODES[len(samples.grid.axes)] or not samples.finite:
        raise Stopped
    error, shape = early_errors(interpolant), samples.grid.shape
    values = interpolant.predict().trusted
    values[samples.rows] = samples.values
    return FilledGrid(
        values.T.reshape(-1, *shape), samples.measured.reshape(shape), error.T.reshape(-1, *shape), reason=""
    )


def _filled(interpolant: GridInterpolant, trials: Sequence[Trial]) -> FilledGrid:
    samples, error = interpolant.samples, node_errors(interpolant, trials)
    values, shape = interpolant.predict().trusted, interpolant.samples.grid.shape
    values[samples.rows] = samples.values  # in place: nothing is predicted any more
    return FilledGrid(
        values.T.reshape(-1, *shape), samples.measured.reshape(shape), error.T.reshape(-1, *shape), reason=""
    )


def _measured_whole(samples: GridSamples, reason: str) -> FilledGrid:
    if not samples.measured.all():
        samples.measure(np.flatnonzero(~samples.measured))
        if samples.stopped:
            return _filled_early(GridInterpolant(samples))
    values = np.empty((len(samples.grid), samples.values.shape[1]))
    values[samples.rows] = samples.values
    return FilledGrid.whole(values.T.reshape(-1, *samples.grid.shape), reason)
