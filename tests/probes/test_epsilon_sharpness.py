"""Even and odd parts of random steps: closed forms on quadratics, plain evaluation, a dense Hessian, rescalings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import epsilon_sharpness
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import dense_hessian
from lossatlas.parameters.directions import adaptive_directions, random_directions
from lossatlas.probes import BY_NAME
from lossatlas.results.storage import from_json, to_json

A = torch.diag(torch.tensor([4.0, 1.0, -2.0, 0.5, 3.0], dtype=torch.float64))
A[0, 3] = A[3, 0] = 1.5
THETA = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0], dtype=torch.float64)
FEW = {"samples": 6, "curve_samples": 3}


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def by_layer(loss, theta, count, generator):
    return random_directions(loss.layout, theta, count, generator=generator, normalize="layer", biases="layer")


def at(result, radius: float | None = None):
    return result.sel(radius=result.attrs["radius"] if radius is None else radius)


def test_both_parts_of_every_step_on_a_quadratic():
    """½ δᵀAδ and δᵀAθ."""
    loss = toys.quadratic(A)
    result = epsilon_sharpness(loss, THETA, generator=seed(), radius=0.3, samples=40)
    delta = 0.3 * by_layer(loss, THETA, 40, seed())
    assert torch.allclose(delta.norm(dim=1), 0.3 * THETA.norm())
    assert result.even.dims == result.odd.dims == ("sample",)
    assert np.allclose(result.even, 0.5 * ((delta @ A) * delta).sum(1), rtol=1e-10, atol=1e-12)
    assert np.allclose(result.odd, delta @ A @ THETA, rtol=1e-10, atol=1e-12)


def test_the_means_on_a_quadratic():
    """½ r² Σ ‖θₗ‖² tr Aₗₗ / Pₗ, of one tensor here, at every radius; in proportion to the weights ½ r² Σ θᵢ² Aᵢᵢ."""
    result = epsilon_sharpness(
        toys.quadratic(A), THETA, generator=seed(1), radius=0.3, samples=4000, factors=(0.5, 2), curve_samples=4000
    )
    assert result.radius.values.tolist() == [0.15, 0.3, 0.6]
    for radius in (0.15, 0.3, 0.6):
        expected = 0.5 * radius**2 * float(THETA @ THETA) * float(A.trace()) / 5
        found = at(result, radius)
        assert abs(float(found.mean_even) - expected) < 4 * float(found.mean_even_error)
        assert float(found.mean_even_error) < expected / 20
        slope = radius * float(THETA.norm() * (A @ THETA).norm()) / 5**0.5  # of a direction on the sphere
        assert float(found.odd_size) == pytest.approx(slope, rel=0.05)
    adaptive = 0.5 * 0.09 * float(THETA.square() @ A.diagonal())
    assert abs(float(result.adaptive_mean) - adaptive) < 4 * float(result.adaptive_mean_error)
    assert float(result.adaptive_mean_error) < abs(adaptive) / 5


def test_the_means_of_a_network_are_those_of_its_dense_hessian(loss, theta):
    """To the second order, tensor by tensor: off-diagonal blocks have no part in it."""
    result = epsilon_sharpness(loss, theta, generator=seed(), radius=1e-3, samples=3000, curve_samples=3000, factors=())
    hessian = dense_hessian(loss, theta)
    by_tensor = [
        float(theta[part].square().sum() * hessian[part, part].trace()) / (part.stop - part.start)
        for part in loss.layout.slices.values()
    ]
    expected, error = 0.5e-6 * sum(by_tensor), float(at(result).mean_even_error)
    assert abs(float(at(result).mean_even) - expected) < 4 * error < abs(expected) / 5
    adaptive = 0.5e-6 * float(theta.square() @ hessian.diagonal())
    assert abs(float(result.adaptive_mean) - adaptive) < 4 * float(result.adaptive_mean_error) < abs(adaptive) / 5
    delta = 1e-3 * by_layer(loss, theta, 3000, seed())
    assert np.allclose(result.even, 0.5 * ((delta @ hessian) * delta).sum(1), rtol=0.02, atol=1e-9)
    assert np.allclose(result.odd, delta @ loss.gradient(theta), rtol=1e-3, atol=1e-8)


def test_the_error_of_the_mean_is_calibrated():
    """400 repeats: the spread of the means is the mean of the errors, within 4 χ² deviations."""
    runs = [
        epsilon_sharpness(toys.quadratic(A), THETA, generator=seed(number), samples=10, factors=())
        for number in range(400)
    ]
    for mean in ("mean_even", "adaptive_mean"):
        means, errors = (np.array([float(run[name].squeeze()) for run in runs]) for name in (mean, f"{mean}_error"))
        assert means.var(ddof=1) == pytest.approx((errors**2).mean(), rel=0.3)


def test_the_other_side_has_the_same_even_part_and_the_opposite_odd_one(loss, theta, monkeypatch):
    one = epsilon_sharpness(loss, theta, generator=seed(), **FEW)
    drawn = la.probes.sharpness.epsilon_sharpness.random_directions
    monkeypatch.setattr(
        "lossatlas.probes.sharpness.epsilon_sharpness.random_directions",
        lambda *given, **options: -drawn(*given, **options),
    )
    other = epsilon_sharpness(loss, theta, generator=seed(), **FEW)
    assert np.allclose(other.even, one.even, rtol=1e-10, atol=1e-15)
    assert np.allclose(other.odd, -one.odd, rtol=1e-10, atol=1e-15)
    for name in ("mean_even", "maximum", "gradient_share", "lowered"):
        assert np.allclose(other[name], one[name], rtol=1e-9), name


def test_every_number_is_that_of_plain_evaluation(loss, theta):
    result = epsilon_sharpness(loss, theta, generator=seed(), radius=0.2, **FEW)
    chance = seed()
    directions = by_layer(loss, theta, 6, chance)
    for direction in directions:
        for name, where in loss.layout.slices.items():
            assert float(direction[where].norm()) == pytest.approx(float(theta[where].norm()), rel=1e-12), name
    here = loss.evaluate(theta[None])
    for radius, count in ((0.05, 3), (0.1, 3), (0.2, 6), (0.4, 3)):
        sides = [loss.evaluate(theta + sign * radius * directions[:count]) for sign in (1, -1)]
        rises = np.stack([(side["loss"] - here["loss"]).numpy() for side in sides])
        even, odd = rises.mean(0), (rises[0] - rises[1]) / 2
        found = at(result, radius)
        assert float(found.mean_even) == pytest.approx(even.mean(), rel=1e-9)
        assert float(found.mean_even_error) == pytest.approx(even.std(ddof=1) / count**0.5, rel=1e-9)
        assert float(found.odd_size) == pytest.approx((odd**2).mean() ** 0.5, rel=1e-9)
        assert float(found.lowered) == pytest.approx((rises < 0).mean())
        if radius == 0.2:
            assert np.allclose(result.even, even, rtol=1e-9, atol=1e-14)
            assert float(result.maximum) == pytest.approx(rises.max(), rel=1e-10)
            draw = rises.max(0).argmax()
            assert float(result.gradient_share) == pytest.approx(abs(odd[draw]) / rises.max(), rel=1e-9)
            accuracy = [(side["accuracy"] - here["accuracy"]).numpy() for side in sides]
            assert np.allclose(result.accuracy_even, (accuracy[0] + accuracy[1]) / 2, atol=1e-13)
            assert np.allclose(result.accuracy_odd, (accuracy[0] - accuracy[1]) / 2, atol=1e-13)
    steps = 0.2 * adaptive_directions(loss.layout, theta, 3, generator=chance)
    even = (loss(theta + steps) + loss(theta - steps)) / 2 - loss(theta)
    assert float(result.adaptive_mean) == pytest.approx(float(even.mean()), rel=1e-9)
    assert float(result.adaptive_mean_error) == pytest.approx(float(even.std()) / 3**0.5, rel=1e-9)


def test_steps_in_proportion_to_the_weights_are_as_long_as_the_others_on_average(loss, theta):
    steps = adaptive_directions(loss.layout, theta, 20_000, generator=seed())
    for name, where in loss.layout.slices.items():
        squares = steps[:, where].square().sum(1)
        assert float(squares.mean()) == pytest.approx(float(theta[where].square().sum()), rel=0.05), name


def test_what_it_costs(loss, theta):
    result = epsilon_sharpness(loss, theta, generator=seed())
    assert result.attrs == {
        "probe": "epsilon_sharpness", "radius": 0.05, "samples": 50, "evaluations": 262, "buffers": "stored",
        "weighted_by": "examples",
    }  # fmt: skip
    assert result.sizes == {"sample": 50, "radius": 4}


def test_a_step_that_lowers_the_loss_everywhere():
    """½ − ½ (1 ± 3)² of −½θ² at 1: the even part is −4.5 and the odd one 3, so that one side rises by nothing."""
    cap = toys.quadratic(-torch.ones(1, 1, dtype=torch.float64))
    result = epsilon_sharpness(cap, torch.ones(1), generator=seed(), radius=3.0, factors=(), **FEW)
    assert np.allclose(result.even, -4.5)
    assert np.allclose(abs(result.odd), 3)
    assert float(result.maximum) == pytest.approx(-1.5)
    assert float(result.lowered.squeeze()) == 1
    assert math.isnan(float(result.gradient_share))
    small = epsilon_sharpness(cap, torch.ones(1), generator=seed(), radius=0.1, factors=(), **FEW)
    assert float(small.gradient_share) == pytest.approx(0.1 / (0.1 - 0.005))  # curvature takes something away
    assert float(small.lowered.squeeze()) == 0.5


def test_nan_is_not_passed_over(loss, theta):
    broken = theta.clone()
    broken[3] = torch.nan
    result = epsilon_sharpness(loss, broken, generator=seed(), **FEW)
    for name in ("mean_even", "mean_even_error", "lowered", "maximum", "gradient_share", "adaptive_mean"):
        assert np.isnan(result[name]).all(), name
    assert not bool(result.stationary)
    assert result.attrs["not_finite"] == 31 + 7
    assert "the gradient is not known" in BY_NAME["epsilon_sharpness"].tell(result, "").lines[-1]


def test_a_loss_without_derivatives_is_measured_too(mlp, moons, theta):
    def wrong(output, target):
        return (output.argmax(1) != target).double().mean()

    loss = Loss.of(mlp, moons, wrong)
    result = epsilon_sharpness(loss, theta, generator=seed(), radius=0.5, **FEW)
    assert np.isfinite(result.even).all()
    assert np.isnan([result.gradient_norm, result.gradient_norm_relative]).all()
    assert not bool(result.stationary)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, "samples is 1: wanted at least 2"),
        ({"curve_samples": 1}, "curve_samples is 1: wanted at least 2"),
        ({"radius": 0.0}, "radius is 0.0 and factors are .*: wanted numbers above 0"),
        ({"factors": (0.5, 0.5)}, "wanted numbers above 0, each once"),
        ({"factors": (-1.0,)}, "wanted numbers above 0, each once"),
    ],
)
def test_what_cannot_be_measured(loss, theta, options, words):
    with pytest.raises(ValueError, match=words):
        epsilon_sharpness(loss, theta, generator=seed(), **options)


def test_it_survives_as_json(loss, theta):
    """With its radii, and what each variable means."""
    result = epsilon_sharpness({"train": loss, "test": loss}, theta, generator=seed(), **FEW)
    back = from_json(to_json(result))
    assert back.identical(result)
    assert back.mean_even.sel(radius=0.1).dims == ("split",)
    assert back.mean_even.attrs["invariant_to"] == "layer"


def test_what_is_told_says_how_much_of_it_is_slope(loss, theta):
    result = epsilon_sharpness({"train": loss}, theta, generator=seed())
    told = BY_NAME["epsilon_sharpness"].tell(result, "")
    assert "5 % of its norm at random, to both sides, raises the train loss by" in told.sentence
    assert "in 100 steps, of which the slope is" in told.sentence
    assert [row[0] for row in told.tables[1].rows] == ["train, 1.25 %", "train, 2.5 %", "train, 5 %", "train, 10 %"]
    assert told.note == "Not at a stationary point of the train loss."


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_only_the_adaptive_mean_is_that_of_the_function_where_units_are_rescaled(moons, activation):
    network = nn.Sequential(nn.Linear(2, 4), activation(), nn.Linear(4, 3), activation(), nn.Linear(3, 2)).double()
    loss = Loss.of(network, moons, nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=seed(3), dtype=torch.float64)
    units = torch.tensor([0.2, 5.0, 1.0, 3.0], dtype=torch.float64)
    rest = torch.ones(3 + 6 + 2, dtype=torch.float64)  # the second layer's bias, and the third layer
    scale = torch.cat([units.repeat_interleave(2), units, (1 / units).repeat(3), rest])
    before, after = (epsilon_sharpness(loss, t, generator=seed(), **FEW) for t in (theta, theta * scale))
    assert float(after.adaptive_mean) == pytest.approx(float(before.adaptive_mean), rel=1e-8)
    assert abs(float(at(after).mean_even / at(before).mean_even) - 1) > 0.2
