from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

from lossatlas import spectral_density
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators import matrices
from lossatlas.operators.hessian import dense_hessian
from tests.conftest import seeded
from tests.dense import MATRICES, dense
from tests.networks import ragged

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions


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
    assert trapezoid(result.density, result.axis) == pytest.approx(1, abs=1e-6)
    assert abs(float(result["mean"]) - VALUES.mean()) < 4 * float(result.mean_error) + 1e-9
    assert abs(float(result.negative) - 12 / 34) < 4 * float(result.negative_error) + 1e-9
    assert result.attrs["scale"] == scale


def test_taking_out_the_outliers_lowers_the_error():
    loss = toys.quadratic(rotated(VALUES))
    plain, taken = (spectral_density(loss, HERE, generator=seed(), k=k, draws=16, steps=2) for k in (0, 3))
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
    assert float(result["mean"]) == pytest.approx(values.mean(), rel=1e-9)


@pytest.mark.parametrize("sampled", [False, True], ids=["whole", "sampled"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_matrix_against_the_dense_one(matrix, sampled, moons, generator):
    """A network of 102 parameters on ragged batches, with weight decay, where the gradient is not zero."""
    module = seeded(lambda: nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2)).double())
    loss = Loss.of(module, ragged(*moons, size=16), nn.CrossEntropyLoss(), weight_decay=0.05)
    theta = loss.theta + 0.5 * torch.randn(102, generator=generator, dtype=torch.float64)
    values = np.linalg.eigvalsh(dense(matrix, module, moons, loss.layout, theta, weight_decay=0.05).numpy())
    draws, steps = (4, 24) if sampled else (6, 24)
    result = spectral_density(
        loss, theta, matrix=matrix, generator=seed(), draws=draws, steps=steps, k=5, tol=1e-9, scale="linear",
        width=0.05,
    )  # fmt: skip
    assert result.attrs["matrix"] == matrix
    assert np.allclose(result.eigenvalues, values[::-1][:5], atol=1e-8)
    assert float(result.smallest) == pytest.approx(values[0], abs=1e-8)
    exact = np.exp(-0.5 * ((result.axis.values[:, None] - values) / float(result.sigma)) ** 2).mean(1)
    exact /= float(result.sigma) * np.sqrt(2 * np.pi)
    assert np.abs(result.density - exact).max() < (0.1 if sampled else 1e-4) * exact.max()
    assert (float(result.density_error.max()) > 0) == sampled
    assert abs(float(result["mean"]) - values.mean()) < 4 * float(result.mean_error) + 1e-10
    if matrix != "hessian":
        assert float(result.smallest) > 0.05 - 1e-9
        assert float(result.negative) == 0
    name = {
        "hessian": "the Hessian",
        "gauss-newton": "the Gauss-Newton matrix",
        "fisher": "the empirical Fisher matrix",
    }
    assert result.position.attrs["long_name"] == f"eigenvalue λ of {name[matrix]}"
    assert result["mean"].attrs["long_name"] == f"mean eigenvalue of {name[matrix]}"


@pytest.mark.parametrize(("draws", "steps"), [(4, 20), (10, 20)])
def test_one_run_gives_the_ends_the_trace_and_the_density(draws, steps):
    """Sampled, and from the whole matrix where that costs no more."""
    size = 190
    values = np.sort(np.concatenate([[9.0, 9.0, 4.0, -7.0], 0.1 * np.random.default_rng(0).normal(size=size - 4)]))
    result = spectral_density(
        toys.quadratic(rotated(values)), torch.ones(size, dtype=torch.float64), generator=seed(), k=3, tol=1e-6,
        draws=draws, steps=steps,
    )  # fmt: skip
    assert result.converged
    assert np.allclose(result.eigenvalues, values[::-1][:3], atol=1e-5)
    assert float(result.smallest) == pytest.approx(values[0], abs=1e-5)
    assert max(float(result.residuals.max()), float(result.smallest_residual)) <= 9e-6
    assert abs(float(result.trace) - values.sum()) <= 4 * float(result.trace_error) + 1e-9
    whole = size <= draws * steps
    assert (float(result.density_error.max()) == 0) == whole == (float(result.trace_error) == 0)
    assert (int(result.products) == size) == whole
    assert float(result.trace_error) < 2  # √(2 · 186 · 0.01 / 4) is expected


def test_a_single_precision_loss_is_told_as_well():
    values = np.array([5.0, 3.0, -2.0, *np.linspace(-0.1, 0.1, 300)])
    loss = toys.quadratic(rotated(values)).to(torch.float32)
    found = [
        spectral_density(loss, torch.ones(len(values)), generator=seed(), k=2, draws=3, steps=15, dtype=dtype)
        for dtype in (None, torch.float64)
    ]
    assert np.allclose(found[0].eigenvalues, found[1].eigenvalues, rtol=1e-5)
    assert np.abs(found[0].density - found[1].density).max() < 1e-3 * found[1].density.max()


def test_products_are_those_used_in_all(monkeypatch):
    rows, kind = [], matrices.KINDS["hessian"]

    class Counting(kind.product):
        def __call__(self, vectors):
            rows.append(len(vectors))
            return super().__call__(vectors)

    monkeypatch.setitem(matrices.KINDS, "hessian", replace(kind, product=Counting))
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
