"""A function on a whole grid from its samples, by a spline that is trusted and one that checks it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossatlas.numerics.grid_samples import GridSamples
from lossatlas.numerics.splines import Splines

# Distance between nodes that are measured together: for m nodes so far, in units of m^(-1/d), the grid's sides being 2.
# With less, they crowd at one place; with more, there are fewer than asked for. Set by hand.
NODE_DISTANCE = 1.2

# Samples by the dimensions of the grid, whose leave-one-out residuals say how far a node among them may be off. With
# fewer, an error that is stated holds less often; with more, it is less local (docs/design/surfaces.md).
NEIGHBORS = {1: 6, 2: 8}


@dataclass(frozen=True)
class Prediction:
    """Every quantity at all nodes of a grid."""

    trusted: np.ndarray  # (N, v)
    check: np.ndarray  # (N, v), by a spline of lower order
    count: int  # of the samples that it was made from


class GridInterpolant:
    """Polyharmonic splines r⁵, which is trusted, and r³, which checks it, through the samples of a grid.

    They interpolate the differences from the baseline where there is one, and logarithms. Quantities that are not
    smooth are interpolated by r¹, which is linear, and checked by r⁵.
    """

    def __init__(self, samples: GridSamples) -> None:
        self.samples = samples
        self.splines = Splines(samples.grid.places, powers=(5, 3) if samples.smooth.all() else (5, 3, 1))
        self._prediction: Prediction | None = None

    def predict(self) -> Prediction:
        """From the samples so far."""
        if self._prediction is None or self._prediction.count != len(self.samples):
            self._prediction = self._predict()
        return self._prediction

    def _predict(self) -> Prediction:
        samples, logs = self.samples, self.samples.logarithmic()
        self.splines.add(samples.rows[len(self.splines) :])
        data = self._data()
        baseline = np.zeros((1, len(logs)))
        if samples.baseline is not None:
            baseline = represented(samples.baseline.values, logs)
        trusted, check = (baseline + self.splines.through(data, power=power) for power in (5, 3))
        if not samples.smooth.all():
            rough = ~samples.smooth
            known = samples.values if samples.baseline is None else np.concatenate([samples.values, baseline])
            low, high = known[:, rough].min(0), known[:, rough].max(0)
            check[:, rough] = np.clip(trusted[:, rough], low, high)
            linear = self.splines.through(data[:, rough], power=1)
            trusted[:, rough] = np.clip(baseline[:, rough] + linear, low, high)
        with np.errstate(over="ignore"):
            return Prediction(
                trusted=np.where(logs, np.exp(trusted), trusted),
                check=np.where(logs, np.exp(check), check),
                count=len(samples),
            )

    def _data(self) -> np.ndarray:
        """What is interpolated, at the nodes that were measured: `(m, v)`."""
        logs = self.samples.logarithmic()
        data = represented(self.samples.values, logs)
        return data if self.samples.baseline is None else data - represented(self.samples.baseline_values, logs)

    def local_residuals(self, count: int) -> np.ndarray:
        """Root mean square of the leave-one-out residuals of the samples nearest to every node, `(N, v)`.

        Of what is interpolated, by the spline that is trusted.

        Args:
            count: so many samples that came first are known; the splines must have been laid through them.
        """
        residuals = self.left_out(count)
        nearest = self.splines.nearest(NEIGHBORS[len(self.samples.grid.axes)], among=count)
        return np.sqrt(np.square(residuals[nearest]).mean(1))

    def left_out(self, count: int) -> np.ndarray:
        """Leave-one-out residuals of the samples that came first, `(count, v)`, of what is interpolated, by the spline
        that is trusted; the splines must have been laid through them.
        """
        data = self._data()[:count]
        residuals = self.splines.leave_one_out(data, power=5)
        rough = ~self.samples.smooth
        if rough.any():
            residuals[:, rough] = self.splines.leave_one_out(data[:, rough], power=1)
        return residuals

    def most_doubtful(self, count: int) -> np.ndarray:
        """Up to `count` nodes where the splines disagree most, at a distance from each other, as rows of the grid."""
        samples, prediction = self.samples, self.predict()
        rows = np.flatnonzero(~samples.measured)
        doubt = samples.relative_deviations(prediction.trusted[rows], prediction.check[rows]).max(1)
        distance = (NODE_DISTANCE / len(samples) ** (1 / len(samples.grid.axes))) ** 2
        places, chosen = samples.grid.places[rows], []
        while len(chosen) < count and (doubt >= 0).any():
            chosen.append(int(doubt.argmax()))
            doubt[np.square(places - places[chosen[-1]]).sum(-1) < distance] = -1
        return rows[chosen]


def represented(values: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Values, or their logarithms where those are interpolated."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(logs, np.log(values), values)


def midpoint_deviations(samples: GridSamples, values: np.ndarray) -> np.ndarray:
    """How far each value is from the mean of its neighbors along an axis, the larger of both axes: half a second
    difference.

    Of what is interpolated: logarithms, differences from a baseline. 0 for quantities that are not smooth, and at the
    edges of the grid.

    Args:
        samples: of the grid, which say what is interpolated.
        values: at all nodes, `(N, v)`, and so is the answer.
    """
    logs, shape = samples.logarithmic(), samples.grid.shape
    data = represented(values, logs)
    if samples.baseline is not None:
        data = data - represented(samples.baseline.values, logs)
    surface, deviations = data.reshape(*shape, -1), np.zeros((*shape, len(logs)))
    for axis in range(len(shape)):
        before, here, after = (_along(axis, *ends) for ends in ((None, -2), (1, -1), (2, None)))
        difference = (surface[before] + surface[after]) / 2 - surface[here]
        with np.errstate(over="ignore"):
            deviation = np.abs(np.where(logs, np.expm1(difference), difference))
            deviations[here] = np.maximum(deviations[here], deviation)
    return np.where(samples.smooth, deviations.reshape(values.shape), 0.0) * np.where(logs, values, 1.0)


def _along(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop))
