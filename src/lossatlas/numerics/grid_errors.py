"""How far each node of a grid that was not measured may be off: residuals and disagreement of splines, calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lossatlas.numerics.grid_interpolant import GridInterpolant, Prediction, midpoint_deviations, represented
from lossatlas.numerics.grid_samples import CONSTANT, GridSamples

# Of a node's deviation from the mean of its neighbors, that is added to the disagreement of the splines: beside a kink
# both can be off by so much in the same way. With less, errors on kinks are understated; with more, stated errors of
# smooth functions grow (docs/design/surfaces.md).
KINK_WEIGHT = 0.5

# Of the largest local residual on a grid, that is added to all: what is flat at the samples may not be between them.
# With less, flat parts are understated; with more, the error is less local (docs/design/surfaces.md).
RESIDUAL_FLOOR = 0.1


class Factors(NamedTuple):
    """What measured errors are multiplied by, so that the stated one holds at all nodes together."""

    ratio: float  # over a node's doubt, in units of the root mean square of that ratio where it was tried
    safety: float  # over the sum of the measured errors: the most stated anywhere
    step: float  # of quantities with steps: over the local residual
    largest_step: float  # over the largest of the local residuals: the most stated anywhere


# With less, errors hold less often at all nodes together; with more, those of a basin and of an accuracy are larger
# (docs/design/surfaces.md). On a surface the largest ratio is 5 times the mean in the median, 14 times on one of
# twenty; on curves the mean is of ten nodes and less certain.
CURVE_FACTORS = Factors(ratio=48.0, safety=2.5, step=7.0, largest_step=3.5)
SURFACE_FACTORS = Factors(ratio=14.0, safety=1.75, step=7.0, largest_step=3.5)

# The same for the difference from a baseline: it is laid through 29 nodes where others have 129, and 20 are tried.
ABOVE_BASELINE = {
    CURVE_FACTORS: Factors(ratio=96.0, safety=3.5, step=9.0, largest_step=4.5),
    SURFACE_FACTORS: Factors(ratio=42.0, safety=3.5, step=9.0, largest_step=4.5),
}


# Of a node's doubt and the largest residual, where nothing was predicted before it was measured. With less, errors hold
# less often; with more, they are larger (docs/design/surfaces.md).
EARLY_FACTOR = 2.0

# Of the largest error of a sample that is left out: no more is stated anywhere. With less, errors hold less often.
EARLY_BOUND = 3.0


@dataclass(frozen=True)
class Trial:
    """Nodes that were predicted, and then measured."""

    prediction: Prediction
    size: int  # nodes: those that follow the samples of the prediction

    @property
    def samples(self) -> slice:
        """Which of the samples they are."""
        return slice(self.prediction.count, self.prediction.count + self.size)


def factors_of(samples: GridSamples) -> Factors:
    """By the dimensions of the grid and whether there is a baseline."""
    factors = CURVE_FACTORS if len(samples.grid.axes) == 1 else SURFACE_FACTORS
    return factors if samples.baseline is None else ABOVE_BASELINE[factors]


def summed_error(samples: GridSamples, prediction: Prediction, trials: Sequence[Trial]) -> np.ndarray:
    """The largest error in each trial and the largest disagreement that is left, in one sum: `(v,)`.

    Args:
        samples: of the grid.
        prediction: from all of them.
        trials: nodes that were predicted before they were measured.
    """
    worst = _disagreement(samples, prediction)[~samples.measured].max(0)
    for trial in trials:
        predicted = trial.prediction.trusted[samples.rows[trial.samples]]
        worst = worst + np.abs(samples.values[trial.samples] - predicted).max(0)
    return worst


def node_errors(interpolant: GridInterpolant, trials: Sequence[Trial]) -> np.ndarray:
    """The largest deviation to expect at every node, `(N, v)`, in the unit of each quantity; 0 where it was measured.

    A node's doubt, in the logarithm where that is interpolated, is the disagreement of the splines and the
    leave-one-out residuals of the samples around it. For smooth quantities it is multiplied by 14 times (on curves 48)
    the root mean square of error over doubt in the `trials`, and is 1.75 (on curves 2.5) times `summed_error` at most,
    of values as of logarithms. With steps it is 7 times the residuals around, at most 3.5 times the largest of those.
    Above a baseline these factors are larger (`ABOVE_BASELINE`), and that one's error is added.

    Args:
        interpolant: through all samples.
        trials: the last nodes that were predicted before they were measured.
    """
    samples, prediction = interpolant.samples, interpolant.predict()
    logs, values = samples.logarithmic(), prediction.trusted
    local, factors = interpolant.local_residuals(len(samples)), factors_of(samples)
    bound = np.where(samples.smooth, factors.safety * summed_error(samples, prediction, trials), np.inf)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        stated = np.where(samples.smooth, _smooth_errors(interpolant, local, trials), _step_errors(local, factors))
        if samples.baseline is not None:
            below = samples.baseline.error
            stated = stated + np.where(logs, np.log1p(below / samples.baseline.values), below)
            bound = bound + below
        error = np.minimum(np.where(logs, values * np.expm1(stated), stated), bound)
    return np.where(samples.measured[:, None], 0.0, error)


def early_errors(interpolant: GridInterpolant) -> np.ndarray:
    """As `node_errors`, from nodes of which none was predicted before it was measured: a call has ended before.

    Of smooth quantities `EARLY_FACTOR` times a node's doubt, and of the largest of all leave-one-out residuals.

    Args:
        interpolant: through all samples.
    """
    samples, prediction = interpolant.samples, interpolant.predict()
    logs, values = samples.logarithmic(), prediction.trusted
    local, factors = interpolant.local_residuals(len(samples)), factors_of(samples)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        smooth = EARLY_FACTOR * (_doubt(samples, prediction, local) + local.max(0))
        stated = np.where(samples.smooth, smooth, _step_errors(local, factors))
        if samples.baseline is not None:
            below = samples.baseline.error
            stated = stated + np.where(logs, np.log1p(below / samples.baseline.values), below)
        error = np.where(logs, values * np.expm1(stated), stated)
        left_out = interpolant.left_out(len(samples))  # (m, v)
        worst = np.where(logs, samples.values * np.expm1(np.abs(left_out)), np.abs(left_out)).max(0)
        error = np.minimum(error, np.where(samples.smooth, EARLY_BOUND * worst, np.inf))
    return np.where(samples.measured[:, None], 0.0, error)


def _smooth_errors(interpolant: GridInterpolant, local: np.ndarray, trials: Sequence[Trial]) -> np.ndarray:
    """Of what is interpolated, `(N, v)`; `local` residuals are those of all samples."""
    samples, prediction = interpolant.samples, interpolant.predict()
    logs, factors = samples.logarithmic(), factors_of(samples)
    worst, ratios = _represented_disagreement(samples, prediction)[~samples.measured].max(0), []
    for trial in trials:
        rows = samples.rows[trial.samples]
        predicted = represented(trial.prediction.trusted[rows], logs)
        error = np.abs(represented(samples.values[trial.samples], logs) - predicted)
        worst = worst + error.max(0)
        residuals = interpolant.local_residuals(trial.prediction.count)
        ratios.append(error / _doubt(samples, trial.prediction, residuals)[rows])
    # NaN: a prediction below zero, made before the logarithm was interpolated. Only the bound is left then.
    ratio = np.nan_to_num(np.concatenate(ratios), nan=np.inf, posinf=np.inf)
    calibration = factors.ratio * np.sqrt(np.square(ratio).mean(0))
    return np.fmin(calibration * _doubt(samples, prediction, local), factors.safety * worst)


def _doubt(samples: GridSamples, prediction: Prediction, local: np.ndarray) -> np.ndarray:
    """How far each node of a prediction may be off, up to a factor: of what is interpolated, `(N, v)`."""
    largest = np.abs(represented(samples.values, samples.logarithmic())).max(0)
    rounding = CONSTANT * largest + np.finfo(float).tiny
    return _represented_disagreement(samples, prediction) + _with_floor(local) + rounding


def _step_errors(local: np.ndarray, factors: Factors) -> np.ndarray:
    """Of quantities that are not smooth, `(N, v)`, from their residuals."""
    return np.minimum(factors.step * _with_floor(local), factors.largest_step * local.max(0))


def _with_floor(local: np.ndarray) -> np.ndarray:
    return local + RESIDUAL_FLOOR * local.max(0)


def _disagreement(samples: GridSamples, prediction: Prediction) -> np.ndarray:
    """How far the two splines are apart, `(N, v)`, and of smooth quantities half the bend that is left."""
    apart = np.abs(prediction.trusted - prediction.check)
    return apart + KINK_WEIGHT * midpoint_deviations(samples, prediction.trusted)


def _represented_disagreement(samples: GridSamples, prediction: Prediction) -> np.ndarray:
    """Of logarithms where those are interpolated."""
    apart = _disagreement(samples, prediction)
    return np.where(samples.logarithmic(), np.log1p(apart / prediction.trusted), apart)
