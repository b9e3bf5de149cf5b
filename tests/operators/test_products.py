from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn.utils import vector_to_parameters

from lossatlas import hardware
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.gauss_newton import GaussNewton
from lossatlas.operators.hessian import Hessian, dense_hessian, scaled

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit in a dependency of curvlinops
    from curvlinops import GGNLinearOperator, HessianLinearOperator

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.jvp's decompositions

ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU}


@pytest.fixture(params=ACTIVATIONS.values(), ids=ACTIVATIONS)
def network(request):
    return nn.Sequential(nn.Linear(2, 4), request.param(), nn.Linear(4, 3), request.param(), nn.Linear(3, 2)).double()


@pytest.fixture(params=[True, False], ids=["ragged", "one batch"])
def batches(request, ragged, moons):
    return ragged if request.param else [moons]


@pytest.fixture
def case(network, batches, generator):
    loss = Loss.of(network, batches, nn.CrossEntropyLoss())
    return loss, torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)


def reference(network, moons, layout, theta):
    """Forward over reverse mode, on all data at once."""

    def whole(vector):
        output = functional_call(network, layout.unflatten(vector), (moons[0],))
        return nn.functional.cross_entropy(output, moons[1])

    return hessian(whole)(theta)


def test_dense_against_torch_func(case, network, moons):
    loss, theta = case
    expected = reference(network, moons, loss.layout, theta)
    found = dense_hessian(loss, theta)
    assert found.shape == (loss.layout.size, loss.layout.size)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13)
    assert torch.allclose(found, found.T, atol=1e-14)


def test_products_against_curvlinops(case, network, batches, generator):
    loss, theta = case
    vectors = torch.randn(3, loss.layout.size, generator=generator, dtype=torch.float64)
    vector_to_parameters(theta, network.parameters())
    operator = HessianLinearOperator(
        network, nn.CrossEntropyLoss(), [p for p in network.parameters() if p.requires_grad], batches
    )
    assert torch.allclose(Hessian(loss, theta)(vectors), (operator @ vectors.T).T, rtol=1e-9, atol=1e-12)


def test_products_against_finite_differences_of_the_loss(case, generator):
    """vᵀHv is (L(θ+hv) − 2L(θ) + L(θ−hv)) / h² up to h²/12 |L''''| + 4ε|L|/h²: 1e-6 at h = 1e-4, ‖v‖ = 1."""
    loss, theta = case
    product = Hessian(loss, theta)
    for v in torch.randn(4, loss.layout.size, generator=generator, dtype=torch.float64):
        v = v / v.norm()
        ahead, here, behind = loss(torch.stack([theta + 1e-4 * v, theta, theta - 1e-4 * v]))
        assert float(product(v[None])[0] @ v) == pytest.approx(float(ahead - 2 * here + behind) / 1e-8, abs=1e-6)


