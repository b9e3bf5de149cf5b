from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from lossatlas import block_spectrum, spectral_density, spectrum
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators import matrices
from lossatlas.operators.hessian import dense_hessian
from tests.dense import MATRICES, dense
from tests.networks import ragged

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def counted(monkeypatch, matrix, describe) -> list:
    """What `describe` says of every product with that matrix, and the rows that it multiplies."""
    made, kind = [], matrices.KINDS[matrix]

    class Counting(kind.product):
        def __call__(self, vectors):
            made.append(describe(self, vectors))
            return super().__call__(vectors)

    monkeypatch.setitem(matrices.KINDS, matrix, replace(kind, product=Counting))
    return made


def rotated(values) -> torch.Tensor:
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(8), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


VALUES = np.array([9.0, 4.0, 1.0, *np.linspace(-0.5, 0.5, 30), -7.0])


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_quadratic_has_its_matrixs_spectrum_everywhere(at):
    theta = torch.full((34,), at, dtype=torch.float64)
    result = spectrum(toys.quadratic(rotated(VALUES)), theta, k=3, samples=20, generator=seed(), tol=1e-8)
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
        spectrum(
            toys.quadratic(rotated(VALUES) + s * torch.eye(34)), theta, k=5, samples=20, generator=seed(), tol=1e-9
        )
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
    result = spectrum(loss, theta, k=6, generator=seed(), samples=15, tol=1e-10)
    assert np.allclose(result.eigenvalues, expected[::-1][:6], atol=1e-9)
    assert float(result.smallest) == pytest.approx(expected[0], abs=1e-9)
    assert 0 < abs(float(result.trace) - np.trace(matrix)) < 4 * float(result.trace_error)


def test_of_a_small_module_the_whole_matrix_is_computed(loss, theta):
    """More samples than parameters cost more than the trace itself."""
    result = spectrum(loss, theta, k=6, generator=seed(), samples=400)
    assert float(result.trace) == pytest.approx(float(dense_hessian(loss, theta).trace()), rel=1e-12)
    assert (float(result.trace_error), int(result.products)) == (0.0, 27)


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
    rows = counted(monkeypatch, "hessian", lambda product, vectors: len(vectors))
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


@pytest.mark.parametrize("matrix", MATRICES)
def test_single_precision_first_and_its_answer_checked_in_double(monkeypatch, matrix):
    """A float32 network of over 1,000 parameters: most products in float32, every number as good as in float64."""
    made = counted(monkeypatch, matrix, lambda product, vectors: (product._loss.dtype, len(vectors)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2))
    x = torch.randn(60, 2, generator=seed(1))
    loss = Loss.of(network, (x, (x[:, 0] * x[:, 1] > 0).long()), nn.CrossEntropyLoss())
    options = {"matrix": matrix, "k": 4, "samples": 10, "tol": 1e-4}
    result = spectrum(loss, loss.theta, generator=seed(), **options)
    rows = {dtype: sum(many for of, many in made if of is dtype) for dtype in (torch.float32, torch.float64)}
    assert rows == {torch.float32: int(result.rough_products), torch.float64: 3 + 1}
    assert int(result.products) == sum(rows.values())
    double = spectrum(loss, loss.theta, generator=seed(), mixed=False, **options)
    assert int(double.rough_products) == 0
    assert bool(result.converged)
    scale = float(double.eigenvalues[0])
    assert float(result.residuals.max()) <= 1e-4 * scale
    assert np.allclose(result.eigenvalues, double.eigenvalues, rtol=0, atol=1e-4 * scale)
    assert np.allclose(result.smallest, double.smallest, rtol=0, atol=1e-4 * scale)
    assert abs(float(result.trace - double.trace)) < 5 * float(result.trace_error)


