from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas import spectral_density, toys
from lossatlas.curvature import dense_hessian


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(values) -> torch.Tensor:
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(8), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


VALUES = np.array([9.0, 4.0, *np.linspace(0.1, 0.5, 20), *np.linspace(-0.5, -0.1, 10), -2.0, -7.0])
HERE = torch.ones(34, dtype=torch.float64)


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("k", [0, 4])
def test_the_mass_is_one_and_the_moments_are_those_of_the_matrix(scale, k):
    result = spectral_density(toys.quadratic(rotated(VALUES)), HERE, generator=seed(), k=k, scale=scale, draws=30)
    assert np.trapezoid(result.density, result.axis) == pytest.approx(1, abs=1e-6)
    assert abs(float(result["mean"]) - VALUES.mean()) < 4 * float(result.mean_error) + 1e-9
    assert abs(float(result.negative) - 12 / 34) < 4 * float(result.negative_error) + 1e-9
    assert result.attrs["scale"] == scale


def test_taking_out_the_outliers_lowers_the_error():
    loss = toys.quadratic(rotated(VALUES))
    plain, taken = (spectral_density(loss, HERE, generator=seed(), k=k, draws=20) for k in (0, 3))
    assert float(taken.mean_error) < float(plain.mean_error) / 2
    at = int(np.argmin(np.abs(taken.position.values - 9)))
    assert float(taken.density_error[at]) < 1e-9 < float(plain.density_error[at])


def test_a_network_against_the_dense_hessian(loss, theta):
    values = np.linalg.eigvalsh(dense_hessian(loss, theta).numpy())
    result = spectral_density(loss, theta, generator=seed(), draws=200, k=3, scale="linear", width=0.05)
    exact = np.exp(-0.5 * ((result.axis.values[:, None] - values) / float(result.sigma)) ** 2).mean(1)
    exact /= float(result.sigma) * np.sqrt(2 * np.pi)
    assert np.abs(result.density - exact).max() < 0.1 * exact.max()
    z = (np.abs(result.density - exact) / (result.density_error + 1e-6 * exact.max())).values
    assert np.mean(z < 3) > 0.95
    assert abs(float(result["mean"]) - values.mean()) < 4 * float(result.mean_error)


def test_products_are_those_used_in_all(monkeypatch):
    from lossatlas.probes import density as module

    rows = []

    class Counting(module.Hessian):
        def __call__(self, vectors):
            rows.append(len(vectors))
            return super().__call__(vectors)

    monkeypatch.setattr(module, "Hessian", Counting)
    result = spectral_density(toys.quadratic(rotated(VALUES)), HERE, k=2, draws=4, steps=6, generator=seed())
    assert int(result.products) == sum(rows)
    assert sum(rows) > 24


@pytest.mark.parametrize("k", [-1, 34])
def test_more_outliers_than_room_is_an_error(k):
    with pytest.raises(ValueError, match=f"k is {k}: a module of 34 parameters has room for 0 to 33"):
        spectral_density(toys.quadratic(rotated(VALUES)), HERE, k=k, generator=seed())


def test_each_split_has_its_own_grid():
    losses = {"train": toys.quadratic(rotated(VALUES)), "test": toys.quadratic(2 * rotated(VALUES))}
    result = spectral_density(losses, HERE, generator=seed(), scale="linear", k=3, tol=1e-9)
    assert result.density.dims == ("split", "grid")
    assert np.allclose(result.position.sel(split="test"), 2 * result.position.sel(split="train"), rtol=1e-6)
