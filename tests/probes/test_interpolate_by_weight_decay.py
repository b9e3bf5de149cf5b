from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas import interpolate, interpolate_by_weight_decay
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss

A = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
STARTS = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.7, -1.0]], dtype=torch.float64)
ENDS = torch.tensor([[-2.0, 3.0, 0.1], [0.5, 0.25, -0.125]], dtype=torch.float64)
DECAYS = (0.0, 0.3)


def test_every_line_is_a_quadratic_in_closed_form_and_the_penalty_stands_apart():
    result = interpolate_by_weight_decay(toys.quadratic(A), STARTS, ENDS, DECAYS, steps=7)
    assert result.loss.dims == result.penalty.dims == ("weight_decay", "alpha")
    assert tuple(result.weight_decay.values) == DECAYS
    assert result.attrs["evaluations"] == 14
    for row, weight_decay in enumerate(DECAYS):
        for alpha in result.alpha.values:
            point = (1 - alpha) * STARTS[row].numpy() + alpha * ENDS[row].numpy()
            here = result.sel(weight_decay=weight_decay, alpha=alpha)
            assert float(here.loss) == pytest.approx(0.5 * point @ A.numpy() @ point, rel=1e-12, abs=1e-13)
            assert float(here.penalty) == pytest.approx(0.5 * weight_decay * (point**2).sum(), rel=1e-12)


def test_the_penaltys_gradient_is_what_the_optimizer_adds():
    """One step of torch's SGD from θ with weight decay λ and no other gradient is −lr ∇(λ‖θ‖²/2)."""
    theta = torch.nn.Parameter(ENDS[1].clone())
    theta.grad = torch.zeros_like(theta)
    torch.optim.SGD([theta], lr=1.0, weight_decay=0.3).step()
    step = (theta.detach() - ENDS[1]).numpy()
    found = []
    for axis in torch.eye(3, dtype=torch.float64):
        ends = torch.stack([ENDS[1] - axis, ENDS[1] + axis])  # a central difference is exact on a quadratic
        found.append(float(np.diff(interpolate_by_weight_decay(
            toys.bowl(3).to(torch.float64), ends[:1], ends[1:], (0.3,), steps=2
        ).penalty[0])[0]) / 2)  # fmt: skip
    np.testing.assert_allclose(-step, found, rtol=1e-12)


def test_each_line_is_that_networks_interpolation_with_exact_ends(loss, theta):
    starts, ends = torch.stack([loss.theta, theta]), torch.stack([theta, 0.5 * theta])
    result = interpolate_by_weight_decay({"train": loss}, starts, ends, (0.1, 0.0), steps=6)
    assert result.loss.dims == ("split", "weight_decay", "alpha")
    assert result.penalty.dims == ("weight_decay", "alpha")
    for row, weight_decay in enumerate((0.1, 0.0)):
        line = result.sel(split="train", weight_decay=weight_decay)
        alone = interpolate(loss, starts[row], ends[row], steps=6)
        np.testing.assert_array_equal(line.loss, alone.loss)
        np.testing.assert_array_equal(line.accuracy, alone.accuracy)
        assert float(line.loss[0]) == pytest.approx(loss(starts[row]).item(), rel=1e-14)
        assert float(line.loss[-1]) == pytest.approx(loss(ends[row]).item(), rel=1e-14)
        assert float(line.penalty[-1]) == pytest.approx(weight_decay / 2 * float(ends[row] @ ends[row]), rel=1e-14)


def test_the_data_loss_does_not_know_the_weight_decay():
    ends = ENDS[:1].repeat(3, 1)
    starts = STARTS[:1].repeat(3, 1)
    result = interpolate_by_weight_decay(toys.quadratic(A), starts, ends, (0, 1, 100), steps=5)
    for row in (1, 2):
        np.testing.assert_array_equal(result.loss[row], result.loss[0])
    np.testing.assert_allclose(result.penalty[2], 100 * result.penalty[1], rtol=1e-14)
    assert (result.penalty[0] == 0).all()


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"penalty": lambda theta: theta.square().sum()}])
def test_a_loss_with_a_penalty_of_its_own_is_an_error(mlp, moons, theta, options):
    """Its "penalty" would be overwritten by that of each weight decay."""
    criterion = torch.nn.CrossEntropyLoss()
    losses = {"test": Loss.of(mlp, moons, criterion), "train": Loss.of(mlp, moons, criterion, **options)}
    points = torch.stack([theta, 2 * theta])
    with pytest.raises(ValueError, match="the loss has a penalty of its own: wanted one made without weight_decay"):
        interpolate_by_weight_decay(losses, points, points, (0, 0.1))


def test_what_does_not_fit_together_is_an_error():
    bowl = toys.bowl(3)
    with pytest.raises(ValueError, match=r"ends has shape \(1, 3\): wanted \(2, P\), a row for every weight decay"):
        interpolate_by_weight_decay(bowl, STARTS, ENDS[:1], DECAYS)
    for wrong in ((0.1, 0.1), (-0.1, 0.1), (0, float("nan"))):
        with pytest.raises(ValueError, match="wanted finite numbers from 0 up, no two alike"):
            interpolate_by_weight_decay(bowl, STARTS, ENDS, wrong)
    with pytest.raises(ValueError, match="wanted finite numbers from 0 up"):
        interpolate_by_weight_decay(bowl, STARTS[:0], ENDS[:0], ())
    with pytest.raises(ValueError, match="end has 2 parameters, start has 3"):
        interpolate_by_weight_decay(bowl, STARTS, ENDS[:, :2], DECAYS)
    with pytest.raises(ValueError, match="steps is 1: wanted at least 2"):
        interpolate_by_weight_decay(bowl, STARTS, ENDS, DECAYS, steps=1)
