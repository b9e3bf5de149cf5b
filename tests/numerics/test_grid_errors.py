"""The error that is stated of every node of a grid, against the whole grid of functions that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lossatlas.numerics.adaptive_grid import FilledGrid, fill
from lossatlas.numerics.grid_errors import SURFACE_FACTORS, Trial, node_errors, summed_error
from lossatlas.numerics.grid_interpolant import GridInterpolant
from lossatlas.numerics.grid_samples import Grid, GridSamples
from lossatlas.work import Stopped
from tests.numerics.grids import AXIS, bowl, holds, on_grid, saddle, valley

EXAMPLES = 300


def filled_from(*functions, smooth=(True,)) -> tuple[FilledGrid, np.ndarray]:
    whole, evaluate, _ = on_grid(*functions)
    return fill(evaluate, (AXIS, AXIS), smooth=smooth, tol=0.01), whole


def waves_and_ridges(rng):
    waves, bends, heights = rng.normal(size=(4, 2)), rng.normal(size=(3, 3)), rng.random(4)

    def surface(x, y):
        smooth = sum(h * np.cos(2 * a * x + 2 * b * y + h) for h, (a, b) in zip(heights, waves, strict=True))
        return smooth + sum(np.maximum(0, a * x + b * y + c / 2) for a, b, c in bends)

    return surface


def classifier(rng):
    """Mean logistic loss and accuracy of examples whose margins are those of two hidden rectified units."""
    own = rng.normal(size=(EXAMPLES, 2, 3)) * [0.7, 0.7, 0.4]

    def margins(x, y):
        hidden = [np.maximum(0, 1 + own[:, k, 0] * x + own[:, k, 1] * y + own[:, k, 2]) for k in (0, 1)]
        return 6 * hidden[0] - 3 * hidden[1] ** 2

    def mean(function):
        def of_places(x, y):
            return function(margins(x[..., None], y[..., None])).mean(-1)

        return of_places

    return mean(lambda margin: np.logaddexp(0, -margin)), mean(lambda margin: margin > 0)


def test_what_was_measured_has_no_error_and_everything_else_has_one():
    filled, whole = filled_from(valley)
    assert filled.error.shape == filled.values.shape == whole.shape
    assert ((filled.error[0] == 0) == filled.measured).all()


def test_the_error_holds_at_all_nodes_of_nineteen_surfaces_of_twenty():
    """Sums of waves and ridges drawn at random: none was looked at when the estimate was made."""
    rng = np.random.default_rng(5)
    assert np.mean([holds(*filled_from(waves_and_ridges(rng))) for _ in range(60)]) >= 0.95


@pytest.mark.parametrize("nodes", [15, 40, 81, 110])
def test_what_there_is_when_a_call_ends_has_an_error_that_holds(nodes):
    """On nineteen surfaces of twenty, and with more nodes it is smaller."""
    rng, held, stated = np.random.default_rng(5), [], []
    for _ in range(20):
        whole, evaluate, _ = on_grid(waves_and_ridges(rng))
        left = nodes

        def some(asked, evaluate=evaluate):
            nonlocal left
            left -= len(asked)
            if left < 0:
                raise Stopped
            return evaluate(asked)

        filled = fill(some, (AXIS, AXIS), smooth=(True,), tol=0.01, together=1)
        assert filled.measured.sum() == nodes
        held.append(holds(filled, whole))
        stated.append(filled.error.max() / np.ptp(whole))
    assert np.mean(held) >= 0.95
    assert np.median(stated) < {15: 5.0, 40: 0.5, 81: 0.1, 110: 0.1}[nodes]


def test_too_few_nodes_are_no_surface():
    _, evaluate, asked = on_grid(bowl)

    def some(nodes):
        if len(asked) >= 11:
            raise Stopped
        return evaluate(nodes)

    with pytest.raises(Stopped):
        fill(some, (AXIS, AXIS), smooth=(True,), tol=0.01, together=1)


def test_a_basin_has_an_error_of_its_own():
    """Where a loss spans decades, the lowest tenth is known to a part of itself; on a log axis both ways."""
    filled, whole = filled_from(lambda x, y: 1e-4 + (x**2 + 3 * (y - 0.1) ** 2) ** 2)
    basin = (whole <= np.quantile(whole, 0.1)) & ~filled.measured
    share = filled.error[basin] / filled.values[basin]
    assert np.median(share) < 0.6
    assert np.median(filled.error.max() / filled.error[basin]) > 10
    off = np.abs(np.log10(filled.values / whole))
    assert off[basin].max() > 0
    assert (off <= np.log10(1 + filled.error / filled.values)).all()
    assert holds(filled, whole)


def test_a_kink_is_where_the_error_is():
    filled, whole = filled_from(lambda x, y: np.maximum(0, x + 0.3 * y - 0.2) + 0.1 * (x**2 + y**2))
    x, y = np.meshgrid(AXIS, AXIS, indexing="ij")
    distance = np.abs(x + 0.3 * y - 0.2)
    beside, far = (filled.error[0][chosen & ~filled.measured] for chosen in (distance < 0.1, distance > 0.6))
    assert np.median(beside) > 4 * np.median(far)
    assert holds(filled, whole)


def test_no_more_than_twice_the_tolerance_is_stated_for_smooth_functions():
    for function in (bowl, valley, saddle):
        filled, whole = filled_from(function)
        assert filled.error.max() <= 0.02 * np.ptp(whole) + 1e-12
        assert holds(filled, whole)


def test_steps_have_an_error_of_their_own_and_do_not_decide_where_to_measure():
    def steps(x, y):
        return np.round(4 * (x + 0.5 * y)) / 8

    filled, both = filled_from(bowl, steps, smooth=(True, False))
    alone, _ = filled_from(bowl)
    assert np.array_equal(filled.measured, alone.measured)
    np.testing.assert_allclose(filled.values[0], alone.values[0], rtol=1e-6)
    np.testing.assert_allclose(filled.error[0], alone.error[0], rtol=1e-2, atol=1e-6)
    assert np.abs(filled.values[1] - both[1]).max() > 0.05
    assert holds(filled, both)
    assert both[1].min() <= filled.values[1].min() <= filled.values[1].max() <= both[1].max()


def test_the_error_of_an_accuracy_holds_and_is_at_most_three_times_the_true_one():
    """On nineteen surfaces of twenty, and on nine of ten."""
    rng = np.random.default_rng(3)
    held, ratios = [], []
    for _ in range(40):
        filled, whole = filled_from(*classifier(rng), smooth=(True, False))
        off = np.abs(filled.values[1] - whole[1])
        held.append(bool((off <= filled.error[1]).all()))
        ratios.append(filled.error[1].max() / off.max())
    assert np.mean(held) >= 0.95
    assert np.quantile(ratios, 0.9) <= 3


def test_the_error_of_a_baseline_is_part_of_it():
    """A rough function that is the function itself leaves no difference: what is off is the baseline, filled from few
    of its nodes."""
    whole, evaluate, _ = on_grid(lambda x, y: 1 + np.maximum(0, x + 0.3 * y - 0.2))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01, rough=evaluate)
    below = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.005)
    unknown = ~filled.measured & ~below.measured
    assert filled.measured.sum() < below.measured.sum()
    assert (filled.error[0][unknown] >= 0.99 * below.error[0][unknown]).all()
    assert np.abs(filled.values - whole).max() > 1e-4
    assert holds(filled, whole)


def test_of_a_prediction_below_zero_only_the_bound_is_left():
    """Logarithms are interpolated once a low value was met: what was predicted before may be negative."""
    grid, smooth = Grid.of((AXIS, AXIS)), np.array([True])
    samples = GridSamples(grid, on_grid(valley)[1], smooth=smooth)
    interpolant = GridInterpolant(samples)
    samples.measure(grid.coarse_rows(9))
    known = interpolant.predict()
    samples.measure(np.flatnonzero(~samples.measured)[::100])
    trial = Trial(replace(known, trusted=-known.trusted), len(samples) - known.count)
    assert samples.logarithmic().all()
    bound = SURFACE_FACTORS.safety * summed_error(samples, interpolant.predict(), [trial])
    error = node_errors(interpolant, [trial])
    assert (error[~samples.measured] == bound).all()
    assert (error[samples.measured] == 0).all()


@pytest.mark.slow
def test_the_error_knows_of_kinks_between_nodes():
    """A hinge that runs askew, where the value grows several times within a grid step: splines of both powers are off
    in the same way beside it."""
    held, counts = [], []
    for seed in range(40):
        angle, shift = np.random.default_rng(seed).uniform(-0.4, 0.4, 2)
        filled, whole = filled_from(
            lambda x, y, angle=angle, shift=shift: 0.2 + 0.1 * x**2 + 30 * np.maximum(y + angle * x - shift - 0.3, 0)
        )
        held.append(holds(filled, whole))
        counts.append(int(filled.measured.sum()))
    assert np.mean(held) >= 0.95
    assert np.mean(counts) < 1000
