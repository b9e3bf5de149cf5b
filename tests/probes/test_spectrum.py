from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from lossatlas import spectrum
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(values) -> torch.Tensor:
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(8), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


VALUES = np.array([9.0, 4.0, 1.0, *np.linspace(-0.5, 0.5, 30), -7.0])


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_quadratic_has_its_matrixs_spectrum_everywhere(at):
    theta = torch.full((34,), at, dtype=torch.float64)
    result = spectrum(toys.quadratic(rotated(VALUES)), theta, k=3, generator=seed(), tol=1e-8)
    assert bool(result.converged)
    assert np.allclose(result.eigenvalues, [9, 4, 1], atol=1e-6)
    assert float(result.smallest) == pytest.approx(-7, abs=1e-6)
    assert abs(float(result.trace) - VALUES.sum()) < 5 * float(result.trace_error)
    assert list(result.eigenvalue.values) == [1, 2, 3]
    assert float(max(result.residuals.max(), result.smallest_residual)) <= 9e-8


def test_signs_that_tie_are_both_found():
    """Power iteration returns ±0.6 on {2, −2, 0.1}."""
    matrix = torch.diag(torch.tensor([2.0, -2.0, 0.1], dtype=torch.float64))
    result = spectrum(toys.quadratic(matrix), torch.ones(3, dtype=torch.float64), k=2, generator=seed())
    assert np.allclose(result.eigenvalues, [2, 0.1], atol=1e-9)
    assert float(result.smallest) == pytest.approx(-2, abs=1e-9)
    assert float(result.trace) == pytest.approx(0.1, abs=1e-9)  # a diagonal: exact


def test_a_negative_definite_quadratic():
    result = spectrum(toys.quadratic(rotated([-1.0, -2.0, -3.0, -4.0])), torch.ones(4), k=2, generator=seed())
    assert np.allclose(result.eigenvalues, [-1, -2], atol=1e-9)
    assert float(result.smallest) == pytest.approx(-4, abs=1e-9)


@pytest.mark.parametrize("shift", [-3.0, 0.7])
def test_weight_decay_shifts_every_eigenvalue(shift):
    """Adding λ‖θ‖²/2."""
    theta = torch.ones(34, dtype=torch.float64)
    plain, moved = (
        spectrum(toys.quadratic(rotated(VALUES) + s * torch.eye(34)), theta, k=5, generator=seed(), tol=1e-9)
        for s in (0.0, shift)
    )
    assert np.allclose(moved.eigenvalues, plain.eigenvalues + shift, atol=1e-7)
    assert float(moved.smallest) == pytest.approx(float(plain.smallest) + shift, abs=1e-7)
    assert float(moved.trace) == pytest.approx(float(plain.trace) + 34 * shift, abs=5 * float(plain.trace_error))


def test_a_network_against_the_dense_hessian(loss, mlp, moons, theta):
    def whole(vector):
        output = functional_call(mlp, loss.layout.unflatten(vector), (moons[0],))
        return nn.functional.cross_entropy(output, moons[1])

    matrix = hessian(whole)(theta).numpy()
    expected = np.linalg.eigvalsh(matrix)
    result = spectrum(loss, theta, k=6, generator=seed(), samples=200, tol=1e-10)
    assert np.allclose(result.eigenvalues, expected[::-1][:6], atol=1e-9)
    assert float(result.smallest) == pytest.approx(expected[0], abs=1e-9)
    assert abs(float(result.trace) - np.trace(matrix)) < 4 * float(result.trace_error)


def test_linear_regression_at_any_point(generator):
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    loss = toys.linear_regression(x, torch.ones(30, 1, dtype=torch.float64))
    expected = np.linalg.eigvalsh((2 * x.T @ x / 30).numpy())
    result = spectrum(loss, torch.randn(6, generator=generator, dtype=torch.float64), k=5, generator=seed())
    assert np.allclose(result.eigenvalues, expected[:0:-1], rtol=1e-9)
    assert float(result.smallest) == pytest.approx(expected[0], rel=1e-9)


def test_a_float32_loss_is_measured_in_float64(moons):
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    loss = Loss.of(network, (moons[0].float(), moons[1]), nn.CrossEntropyLoss())
    result = spectrum(loss, loss.theta, k=2, samples=4, generator=seed())
    double = spectrum(loss.to(torch.float64), loss.theta, k=2, samples=4, generator=seed())
    assert np.array_equal(result.eigenvalues, double.eigenvalues)
    assert result.attrs["dtype"] == "float64"
    single = spectrum(loss, loss.theta, k=2, samples=4, generator=seed(), dtype=torch.float32)
    assert single.attrs["dtype"] == "float32"
    assert np.allclose(single.eigenvalues, double.eigenvalues, rtol=1e-3)


