"""Weight decay and other terms of θ alone, apart from the data loss and in the objective."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lossatlas import epsilon_sharpness, random_line
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy
from lossatlas.loss.penalty import Penalty
from lossatlas.operators.hessian import dense_hessian


@pytest.fixture
def decayed(mlp, ragged):
    return Loss.of(mlp, ragged, nn.CrossEntropyLoss(), metrics={"accuracy": accuracy}, weight_decay=0.3)


def test_loss_penalty_and_objective_stand_apart(loss, decayed, theta):
    points = torch.stack([theta, 2 * theta, loss.theta])
    values, data = decayed.evaluate(points), loss.evaluate(points)
    expected = 0.15 * (points**2).sum(1)
    assert list(values) == ["loss", "accuracy", "penalty", "objective"] == list(decayed.names)
    assert torch.equal(values["loss"], data["loss"])
    assert torch.equal(values["accuracy"], data["accuracy"])
    assert torch.allclose(values["penalty"], expected, rtol=1e-14)
    assert torch.equal(values["objective"], values["loss"] + values["penalty"])
    assert torch.equal(decayed(points), values["objective"])


def test_weight_decay_shifts_every_eigenvalue(loss, decayed, theta):
    """H + λ1, whatever the split into batches."""
    plain = torch.linalg.eigvalsh(dense_hessian(loss, theta))
    assert torch.allclose(torch.linalg.eigvalsh(dense_hessian(decayed, theta)), plain + 0.3, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_weight_decay_is_the_optimizers(loss, decayed, theta):
    assert torch.allclose(decayed.gradient(theta), loss.gradient(theta) + 0.3 * theta, rtol=1e-12)
    assert sum(float(share) for share in decayed.batch_losses(theta)) == pytest.approx(decayed(theta).item(), rel=1e-13)


def test_any_function_of_theta(loss, mlp, ragged, theta):
    l1 = Loss.of(mlp, ragged, nn.CrossEntropyLoss(), weight_decay=0.1, penalty=lambda t: 0.01 * t.abs().sum())
    expected = loss(theta) + 0.05 * (theta**2).sum() + 0.01 * theta.abs().sum()
    assert l1(theta).item() == pytest.approx(expected.item(), rel=1e-13)
    assert torch.allclose(l1.gradient(theta), loss.gradient(theta) + 0.1 * theta + 0.01 * theta.sign(), rtol=1e-12)
    assert l1.attrs["penalty_function"] == "<lambda>"


def test_only_the_chosen_parameters_decay(mlp, ragged):
    loss = Loss.of(mlp, ragged, nn.CrossEntropyLoss(), params="2.*", weight_decay=2.0)
    squares = sum(float((p.detach() ** 2).sum()) for p in mlp[2].parameters())
    assert loss.evaluate(loss.theta[None])["penalty"].item() == pytest.approx(squares, rel=1e-13)


def test_results_hold_both_with_units(decayed, theta, generator):
    line = random_line({"train": decayed}, theta, generator=generator, steps=3)
    quantities = {"loss", "accuracy", "penalty", "objective"}
    assert set(line.data_vars) == quantities | {f"{name}_error" for name in quantities} | {"measured"}
    assert line.objective.units == line.penalty.units == "criterion"
    assert line.attrs["weight_decay"] == 0.3
    sharp = epsilon_sharpness(decayed, theta, generator=generator, samples=2)
    assert (sharp.objective_even.units, sharp.accuracy_odd.units) == ("criterion", "1")


def test_a_large_theta_is_squared_piece_by_piece(monkeypatch, generator):
    theta = torch.randn(10, generator=generator, requires_grad=True)
    whole = Penalty(0.5)(theta)
    monkeypatch.setattr("lossatlas.hardware.FLOAT64_PARAMETERS", 3)
    assert Penalty(0.5)(theta).item() == pytest.approx(whole.item(), rel=1e-15)
    assert torch.allclose(torch.autograd.grad(Penalty(0.5)(theta), theta)[0], 0.5 * theta)


def test_at_the_origin_too():
    loss = Loss.of(nn.Linear(1, 1, bias=False), (torch.ones(1, 1), torch.zeros(1, 1)), nn.MSELoss(), weight_decay=1.0)
    assert dense_hessian(loss, torch.zeros(1)).item() == 3


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_no_such_weight_decay(value):
    with pytest.raises(ValueError, match=r"weight_decay is .*: wanted a finite number from 0 up"):
        Loss.of(nn.Linear(1, 1), (torch.ones(1, 1), torch.ones(1, 1)), nn.MSELoss(), weight_decay=value)


def test_a_penalty_that_is_no_scalar_is_an_error(mlp, moons):
    with pytest.raises(ValueError, match=r"penalty\(θ\) is \(27,\) for θ of shape \(27,\): wanted a scalar tensor"):
        Loss.of(mlp, moons, nn.CrossEntropyLoss(), penalty=lambda t: t**2)


def test_a_loss_without_one_has_none():
    assert toys.bowl(2).names == ("loss",)
    assert "weight_decay" not in toys.bowl(2).attrs
