from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from lossatlas import accuracy, load, random_line, save
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.parameters.directions import random_directions

A = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
THETA = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def seed(number: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def drawn(count: int) -> torch.Tensor:
    return random_directions(toys.bowl(3).layout, THETA, count, generator=seed(), normalize="none")


def test_a_line_through_the_origin_is_a_parabola():
    """½ α² dᵀAd, whose curvature is that of the direction."""
    d = drawn(1)[0]
    result = random_line(toys.quadratic(A), 0 * THETA, generator=seed(), normalize="none", radius=2.0, steps=9)
    assert np.allclose(result.alpha, np.linspace(-2, 2, 9))
    assert np.allclose(result.loss, 0.5 * result.alpha**2 * float(d @ A @ d), rtol=1e-12)
    assert result.attrs["evaluations"] == 9


def test_a_line_off_the_origin_has_its_slope():
    d = drawn(1)[0]
    result = random_line(toys.quadratic(A), THETA, generator=seed(), normalize="none", steps=5)
    alpha = result.alpha.values
    expected = float(THETA @ A @ THETA) / 2 + alpha * float(THETA @ A @ d) + 0.5 * alpha**2 * float(d @ A @ d)
    assert np.allclose(result.loss, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("normalize", ["filter", "layer", "none"])
@pytest.mark.parametrize("biases", ["zero", "layer"])
def test_the_centre_is_theta_and_the_line_varies(loss, theta, normalize, biases):
    line = random_line(loss, theta, generator=seed(), normalize=normalize, biases=biases, steps=5)
    assert float(line.loss.sel(alpha=0)) == pytest.approx(loss(theta).item(), rel=1e-14)
    assert len(np.unique(line.loss)) == 5
    assert line.attrs["normalize"] == normalize
    assert line.attrs["biases"] == biases


def test_a_filter_normalised_line_ignores_the_scale_of_a_layer(moons):
    """ReLU: W₁, b₁ times c and W₂ over c is the same function. Without normalisation the slice changes."""
    network = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    loss = Loss.of(network, moons, nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=seed(), dtype=torch.float64)
    tensors = loss.layout.unflatten(theta)
    scale = {"0.weight": 5.0, "0.bias": 5.0, "2.weight": 0.2, "2.bias": 1.0}
    rescaled = loss.layout.flatten({name: scale[name] * tensor for name, tensor in tensors.items()})
    assert loss(rescaled).item() == pytest.approx(loss(theta).item(), rel=1e-12)

    def curve(point, **options):
        return random_line(loss, point, generator=seed(), steps=9, **options).loss.values

    assert np.allclose(curve(rescaled), curve(theta), rtol=1e-12)
    assert np.abs(curve(rescaled, normalize="none") - curve(theta, normalize="none")).max() > 0.05


def test_an_even_number_of_steps_misses_the_centre():
    with pytest.raises(ValueError, match="steps is 4: wanted an odd number"):
        random_line(toys.bowl(3), torch.ones(3), generator=seed(), normalize="none", steps=4)


def test_every_draw_is_a_parabola_of_its_own_direction():
    """Drawn one after the other from the same generator; the first is the line that one draw gives."""
    generator = seed()
    directions = [
        random_directions(toys.bowl(3).layout, THETA, 1, generator=generator, normalize="none")[0] for _ in range(4)
    ]
    options = {"normalize": "none", "steps": 5}
    result = random_line(toys.quadratic(A), THETA, generator=seed(), draws=4, **options)
    assert result.loss.dims == ("alpha", "draw")
    assert result.attrs["evaluations"] == 20
    alpha = result.alpha.values
    for draw, d in enumerate(directions):
        expected = float(THETA @ A @ THETA) / 2 + alpha * float(THETA @ A @ d) + 0.5 * alpha**2 * float(d @ A @ d)
        np.testing.assert_allclose(result.loss.sel(draw=draw), expected, rtol=1e-12, atol=1e-13)
    assert len(np.unique(result.loss.isel(alpha=0))) == 4
    alone = random_line(toys.quadratic(A), THETA, generator=seed(), **options)
    np.testing.assert_array_equal(result.loss.sel(draw=0), alone.loss)


def test_draws_come_last_for_every_split_and_count_what_is_not_finite(loss, theta):
    result = random_line({"train": loss, "test": loss}, theta, generator=seed(), draws=3, steps=3)
    assert result.loss.dims == result.accuracy.dims == ("split", "alpha", "draw")
    np.testing.assert_allclose(result.loss.sel(alpha=0), loss(theta).item(), rtol=1e-14)
    assert "not_finite" not in result.attrs
    lost = random_line(loss, theta / 0, generator=seed(), draws=3, steps=3, normalize="none")
    assert lost.attrs["not_finite"] == 9


def test_draws_from_few_points_count_and_state_an_error_each(mlp, moons, loss, theta, tmp_path):
    test = Loss.of(mlp, (moons[0][:20], moons[1][:20]), nn.CrossEntropyLoss(), metrics={"accuracy": accuracy})
    few, every = (
        random_line({"train": loss, "test": test}, theta, generator=seed(), draws=3, steps=101, exact=exact)
        for exact in (False, True)
    )
    assert few.measured.dims == ("alpha", "draw")
    assert few.attrs["evaluations"] == few.measured.sum() < 200
    for name in ("loss", "accuracy"):
        assert few[f"{name}_error"].dims == ("split", "alpha", "draw")
        held = np.abs(few[name] - every[name]) <= few[f"{name}_error"] + 1e-12
        # That of an accuracy of twenty examples, all in steps, is a calibrated guess (docs/design/surfaces.md).
        assert held.mean() >= (1 if name == "loss" else 0.98)
        at_nodes = few.measured.values
        assert np.allclose(few[name].values[:, at_nodes], every[name].values[:, at_nodes], rtol=1e-12)
    assert "filled" not in few.attrs
    assert every.measured.all()
    assert every.attrs["filled"] == "every node was asked for"
    assert every.attrs["evaluations"] == 303
    save(few, tmp_path / "line.nc")
    xr.testing.assert_identical(load(tmp_path / "line.nc"), few)


def test_no_draw_is_an_error():
    with pytest.raises(ValueError, match="draws is 0: wanted at least 1"):
        random_line(toys.bowl(3), torch.ones(3), generator=seed(), draws=0)