@pytest.mark.parametrize("matrix", MATRICES)
def test_only_the_samples_of_the_trace_take_bfloat16_products(monkeypatch, matrix):
    from lossatlas import hardware

    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    monkeypatch.setattr(hardware, "BFLOAT16_WORTH", 0)
    seen = counted(
        monkeypatch, matrix,
        lambda product, vectors: (product._loss.dtype, hardware.product_settings().fp32_precision, len(vectors)),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 400), nn.Tanh(), nn.Linear(400, 2))
    x = torch.randn(60, 2, generator=seed(1))
    loss = Loss.of(network, (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    before = hardware.product_settings().fp32_precision
    result = spectrum(loss, loss.theta, matrix=matrix, k=3, samples=7, generator=seed())
    assert [(dtype, rows) for dtype, precision, rows in seen if precision == "bf16"] == [(torch.float32, 7)]
    assert hardware.product_settings().fp32_precision == before
    assert sum(rows for dtype, _, rows in seen if dtype is torch.float32) == int(result.rough_products)
    assert sum(rows for dtype, _, rows in seen if dtype is torch.float64) == 3 + 1
    assert int(result.products) == sum(rows for *_, rows in seen)


@pytest.mark.parametrize("squared", [False, True], ids=["cross-entropy", "squared error"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_matrix_against_the_dense_one(matrix, squared, mlp, moons, generator):
    """On ragged batches, with weight decay, where the gradient is not zero."""
    x, classes = moons
    y = torch.randn(37, 2, generator=generator, dtype=torch.float64) if squared else classes
    loss = Loss.of(mlp, ragged(x, y, size=16), nn.MSELoss() if squared else nn.CrossEntropyLoss(), weight_decay=0.05)
    theta = loss.theta + 0.3 * torch.randn(27, generator=generator, dtype=torch.float64)
    expected = dense(matrix, mlp, (x, y), loss.layout, theta, squared=squared, weight_decay=0.05)
    values = np.linalg.eigvalsh(expected.numpy())
    result = spectrum(loss, theta, matrix=matrix, k=6, generator=seed(), samples=200, tol=1e-10)
    assert bool(result.converged)
    assert np.allclose(result.eigenvalues, values[::-1][:6], atol=1e-9)
    assert float(result.smallest) == pytest.approx(values[0], abs=1e-9)
    assert matrix == "hessian" or float(result.smallest) >= 0.05 - 1e-12 * values[-1]
    assert abs(float(result.trace) - values.sum()) < 4 * float(result.trace_error) + 1e-9
    assert result.attrs["matrix"] == matrix


def test_the_result_names_its_matrix(loss, theta):
    found = {matrix: spectrum(loss, theta, matrix=matrix, k=2, samples=2, generator=seed()) for matrix in MATRICES}
    assert found["hessian"].identical(spectrum(loss, theta, k=2, samples=2, generator=seed()))
    texts = {name: (one.eigenvalues.attrs, one.residuals.attrs["long_name"]) for name, one in found.items()}
    unit = {"units": "criterion / parameter²", "invariant_to": "none"}
    assert texts == {
        "hessian": ({"long_name": "eigenvalues of the Hessian", **unit}, "‖Hv − λv‖"),
        "gauss-newton": ({"long_name": "eigenvalues of the Gauss-Newton matrix", **unit}, "‖Gv − λv‖"),
        "fisher": (
            {"long_name": "eigenvalues of the empirical Fisher matrix", **unit, "units": "(criterion / parameter)²"},
            "‖Fv − λv‖",
        ),
    }


@pytest.mark.parametrize("probe", [spectrum, spectral_density, block_spectrum])
def test_another_matrix_is_an_error_that_names_the_three(probe, loss, theta):
    with pytest.raises(ValueError, match=r"^matrix is 'ggn': wanted one of 'hessian', 'gauss-newton', 'fisher'$"):
        probe(loss, theta, matrix="ggn", k=2, generator=seed())


def test_no_eigenvalue_is_no_question():
    loss = toys.bowl(3)
    with pytest.raises(ValueError, match="k is 0: wanted 1 at least"):
        spectrum(loss, torch.zeros(3), k=0, generator=seed())
