from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossatlas import accuracy, linear_connectivity
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss

PEAK = 0.37


class DoubleWell(nn.Module):
    """L(x, y) = 100 ∫ x (x − p) (x − 1) dx + y²: wells at x = 0 and x = 1, a saddle at x = p between."""

    def __init__(self, peak: float = PEAK) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.peak = peak

    def forward(self, inputs: Tensor) -> Tensor:
        return height(self.theta[0], self.peak) + self.theta[1] ** 2 + 0 * inputs.sum()


def height(x, peak=PEAK):
    return 100 * (x**4 / 4 - (1 + peak) * x**3 / 3 + peak * x**2 / 2)


def well(peak: float = PEAK) -> Loss:
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    return Loss.of(DoubleWell(peak), (nothing, nothing), lambda output, _: output)


A, B = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
BARRIER = height(PEAK) - max(height(0.0), height(1.0))


def test_the_barrier_of_a_double_well():
    """Three intervals of 1/24 become 1/120, then 1/600: the peak is at most half of that away, |L''| = 23.3 there."""
    result = linear_connectivity(well(), A, B)
    bound = 100 * PEAK * (1 - PEAK) / 2 * (0.5 / 600) ** 2
    assert 0 <= BARRIER - float(result.barrier) <= 1.1 * bound


def test_the_excess_is_above_the_line_between_the_ends():
    result = linear_connectivity(well(), A, B, refinements=4)
    x = np.linspace(0, 1, 100_001)
    expected = (height(x) - x * height(1.0)).max()
    assert expected > BARRIER + 0.5  # L(1) < L(0): the two definitions differ
    assert float(result.excess) == pytest.approx(expected, rel=1e-6)


def test_barrier_and_excess_from_the_curve_itself(loss, theta):
    result = linear_connectivity(loss, loss.theta, -theta, steps=9)
    alpha, values = result.alpha.values, result.loss.values
    assert float(result.barrier) == values.max() - max(values[0], values[-1])
    line = (1 - alpha) * values[0] + alpha * values[-1]
    assert float(result.excess) == pytest.approx((values - line).max(), abs=1e-14)
    for a, value in zip(alpha, values, strict=True):
        assert value == pytest.approx(loss((1 - a) * loss.theta - a * theta).item(), rel=1e-12)


def test_refining_raises_the_barrier_towards_the_true_peak():
    found = [linear_connectivity(well(), A, B, steps=5, refinements=n) for n in range(4)]
    barriers = [float(result.barrier) for result in found]
    assert barriers == sorted(barriers)
    assert barriers[0] < barriers[1] < BARRIER + 1e-12
    step = 0.25
    for n, barrier in enumerate(barriers):
        assert 0 <= BARRIER - barrier + 1e-12 <= 1.3 * 100 * PEAK * (1 - PEAK) / 2 * (step / 5**n / 2) ** 2 + 1e-12
    for before, after in itertools.pairwise(found):
        assert float(after.barrier_resolution) == float(after.barrier) - float(before.barrier)
        assert set(before.alpha.values) < set(after.alpha.values)


def test_alpha_rises_and_every_point_is_counted():
    result = linear_connectivity(well(), A, B)
    assert (np.diff(result.alpha) > 1e-6).all()
    assert (result.alpha[0], result.alpha[-1]) == (0, 1)
    assert result.attrs["evaluations"] == result.sizes["alpha"] > 25
    plain = linear_connectivity(well(), A, B, refinements=0)
    assert np.allclose(plain.alpha, np.linspace(0, 1, 25), atol=1e-15)


def test_reversed_ends_have_the_same_barrier():
    there, back = linear_connectivity(well(), A, B), linear_connectivity(well(), B, A)
    assert float(back.barrier) == pytest.approx(float(there.barrier), rel=1e-9)
    assert float(back.excess) == pytest.approx(float(there.excess), rel=1e-9)


@pytest.mark.parametrize("end", [1.0, -3.0])
def test_a_convex_loss_has_neither_barrier_nor_excess(end):
    loss = toys.bowl(2)
    result = linear_connectivity(loss, torch.tensor([1.0, 2.0]), torch.tensor([end, 0.0]))
    assert float(result.barrier) == 0
    assert float(result.excess) == 0
    assert float(result.barrier_resolution) == 0


def test_each_split_has_its_own_barrier():
    """Peaks at different places: both are refined."""
    losses = {"train": well(0.37), "test": well(0.61)}
    result = linear_connectivity(losses, A, B, steps=9)
    assert result.loss.dims == ("split", "alpha")
    for split, peak in (("train", 0.37), ("test", 0.61)):
        expected = height(peak, peak) - max(0.0, height(1.0, peak))
        assert float(result.barrier.sel(split=split)) == pytest.approx(expected, rel=1e-4)


def test_nan_on_the_path_is_a_nan_barrier():
    class Hole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return ((self.x - 0.5) ** 2 - 0.01).sqrt().sum() + 0 * inputs.sum()

    loss = Loss.of(Hole(), (torch.zeros(1, 1), torch.zeros(1)), lambda output, _: output)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    result = linear_connectivity(loss, *ends, steps=5)
    assert np.isnan(result.barrier)
    assert np.isnan(result.excess)
    assert np.isfinite(result.loss[[0, -1]]).all()


def test_metrics_come_along(loss, mlp, moons, theta):
    module = mlp
    result = linear_connectivity(loss, loss.theta, theta, steps=5)
    nn.utils.vector_to_parameters(theta, module.parameters())
    assert float(result.accuracy[-1]) == pytest.approx(float(accuracy(module(moons[0]), moons[1])), abs=1e-12)


def test_wrong_ends_and_steps_are_errors():
    with pytest.raises(ValueError, match="steps is 2: wanted at least 3"):
        linear_connectivity(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=2)
    with pytest.raises(ValueError, match="end has 3 parameters, start has 2"):
        linear_connectivity(toys.bowl(2), torch.zeros(2), torch.ones(3))