@pytest.mark.parametrize("chunk_bytes", [1, 5000, 2**30])
def test_a_block_equals_its_rows_one_at_a_time(network, batches, generator, monkeypatch, chunk_bytes):
    monkeypatch.setattr(hardware, "CHUNK_BYTES", chunk_bytes)
    loss = Loss.of(network, batches, nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    vectors = torch.randn(5, loss.layout.size, generator=generator, dtype=torch.float64)
    product = Hessian(loss, theta)
    block = product(vectors)
    for row, vector in zip(block, vectors, strict=True):
        assert torch.allclose(product(vector[None])[0], row, rtol=1e-11, atol=1e-14)
    assert torch.allclose(product(vectors), block, rtol=1e-13, atol=1e-15)  # the kept graph can be used again


def test_a_convolution_with_batch_norm(generator):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten(), nn.Linear(8, 2)).double()
    x = torch.randn(7, 1, 4, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (7,), generator=generator)
    loss = Loss.of(network, list(zip(x.split(3), y.split(3), strict=True)), nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    network.eval()
    expected = reference(network, (x, y), loss.layout, theta)
    assert torch.allclose(dense_hessian(loss, theta), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("budget", [0, 2**30], ids=["rebuilt", "kept"])
def test_a_block_of_parameters_is_a_diagonal_block_of_the_whole(network, ragged, moons, generator, monkeypatch, budget):
    """Whatever parameters, with the penalty of all of them in the loss."""
    monkeypatch.setattr(hardware, "KEPT_GRAPH_BYTES", budget)
    loss = Loss.of(network, ragged, nn.CrossEntropyLoss(), penalty=lambda theta: (theta**3).sum() + theta.prod())
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)

    def whole(vector):
        output = functional_call(network, loss.layout.unflatten(vector), (moons[0],))
        return nn.functional.cross_entropy(output, moons[1]) + (vector**3).sum() + vector.prod()

    expected = hessian(whole)(theta)
    for names in (["2.weight"], ["4.bias", "0.weight"], loss.layout.names):
        where = torch.cat(
            [torch.arange(len(theta))[loss.layout.slices[name]] for name in loss.layout.only(names).names]
        )
        found = Hessian(loss, theta, names)(torch.eye(len(where), dtype=torch.float64))
        assert torch.allclose(found, expected[where][:, where], rtol=1e-9, atol=1e-12)


def test_a_block_costs_less_than_the_whole(generator):
    """The graph of the last layer's curvature has no node of the layers before it."""
    layers = [part for _ in range(6) for part in (nn.Linear(4, 4), nn.Tanh())]
    network = nn.Sequential(*layers, nn.Linear(4, 2)).double()
    x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    loss = Loss.of(network, (x, torch.zeros(7, dtype=torch.int64)), nn.CrossEntropyLoss())

    def nodes(names):
        (gradient,) = Hessian(loss, loss.theta, names)._kept
        seen, open_ = set(), [gradient.grad_fn]
        while open_:
            node = open_.pop()
            if node is not None and node not in seen:
                seen.add(node)
                open_ += [other for other, _ in node.next_functions]
        return len(seen)

    whole, first, last = nodes(None), nodes(["0.weight"]), nodes(["12.weight"])
    assert last < 0.2 * whole
    assert first < 0.8 * whole


@pytest.mark.parametrize(
    ("names", "text"), [(["9.weight"], r"\['9.weight'\]: wanted some of 0.weight"), ([], "no name")]
)
def test_a_block_of_other_parameters_is_an_error(loss, theta, names, text):
    with pytest.raises(ValueError, match=text):
        Hessian(loss, theta, names)


def test_linear_regression_has_a_known_hessian(generator):
    x = torch.randn(13, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(13, 1, generator=generator, dtype=torch.float64)
    loss = toys.linear_regression(x, y)
    for theta in torch.randn(2, 4, generator=generator, dtype=torch.float64):
        assert torch.allclose(dense_hessian(loss, theta), 2 * x.T @ x / 13, rtol=1e-12)
    split = Loss.of(loss.module, list(zip(x.split(5), y.split(5), strict=True)), nn.MSELoss())
    assert torch.allclose(dense_hessian(split, theta), 2 * x.T @ x / 13, rtol=1e-12)


def test_a_quadratic_is_its_matrix():
    matrix = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 0.0]], dtype=torch.float64)
    assert torch.allclose(dense_hessian(toys.quadratic(matrix), torch.ones(3, dtype=torch.float64)), matrix)


