"""Where a point stands: closed forms, the rule, and that every probe of curvature and sharpness says it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.example_gradients import mean_gradient_norm
from lossatlas.probes import BY_NAME
from lossatlas.probes.probe import Told
from lossatlas.probes.stationarity import DECREASE_BOUND, GRADIENT_BOUND, RULE, is_stationary, on_a_slope, standing
from tests.conftest import seeded

PROBES = {
    "spectrum": {"k": 2, "samples": 2},
    "spectral_density": {"k": 2, "draws": 2, "steps": 4},
    "block_spectrum": {"k": 2, "samples": 2},
    "eigenvector_plane": {"steps": 3, "radius": 0.1},
    "epsilon_sharpness": {"samples": 3, "curve_samples": 2},
}


def probed(name: str, losses, theta, **options):
    return getattr(la, name)(losses, theta, generator=torch.Generator().manual_seed(0), **PROBES[name], **options)


class Cube(torch.autograd.Function):
    """x³, without `setup_context`: `vmap` does not take it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class CubedNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2).double()

    def forward(self, x):
        return Cube.apply(self.linear(x))


@pytest.fixture
def decayed(moons) -> Loss:
    """A small network whose objective has a minimum that L-BFGS reaches."""
    network = seeded(lambda: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double())
    return Loss.of(network, moons, nn.CrossEntropyLoss(), weight_decay=0.01)


def descended(loss: Loss, steps: int) -> torch.Tensor:
    theta = loss.theta.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=steps, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        theta.grad = loss.gradient(theta.detach())
        return loss(theta.detach())

    optimizer.step(closure)
    return theta.detach()


def test_on_a_quadratic():
    """g = Aθ; a step along the top eigenvector of ½ θᵀAθ takes all of the loss at a point on it."""
    loss = toys.quadratic(torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)))
    on_top = standing(loss, torch.tensor([3.0, 0.0], dtype=torch.float64), curvature=4.0)
    assert (on_top["gradient_norm"], on_top["gradient_decrease"]) == (pytest.approx(12), pytest.approx(1))
    beside = standing(loss, torch.tensor([0.0, 3.0], dtype=torch.float64), curvature=4.0)
    assert (beside["gradient_norm"], beside["gradient_decrease"]) == (pytest.approx(3), pytest.approx(9 / 8 / 4.5))
    assert math.isnan(on_top["gradient_norm_relative"])  # of one example
    at_rest = standing(loss, torch.zeros(2, dtype=torch.float64), curvature=4.0)
    assert at_rest == {
        "gradient_norm": 0.0, "gradient_norm_relative": 0.0, "gradient_decrease": 0.0, "stationary": True
    }  # fmt: skip
    assert standing(loss, torch.ones(2).double(), curvature=-1.0)["gradient_decrease"] == math.inf  # a dome
    assert math.isnan(standing(loss, torch.ones(2).double(), curvature=math.nan)["gradient_decrease"])


