from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lossatlas import random_plane
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.parameters.directions import random_directions
from lossatlas.parameters.subspaces import orthogonalize

A = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
THETA = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def seed(number: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def drawn(count: int) -> torch.Tensor:
    return random_directions(toys.bowl(3).layout, THETA, count, generator=seed(), normalize="none")


def test_a_plane_is_the_form_in_two_directions():
    d = orthogonalize(drawn(2))
    result = random_plane(toys.quadratic(A), 0 * THETA, generator=seed(), normalize="none", steps=5)
    assert result.loss.dims == ("alpha", "beta")
    form = (d @ A @ d.T).numpy()
    for a in result.alpha.values:
        for b in result.beta.values:
            expected = 0.5 * np.array([a, b]) @ form @ np.array([a, b])
            assert float(result.loss.sel(alpha=a, beta=b)) == pytest.approx(expected, rel=1e-11, abs=1e-13)
    assert result.attrs["evaluations"] == 25


def test_a_planes_directions_are_orthogonal_and_say_so(loss, theta):
    result = random_plane(loss, theta, generator=seed(), steps=3)
    first, second = random_directions(loss.layout, theta, 2, generator=seed())
    assert result.attrs["cosine_drawn"] == pytest.approx(
        float(first @ second / first.norm() / second.norm()), rel=1e-12
    )
    assert abs(result.attrs["cosine_drawn"]) > 1e-3
    assert abs(result.attrs["cosine"]) < 1e-6


@pytest.mark.parametrize("normalize", ["filter", "layer", "none"])
@pytest.mark.parametrize("biases", ["zero", "layer"])
def test_the_centre_is_theta_and_the_surface_varies(loss, theta, normalize, biases):
    plane = random_plane(loss, theta, generator=seed(), normalize=normalize, biases=biases, steps=5)
    assert float(plane.loss.sel(alpha=0, beta=0)) == pytest.approx(loss(theta).item(), rel=1e-14)
    assert len(np.unique(plane.loss)) == 25
    assert plane.attrs["normalize"] == normalize
    assert plane.attrs["biases"] == biases


def test_a_filter_normalised_plane_ignores_the_scale_of_a_layer(moons):
    """ReLU: W₁, b₁ times c and W₂ over c is the same function."""
    network = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    loss = Loss.of(network, moons, nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=seed(), dtype=torch.float64)
    tensors = loss.layout.unflatten(theta)
    scale = {"0.weight": 5.0, "0.bias": 5.0, "2.weight": 0.2, "2.bias": 1.0}
    rescaled = loss.layout.flatten({name: scale[name] * tensor for name, tensor in tensors.items()})
    assert loss(rescaled).item() == pytest.approx(loss(theta).item(), rel=1e-12)

    def plane(point):
        chance = torch.Generator().manual_seed(5)
        return random_plane(loss, point, generator=chance, steps=5, exact=True)

    assert np.allclose(plane(rescaled).loss, plane(theta).loss, rtol=1e-10)
    assert abs(plane(theta).attrs["cosine"]) < 1e-12


def test_an_even_number_of_steps_misses_the_centre():
    with pytest.raises(ValueError, match="steps is 4: wanted an odd number"):
        random_plane(toys.bowl(3), torch.ones(3), generator=seed(), normalize="none", steps=4)
