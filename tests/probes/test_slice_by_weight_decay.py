from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas import random_plane, slice_by_weight_decay
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.parameters.directions import random_directions
from lossatlas.parameters.subspaces import orthogonalize

A = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
ENDS = torch.tensor([[-2.0, 3.0, 0.1], [0.5, 0.25, -0.125]], dtype=torch.float64)
DECAYS = (0.0, 0.3)


def seed(number: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def directions(**options) -> np.ndarray:
    """What the probe must have drawn, `(2, P)`, for the first network."""
    drawn = random_directions(toys.bowl(3).layout, ENDS[0], 2, generator=seed(), **options)
    return orthogonalize(drawn).numpy()


def test_the_data_loss_does_not_know_the_weight_decay():
    ends = ENDS[:1].repeat(3, 1)
    result = slice_by_weight_decay(toys.quadratic(A), ends, (0, 1, 100), generator=seed(), normalize="none", steps=3)
    for row in (1, 2):
        np.testing.assert_array_equal(result.loss[row], result.loss[0])
    np.testing.assert_allclose(result.penalty[2], 100 * result.penalty[1], rtol=1e-14)
    assert (result.penalty[0] == 0).all()


@pytest.mark.parametrize("options", [{"normalize": "none"}, {"normalize": "layer", "biases": "layer"}])
def test_a_slice_is_the_form_in_the_directions_of_the_first_network(options):
    d, form = directions(**options), A.numpy()
    result = slice_by_weight_decay(
        toys.quadratic(A), ENDS, DECAYS, generator=seed(), radius=2.0, steps=5, **options
    )  # fmt: skip
    assert result.loss.dims == result.penalty.dims == ("weight_decay", "alpha", "beta")
    assert result.attrs["evaluations"] == 50
    assert result.attrs["normalized_to"] == 0.0
    for weight_decay, theta in zip(DECAYS, ENDS.numpy(), strict=True):
        for a in np.linspace(-2, 2, 5):
            for b in np.linspace(-2, 2, 5):
                here = result.sel(weight_decay=weight_decay, alpha=a, beta=b)
                point = theta + a * d[0] + b * d[1]
                assert float(here.loss) == pytest.approx(0.5 * point @ form @ point, rel=1e-11, abs=1e-12)
                assert float(here.penalty) == pytest.approx(0.5 * weight_decay * (point @ point), rel=1e-12)


def test_the_values_alone_show_the_same_directions_at_every_weight_decay():
    """On a quadratic the second differences of the slice are dᵀAd, wherever it is centred."""
    result = slice_by_weight_decay(
        toys.quadratic(A), ENDS, DECAYS, generator=seed(), normalize="layer", biases="layer", steps=5
    )
    for axis in ("alpha", "beta"):
        curvature = result.loss.diff(axis, 2)
        np.testing.assert_allclose(curvature[0], curvature[1], rtol=1e-9)
        assert abs(float(curvature[0, 0, 0])) > 0.01
    mixed = result.loss.diff("alpha").diff("beta")
    np.testing.assert_allclose(mixed[0], mixed[1], rtol=1e-8, atol=1e-12)


def test_the_first_slice_is_the_random_plane_of_its_network(loss, theta):
    thetas = torch.stack([theta, 0.5 * theta])
    result = slice_by_weight_decay(loss, thetas, (0.01, 0.1), generator=seed(), steps=5)
    alone = random_plane(loss, theta, generator=seed(), steps=5)
    np.testing.assert_array_equal(result.loss[0], alone.loss)
    for name in ("cosine", "cosine_drawn", "normalize", "biases"):
        assert result.attrs[name] == alone.attrs[name]
    assert abs(result.attrs["cosine"]) < 1e-6
    assert result.attrs["normalized_to"] == 0.01


def test_half_the_network_sees_directions_twice_as_long(loss, theta):
    thetas = torch.stack([theta, 0.5 * theta])
    result = slice_by_weight_decay(loss, thetas, (0, 0.1), generator=seed(), steps=3, biases="layer")
    np.testing.assert_allclose(result.relative_length, [1, 2], rtol=1e-12)  # every layer has its own norm
    d = orthogonalize(random_directions(loss.layout, theta, 2, generator=seed(), normalize="none")).numpy()
    result = slice_by_weight_decay(loss, thetas, (0, 0.1), generator=seed(), steps=3, normalize="none")
    wanted = np.sqrt((d**2).sum() / 2) / np.linalg.norm(thetas.numpy(), axis=1)
    np.testing.assert_allclose(result.relative_length, wanted, rtol=1e-12)


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"penalty": lambda theta: theta.square().sum()}])
def test_a_loss_with_a_penalty_of_its_own_is_an_error(mlp, moons, theta, options):
    """Its "penalty" would be overwritten by that of each weight decay."""
    criterion = torch.nn.CrossEntropyLoss()
    losses = {"test": Loss.of(mlp, moons, criterion), "train": Loss.of(mlp, moons, criterion, **options)}
    points = torch.stack([theta, 2 * theta])
    with pytest.raises(ValueError, match="the loss has a penalty of its own: wanted one made without weight_decay"):
        slice_by_weight_decay(losses, points, (0, 0.1), generator=seed())


def test_what_does_not_fit_together_is_an_error():
    bowl = toys.bowl(3)
    with pytest.raises(ValueError, match=r"thetas has shape \(3,\): wanted \(1, P\)"):
        slice_by_weight_decay(bowl, ENDS[0], (0.1,), generator=seed())
    with pytest.raises(ValueError, match="steps is 4: wanted an odd number"):
        slice_by_weight_decay(bowl, ENDS, DECAYS, generator=seed(), normalize="none", steps=4)