def test_the_gradient_is_that_of_all_examples_over_that_of_a_mean_one(loss, theta):
    found = standing(loss, theta)
    gradient = loss.gradient(theta)
    assert found["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-12)
    relative = float(gradient.norm()) / mean_gradient_norm(loss, theta)
    assert found["gradient_norm_relative"] == pytest.approx(relative, rel=1e-12)
    assert "gradient_decrease" not in found
    assert standing(loss, theta, gradient=2 * gradient)["gradient_norm"] == pytest.approx(2 * found["gradient_norm"])


@pytest.mark.parametrize(
    ("relative", "decrease", "is_one"),
    [
        (GRADIENT_BOUND, DECREASE_BOUND, True),
        (GRADIENT_BOUND * 1.01, 0.0, False),
        (0.0, DECREASE_BOUND * 1.01, False),
        (math.nan, 0.0, True),
        (0.0, math.nan, True),
        (math.nan, math.nan, False),
        (math.inf, 0.0, False),
    ],
)
def test_the_rule(relative, decrease, is_one):
    assert is_stationary(relative, decrease) is is_one
    assert f"at most {GRADIENT_BOUND:g}" in RULE
    assert f"at most {DECREASE_BOUND:g}" in RULE


def test_the_end_of_descent_is_stationary_and_the_way_there_is_not(decayed):
    for steps, is_one in ((3, False), (500, True)):
        theta = descended(decayed, steps)
        found = probed("spectrum", decayed, theta)
        assert bool(found.stationary) is is_one
        assert bool(probed("epsilon_sharpness", decayed, theta).stationary) is is_one
    assert float(found.gradient_norm_relative) < 1e-4


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_of_curvature_and_sharpness_says_it(name, decayed, moons):
    losses = {"train": decayed, "test": Loss.of(decayed.module, (moons[0][:11], moons[1][:11]), nn.CrossEntropyLoss())}
    theta = descended(decayed, 500)
    result = probed(name, losses, theta)
    for split, loss in losses.items():
        found, part = standing(loss, theta), result.sel(split=split)
        assert float(part.gradient_norm) == pytest.approx(found["gradient_norm"], rel=1e-6)
        assert float(part.gradient_norm_relative) == pytest.approx(found["gradient_norm_relative"], rel=1e-6)
        if "gradient_decrease" in result:
            steep = float(part.eigenvalues[0])
            share = found["gradient_norm"] ** 2 / 2 / steep / float(loss(theta))
            assert float(part.gradient_decrease) == pytest.approx(share, rel=1e-3)
    assert result.stationary.values.tolist() == [True, False]
    assert {"units", "long_name"} <= set(result.gradient_norm.attrs)
    assert ("gradient_decrease" in result) == (name in ("spectrum", "spectral_density"))
    told = BY_NAME[name].tell(result, "")
    assert "on test the gradient is" in told.lines[-1]
    assert "train" not in told.lines[-1]
    assert told.note == "Not at a stationary point of the test loss."
    assert told.sentence == "" or told.sentence.endswith(told.note)
    assert all(rows.caption.endswith(told.note) for rows in told.tables)


def test_of_a_module_that_vmap_refuses_the_same_is_known_without_a_warning(moons):
    """Against torch's own gradients, one example after the other. Warnings are errors."""
    network = seeded(CubedNetwork)
    losses = [nn.functional.cross_entropy(network(x[None]), y[None]) for x, y in zip(*moons, strict=True)]
    rows = torch.stack([torch.cat([part.flatten() for part in torch.autograd.grad(one, [*network.parameters()])])
                        for one in losses])  # fmt: skip
    level = float(torch.stack(losses).detach().mean())
    relative = float(rows.mean(0).norm() / rows.norm(dim=1).mean())
    loss = Loss.of(network, moons, nn.CrossEntropyLoss())
    found = probed("spectrum", loss, loss.theta)
    assert float(found.gradient_norm_relative) == pytest.approx(relative, rel=1e-10)
    decrease = float(rows.mean(0).norm()) ** 2 / 2 / float(found.eigenvalues[0]) / level
    assert float(found.gradient_decrease) == pytest.approx(decrease, rel=1e-6)
    with pytest.warns(UserWarning, match="one by one") as told:  # of the steps, as every probe of many points says it
        found = probed("epsilon_sharpness", loss, loss.theta)
    assert len(told) == 1
    assert float(found.gradient_norm_relative) == pytest.approx(relative, rel=1e-10)


@pytest.mark.parametrize("name", PROBES)
def test_nothing_is_said_of_a_stationary_point(name, decayed):
    result = probed(name, decayed, descended(decayed, 500))
    told = BY_NAME[name].tell(result, "")
    assert not told.note
    assert not any("stationary" in words for words in (told.sentence, *told.lines))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.4, 0.31, 0.0), "The point is not stationary: the gradient is 0.31 of a single example's."),
        ((0.4, 0.01, 0.2), "a step along the steepest curvature promises 20.0 % of the loss."),
        ((0.4, math.nan, math.nan), "the gradient has the norm 0.4, and no single example's is known to compare"),
        ((math.nan, math.nan, math.nan), "the gradient is not known."),
    ],
)
def test_what_is_said_of_a_slope(decayed, numbers, words):
    names = ("gradient_norm", "gradient_norm_relative", "gradient_decrease")
    said = dict(zip(names, numbers, strict=True)) | {"stationary": False}
    result = probed("spectrum", decayed, decayed.theta).assign(said)
    told = on_a_slope(Told("One sentence."), result)
    assert words in told.lines[0]
    assert told.sentence == "One sentence. Not at a stationary point."


@pytest.mark.parametrize("name", PROBES)
def test_the_gradient_of_all_examples_is_taken_once(name, decayed, monkeypatch):
    taken, own = [], Loss.gradient

    def counted(self, theta):
        if self.examples == decayed.examples:
            taken.append(name)
        return own(self, theta)

    monkeypatch.setattr(Loss, "gradient", counted)
    probed(name, decayed, decayed.theta, **({} if name == "epsilon_sharpness" else {"check": False}))
    assert len(taken) == 1


def test_of_a_matrix_that_is_no_curvature_no_step_follows(loss, theta):
    """The empirical Fisher matrix has the square of its units."""
    fisher = probed("spectrum", loss, theta, matrix="fisher")
    assert math.isnan(float(fisher.gradient_decrease))
    assert not bool(fisher.stationary)
    assert np.isfinite(float(probed("spectrum", loss, theta, matrix="gauss-newton").gradient_decrease))
    assert math.isnan(float(la.spectral_density(
        loss, theta, generator=torch.Generator(), k=0, draws=2, steps=4
    ).gradient_decrease))  # fmt: skip