@pytest.mark.parametrize("split", [10, 4])
def test_a_loss_linear_in_theta_has_none(generator, split):
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    data = list(zip(x.split(split), torch.zeros(10, 1).split(split), strict=True))
    loss = Loss.of(nn.Linear(3, 1, dtype=torch.float64), data, lambda output, _: output.mean())
    assert torch.equal(dense_hessian(loss, torch.ones(4, dtype=torch.float64)), torch.zeros(4, 4, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:.* have no effect on the loss")
def test_a_parameter_that_does_nothing_has_a_zero_row(generator):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
            self.map = nn.Linear(2, 1, bias=False, dtype=torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x)

    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    found = dense_hessian(Loss.of(Idle(), (x, torch.zeros(6, 1)), nn.MSELoss()), torch.ones(4, dtype=torch.float64))
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[2:, 2:] = 2 * x.T @ x / 6
    assert torch.allclose(found, expected, rtol=1e-12)


def test_the_point_is_theta_and_stays_unchanged(case):
    loss, theta = case
    before = theta.clone()
    product = Hessian(loss, theta)
    vectors = torch.eye(loss.layout.size, dtype=torch.float64)[:2]
    first = product(vectors)
    assert torch.equal(theta, before)
    assert not theta.requires_grad
    assert theta.grad is None
    theta += 1  # the caller goes on training
    assert torch.allclose(product(vectors), first, rtol=1e-13)


def test_another_networks_theta_is_an_error(loss):
    with pytest.raises(ValueError, match="but the module has 27 parameters"):
        Hessian(loss, torch.zeros(26))


def test_a_float32_loss_multiplies_in_float32(moons):
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    single = Loss.of(network, (moons[0].float(), moons[1]), nn.CrossEntropyLoss())
    vectors = torch.eye(single.layout.size, dtype=torch.float64)
    found = Hessian(single, single.theta)(vectors)
    assert found.dtype == torch.float32
    double = dense_hessian(single.to(torch.float64), single.theta)
    assert np.allclose(found, double, atol=1e-6)


@pytest.mark.parametrize("budget", [0, 2**30], ids=["rebuilt", "kept"])
def test_graphs_are_kept_within_their_budget(network, ragged, generator, monkeypatch, budget):
    monkeypatch.setattr(hardware, "KEPT_GRAPH_BYTES", budget)
    loss = Loss.of(network, ragged, nn.CrossEntropyLoss())
    theta = torch.randn(loss.layout.size, generator=generator, dtype=torch.float64)
    vectors = torch.randn(3, loss.layout.size, generator=generator, dtype=torch.float64)
    product = Hessian(loss, theta)
    expected = dense_hessian(loss, theta)
    forwards = []
    monkeypatch.setattr(product._loss, "batch_losses", lambda leaf: forwards.append(1) or Loss.batch_losses(loss, leaf))
    for _ in range(2):
        assert torch.allclose(product(vectors), vectors @ expected, rtol=1e-9, atol=1e-12)
    assert len(forwards) == (0 if budget else 2)


def test_gauss_newton_against_curvlinops(case, network, batches, generator):
    loss, theta = case
    vectors = torch.randn(3, loss.layout.size, generator=generator, dtype=torch.float64)
    vector_to_parameters(theta, network.parameters())
    operator = GGNLinearOperator(network, nn.CrossEntropyLoss(), list(network.parameters()), batches)
    product = GaussNewton(loss, theta)
    for _ in range(2):
        assert torch.allclose(product(vectors), (operator @ vectors.T).T, rtol=1e-9, atol=1e-12)
    values = torch.linalg.eigvalsh(product(torch.eye(loss.layout.size, dtype=torch.float64)))
    assert float(values[0]) > -1e-12 * float(values[-1])


def test_gauss_newton_is_the_hessian_of_a_linear_model(generator):
    x = torch.randn(13, 4, generator=generator, dtype=torch.float64)
    loss = toys.linear_regression(x, torch.ones(13, 1, dtype=torch.float64))
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(GaussNewton(loss, torch.ones(4, dtype=torch.float64))(eye), 2 * x.T @ x / 13, rtol=1e-12)


def test_gauss_newton_has_the_penaltys_hessian(network, moons):
    theta = torch.ones(sum(p.numel() for p in network.parameters()), dtype=torch.float64)
    plain, decayed = (
        GaussNewton(Loss.of(network, moons, nn.CrossEntropyLoss(), weight_decay=decay), theta) for decay in (0.0, 0.3)
    )
    eye = torch.eye(len(theta), dtype=torch.float64)
    assert torch.allclose(decayed(eye), plain(eye) + 0.3 * eye, atol=1e-12)


def test_gauss_newton_of_a_linear_criterion_is_zero(moons):
    loss = Loss.of(nn.Linear(2, 1).double(), moons, lambda output, _: output.mean())
    assert not GaussNewton(loss, loss.theta)(torch.eye(3, dtype=torch.float64)).any()


def test_a_scaled_product_is_that_of_the_scaled_matrix(case, generator):
    loss, theta = case
    scale = torch.rand(loss.layout.size, generator=generator, dtype=torch.float64)
    vectors = torch.randn(2, loss.layout.size, generator=generator, dtype=torch.float64)
    expected = vectors @ (scale[:, None] * dense_hessian(loss, theta) * scale)
    assert torch.allclose(scaled(Hessian(loss, theta), scale)(vectors), expected, rtol=1e-9, atol=1e-12)
