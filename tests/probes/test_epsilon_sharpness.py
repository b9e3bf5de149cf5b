from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas import epsilon_sharpness
from lossatlas.loss import toys
from lossatlas.parameters.directions import random_directions

A = torch.diag(torch.tensor([4.0, 1.0, -2.0, 0.5, 3.0], dtype=torch.float64))
A[0, 3] = A[3, 0] = 1.5
THETA = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0], dtype=torch.float64)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_each_increase_on_a_quadratic():
    """δᵀAθ + ½ δᵀAδ."""
    loss = toys.quadratic(A)
    result = epsilon_sharpness(loss, THETA, generator=seed(), radius=0.3, samples=40)
    directions = random_directions(loss.layout, THETA, 40, generator=seed(), normalize="layer", biases="layer")
    delta = 0.3 * directions
    assert torch.allclose(delta.norm(dim=1), 0.3 * THETA.norm())
    expected = delta @ A @ THETA + 0.5 * ((delta @ A) * delta).sum(1)
    assert result.increase.dims == ("sample",)
    assert np.allclose(result.increase, expected, rtol=1e-10, atol=1e-12)


def test_the_mean_increase_on_a_quadratic():
    """δ is uniform on a sphere of radius r‖θ‖: the mean is ½ r²‖θ‖² tr A / P."""
    result = epsilon_sharpness(toys.quadratic(A), THETA, generator=seed(1), radius=0.3, samples=20_000)
    expected = 0.5 * 0.09 * float(THETA @ THETA) * float(A.trace()) / 5
    assert abs(float(result["mean_increase"]) - expected) < 4 * float(result.mean_increase_error)
    assert float(result.mean_increase_error) < expected / 5


def test_the_mean_error_is_calibrated():
    """400 repeats: the spread of the means is the mean of the errors, within 4 χ² deviations."""
    runs = [epsilon_sharpness(toys.quadratic(A), THETA, generator=seed(number), samples=10) for number in range(400)]
    means = np.array([float(run["mean_increase"]) for run in runs])
    errors = np.array([float(run.mean_increase_error) for run in runs])
    assert means.var(ddof=1) == pytest.approx((errors**2).mean(), rel=0.3)


def test_maximum_mean_and_error_are_those_of_the_samples(loss, theta):
    result = epsilon_sharpness(loss, theta, generator=seed(), samples=12)
    increase = result.increase.values
    assert float(result.maximum) == increase.max()
    assert float(result["mean_increase"]) == pytest.approx(sum(increase) / 12, rel=1e-12)
    spread = sum((increase - increase.mean()) ** 2) / 11
    assert float(result.mean_increase_error) == pytest.approx((spread / 12) ** 0.5, rel=1e-12)
    assert result.attrs == {
        "probe": "epsilon_sharpness", "radius": 0.05, "samples": 12, "evaluations": 13, "buffers": "stored",
        "weighted_by": "examples",
    }  # fmt: skip


def test_every_tensor_moves_by_its_share(loss, theta):
    """The increase is the loss at θ + δ, one by one, with ‖δ_l‖ = r‖θ_l‖ for every tensor, biases included."""
    result = epsilon_sharpness(loss, theta, generator=seed(), radius=0.2, samples=6)
    directions = random_directions(loss.layout, theta, 6, generator=seed(), normalize="layer", biases="layer")
    for sample, direction in enumerate(directions):
        for name, where in loss.layout.slices.items():
            assert float(direction[where].norm()) == pytest.approx(float(theta[where].norm()), rel=1e-12), name
        expected = loss(theta + 0.2 * direction) - loss(theta)
        assert float(result.increase[sample]) == pytest.approx(expected.item(), rel=1e-9, abs=1e-13)
        change = loss.evaluate((theta + 0.2 * direction)[None])["accuracy"] - loss.evaluate(theta[None])["accuracy"]
        assert float(result.accuracy_change[sample]) == pytest.approx(change.item(), abs=1e-13)


def test_no_radius_no_increase(loss, theta):
    result = epsilon_sharpness(loss, theta, generator=seed(), radius=0.0, samples=5)
    assert np.allclose(result.increase, 0, atol=1e-15)
    assert np.allclose(result.accuracy_change, 0, atol=1e-15)


def test_a_decrease_is_kept_signed():
    result = epsilon_sharpness(toys.quadratic(-torch.eye(3)), torch.ones(3), generator=seed(), samples=50)
    assert float(result.increase.min()) < 0 < float(result.maximum)
    cap = epsilon_sharpness(toys.quadratic(-torch.ones(1, 1)), torch.ones(1), generator=seed(), radius=3.0, samples=20)
    assert np.allclose(np.unique(cap.increase), [-7.5, -1.5], atol=1e-6)  # ½ − ½ (1 ± 3)²


def test_nan_is_not_passed_over(loss, theta):
    broken = theta.clone()
    broken[3] = torch.nan
    result = epsilon_sharpness(loss, broken, generator=seed(), samples=4)
    assert np.isnan([result.maximum, result["mean_increase"], result.mean_increase_error]).all()