def test_products_are_those_used_in_all(monkeypatch):
    from lossatlas.probes.curvature import spectrum as module

    rows = []

    class Counting(module.Hessian):
        def __call__(self, vectors):
            rows.append(len(vectors))
            return super().__call__(vectors)

    monkeypatch.setattr(module, "Hessian", Counting)
    result = spectrum(toys.quadratic(rotated(VALUES)), torch.ones(34), k=3, samples=7, generator=seed())
    assert int(result.products) == sum(rows)


def test_too_few_products_are_not_called_converged():
    matrix = rotated(np.linspace(0, 1, 80))
    result = spectrum(toys.quadratic(matrix), torch.ones(80), k=2, samples=2, generator=seed(), max_products=6)
    assert not bool(result.converged)
    assert float(result.residuals.max()) > 1e-4


def test_fewer_products_than_eigenvalues_wanted_is_an_error():
    with pytest.raises(ValueError, match="max_products is 3"):
        spectrum(toys.bowl(80), torch.ones(80), k=5, samples=2, generator=seed(), max_products=3)


def test_more_eigenvalues_than_room_is_an_error():
    with pytest.raises(ValueError, match="k is 3: a module of 3 parameters has room for 2"):
        spectrum(toys.bowl(3), torch.zeros(3), k=3, generator=seed())


def test_nan_is_an_error(loss, theta):
    theta[0] = torch.nan
    with pytest.raises(ValueError, match="is the loss NaN or infinite at this point"):
        spectrum(loss, theta, k=2, generator=seed())


def test_each_split_has_its_own(generator):
    losses = {"train": toys.quadratic(rotated(VALUES)), "test": toys.quadratic(2 * rotated(VALUES))}
    result = spectrum(losses, torch.ones(34, dtype=torch.float64), k=3, generator=generator)
    assert result.eigenvalues.dims == ("split", "eigenvalue")
    assert np.allclose(result.eigenvalues.sel(split="test"), 2 * result.eigenvalues.sel(split="train"), atol=5e-3)
    assert result.converged.dims == ("split",)
    assert result.converged.dtype == bool


def test_single_precision_first_and_its_answer_checked_in_double(monkeypatch):
    """A float32 network of over 1,000 parameters: most products in float32, every number as good as in float64."""
    from lossatlas.probes.curvature import spectrum as module

    rows = {torch.float32: 0, torch.float64: 0}

    class Counting(module.Hessian):
        def __call__(self, vectors):
            rows[self._loss.dtype] += len(vectors)
            return super().__call__(vectors)

    monkeypatch.setattr(module, "Hessian", Counting)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2))
    x = torch.randn(60, 2, generator=seed(1))
    loss = Loss.of(network, (x, (x[:, 0] * x[:, 1] > 0).long()), nn.CrossEntropyLoss())
    result = spectrum(loss, loss.theta, k=4, samples=10, generator=seed(), tol=1e-4)
    assert rows == {torch.float32: int(result.rough_products), torch.float64: 3 + 1}
    assert int(result.products) == sum(rows.values())
    double = spectrum(loss, loss.theta, k=4, samples=10, generator=seed(), tol=1e-4, mixed=False)
    assert int(double.rough_products) == 0
    assert bool(result.converged)
    scale = float(double.eigenvalues[0])
    assert float(result.residuals.max()) <= 1e-4 * scale
    assert np.allclose(result.eigenvalues, double.eigenvalues, rtol=0, atol=1e-4 * scale)
    assert np.allclose(result.smallest, double.smallest, rtol=0, atol=1e-4 * scale)
    assert abs(float(result.trace - double.trace)) < 5 * float(result.trace_error)


def test_only_the_samples_of_the_trace_take_bfloat16_products(monkeypatch):
    from lossatlas import hardware
    from lossatlas.probes.curvature import spectrum as module

    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    monkeypatch.setattr(hardware, "BFLOAT16_WORTH", 0)
    seen = []

    class Watched(module.Hessian):
        def __call__(self, vectors):
            seen.extend([(self._loss.dtype, hardware.product_settings().fp32_precision)] * len(vectors))
            return super().__call__(vectors)

    monkeypatch.setattr(module, "Hessian", Watched)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 400), nn.Tanh(), nn.Linear(400, 2))
    x = torch.randn(60, 2, generator=seed(1))
    loss = Loss.of(network, (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    before = hardware.product_settings().fp32_precision
    result = spectrum(loss, loss.theta, k=3, samples=7, generator=seed())
    coarse = [dtype for dtype, precision in seen if precision == "bf16"]
    assert coarse == [torch.float32] * 7
    assert hardware.product_settings().fp32_precision == before
    assert sum(dtype is torch.float32 for dtype, _ in seen) == int(result.rough_products)
    assert [dtype for dtype, _ in seen].count(torch.float64) == 3 + 1
    assert int(result.products) == len(seen)


def test_no_eigenvalue_is_no_question():
    loss = toys.bowl(3)
    with pytest.raises(ValueError, match="k is 0: wanted 1 at least"):
        spectrum(loss, torch.zeros(3), k=0, generator=seed())
