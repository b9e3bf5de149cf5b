from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas import interpolate
from lossatlas.loss import toys

A = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.float64)
START = torch.tensor([1.0, -0.5], dtype=torch.float64)
END = torch.tensor([-2.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("steps", [2, 3, 8, 51])
def test_a_quadratic_in_closed_form(steps):
    result = interpolate(toys.quadratic(A), START, END, steps=steps)
    assert result.loss.dims == ("alpha",)
    assert result.attrs["evaluations"] == steps
    assert np.allclose(result.alpha, np.arange(steps) / (steps - 1), atol=1e-15)
    for alpha in result.alpha.values:
        point = (1 - alpha) * START.numpy() + alpha * END.numpy()
        assert float(result.loss.sel(alpha=alpha)) == pytest.approx(
            0.5 * point @ A.numpy() @ point, rel=1e-12, abs=1e-13
        )


def test_reversed_ends_reverse_the_curve(loss, theta):
    there, back = interpolate(loss, loss.theta, theta, steps=8), interpolate(loss, theta, loss.theta, steps=8)
    assert np.allclose(back.loss, there.loss[::-1], rtol=1e-12)
    assert np.allclose(back.accuracy, there.accuracy[::-1], rtol=1e-15)


def test_both_ends_are_the_losses_of_the_ends(loss, theta):
    result = interpolate(loss, loss.theta, theta, steps=4)
    assert float(result.loss[0]) == pytest.approx(loss(loss.theta).item(), rel=1e-14)
    assert float(result.loss[-1]) == pytest.approx(loss(theta).item(), rel=1e-14)


def test_a_fine_curve_comes_from_few_points(loss, theta):
    """Splines through what was measured, right to within the stated error; a line of few points is measured whole."""
    every, few = (interpolate(loss, loss.theta, theta, steps=201, exact=exact) for exact in (True, False))
    measured = few.measured.values
    assert few.attrs["evaluations"] == measured.sum() < 80
    assert np.allclose(few.loss[measured], every.loss[measured], rtol=1e-12)
    off = np.abs(few.loss - every.loss)
    assert off.max() > 0
    assert (off <= few.loss_error + 1e-12).all()
    whole = interpolate(loss, loss.theta, theta, steps=9, exact=False)
    assert whole.measured.all()
    assert np.allclose(whole.loss, every.loss[::25], rtol=1e-12)


def test_equal_ends_give_a_flat_line():
    assert np.ptp(interpolate(toys.quadratic(A), START, START, steps=9).loss.values) < 1e-15


def test_wrong_ends_and_steps_are_errors():
    with pytest.raises(ValueError, match="end has 3 parameters, start has 2"):
        interpolate(toys.bowl(2), torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="steps is 1: wanted at least 2"):
        interpolate(toys.bowl(2), torch.zeros(2), torch.zeros(2), steps=1)
    with pytest.raises(ValueError, match="but the module has 2 parameters"):
        interpolate(toys.bowl(2), torch.zeros(3), torch.ones(3))
