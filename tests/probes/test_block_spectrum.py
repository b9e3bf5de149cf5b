from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import dense_hessian
from lossatlas.probes.curvature.block_spectrum import block_spectrum, layers
from tests.conftest import seeded
from tests.dense import MATRICES, dense
from tests.networks import build, ragged


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def entries(layout, names) -> torch.Tensor:
    """Where the named parameters lie in θ."""
    places = torch.arange(layout.size)
    return torch.cat([places[layout.slices[name]] for name in names])


@pytest.fixture(scope="module", params=["resnet", "transformer", "lstm"])
def network(request):
    """A loss with a penalty, off the module's own weights, and its dense Hessian."""
    module, x, y = build(request.param)
    loss = Loss.of(module, ragged(x, y, size=6), nn.CrossEntropyLoss(), weight_decay=0.01, buffers="stored")
    theta = loss.theta + 0.2 * torch.randn(loss.layout.size, generator=seed(4), dtype=torch.float64)
    return loss, theta, dense_hessian(loss, theta)


def test_every_block_is_that_of_the_dense_hessian(network):
    loss, theta, whole = network
    result = block_spectrum(loss, theta, generator=seed(), k=3, samples=10, tol=1e-8)
    expected = layers(loss.layout)
    assert list(result.block.values) == list(expected)
    assert len(expected) > 1
    assert result.parameters.sum() == loss.layout.size
    assert bool(result.converged.all())
    for block, names in expected.items():
        where = entries(loss.layout, names)
        matrix = whole[where][:, where]
        values = torch.linalg.eigvalsh(matrix)
        found = result.sel(block=block)
        assert int(found.parameters) == len(where)
        assert np.allclose(found.eigenvalues, values.flip(0)[:3], atol=1e-7)
        assert float(found.smallest) == pytest.approx(float(values[0]), abs=1e-7)
        if len(where) <= 3 + 1 + 10:
            assert float(found.trace) == pytest.approx(float(matrix.trace()), rel=1e-10)
            assert int(found.products) == len(where)
        assert float(found.eigenvalues[0]) <= float(torch.linalg.eigvalsh(whole)[-1]) + 1e-9  # Cauchy's interlacing


@pytest.mark.parametrize("name", ["resnet", "transformer", "lstm"])
@pytest.mark.parametrize("matrix", ["gauss-newton", "fisher"])
def test_every_block_of_another_matrix_is_that_of_the_dense_one(matrix, name):
    """With weight decay, some blocks as matrices and some searched, where the gradient is not zero."""
    module, x, y = build(name)
    loss = Loss.of(module, ragged(x, y, size=6), nn.CrossEntropyLoss(), weight_decay=0.01, buffers="stored")
    theta = loss.theta + 0.2 * torch.randn(loss.layout.size, generator=seed(4), dtype=torch.float64)
    whole = dense(matrix, module.eval(), (x, y), loss.layout, theta, weight_decay=0.01)
    result = block_spectrum(loss, theta, generator=seed(), matrix=matrix, k=3, samples=10, tol=1e-8)
    assert result.attrs["matrix"] == matrix
    assert bool(result.converged.all())
    assert float(result.smallest.min()) > 0.01 - 1e-9
    for block, names in layers(loss.layout).items():
        where = entries(loss.layout, names)
        values, found = torch.linalg.eigvalsh(whole[where][:, where]), result.sel(block=block)
        assert np.allclose(found.eigenvalues, values.flip(0)[:3], atol=1e-7)
        assert float(found.smallest) == pytest.approx(float(values[0]), abs=1e-7)
        assert abs(float(found.trace) - float(values.sum())) < 5 * float(found.trace_error) + 1e-9


def test_the_blocks_traces_add_up_to_the_whole(network):
    loss, theta, whole = network
    result = block_spectrum(loss, theta, generator=seed(), k=1, samples=60, tol=1e-2)
    error = float((result.trace_error**2).sum() ** 0.5)
    assert 0 < error < 0.2 * float(whole.trace())
    assert abs(float(result.trace.sum()) - float(whole.trace())) < 4 * error


def test_the_sampled_errors_are_standard_errors():
    """z = (estimate − trace) / error of one block over 60 seeds: mean 0 ± 0.13, deviation 1 ± 0.1."""
    q = torch.linalg.qr(torch.randn(40, 40, generator=seed(1), dtype=torch.float64)).Q
    matrix = (q * torch.linspace(-1, 1, 40, dtype=torch.float64)) @ q.T
    loss = toys.quadratic((matrix + matrix.T) / 2)
    found = [
        block_spectrum(loss, torch.ones(40), generator=seed(n), k=1, samples=20, tol=1e-2).isel(block=0)
        for n in range(60)
    ]
    z = np.array([(float(one.trace) - float(matrix.trace())) / float(one.trace_error) for one in found])
    assert abs(z.mean()) < 0.5
    assert 0.7 < z.std() < 1.5


def test_blocks_are_chosen_by_patterns_and_may_overlap(loss, theta):
    """The network is 2-5-2; one block for the Hessian as a whole."""
    whole = dense_hessian(loss, theta)
    blocks = {"all": "*", "weights": ["*.weight"], "biases": ("0.bias", "2.bias")}
    result = block_spectrum(loss, theta, generator=seed(), blocks=blocks, k=2)
    assert list(result.block.values) == ["all", "weights", "biases"]
    assert list(result.parameters.values) == [27, 20, 7]
    assert np.allclose(result.sel(block="all").eigenvalues, torch.linalg.eigvalsh(whole).flip(0)[:2], atol=1e-12)
    where = entries(loss.layout, ["0.bias", "2.bias"])
    assert np.allclose(result.sel(block="biases").smallest, torch.linalg.eigvalsh(whole[where][:, where])[0])
    assert (result.trace_error == 0).all()
    assert float(result.trace.sel(block="all")) == pytest.approx(float(whole.trace()), rel=1e-12)


def test_a_block_smaller_than_k_has_what_there_is_then_nan():
    matrix = torch.diag(torch.tensor([5.0, -2.0]))
    result = block_spectrum(toys.quadratic(matrix), torch.ones(2), generator=seed(), k=4)
    np.testing.assert_array_equal(result.eigenvalues.values, [[5, -2, np.nan, np.nan]])
    np.testing.assert_array_equal(result.residuals.values, [[0, 0, np.nan, np.nan]])
    assert float(result.smallest[0]) == -2
    assert bool(result.converged[0])


@pytest.mark.filterwarnings("ignore:.* have no effect on the loss")
def test_parameters_that_do_nothing_have_no_curvature(generator):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(9, 9)
            self.map = nn.Linear(2, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x)

    loss = Loss.of(Idle().double(), (torch.ones(6, 2).double(), torch.zeros(6, 1).double()), nn.MSELoss())
    result = block_spectrum(loss, loss.theta, generator=generator, samples=5)
    idle = result.sel(block="idle")
    assert float(abs(idle.eigenvalues).max()) == float(idle.trace) == float(idle.trace_error) == 0
    assert bool(idle.converged)
    assert float(result.trace.sel(block="map")) == pytest.approx(4)


def test_each_split_has_its_own_and_the_blocks_draws_differ(loss, mlp, moons, theta):
    losses = {"train": loss, "test": Loss.of(mlp, (moons[0][:9], moons[1][:9]), nn.CrossEntropyLoss())}
    result = block_spectrum(losses, theta, generator=seed(), k=1, samples=4)
    assert result.eigenvalues.dims == ("split", "block", "eigenvalue")
    assert result.parameters.dims == ("block",)
    assert result.attrs["probe"] == "block_spectrum"
    assert result.attrs["buffers"] == "stored"
    for split, one in losses.items():
        alone = block_spectrum(one, theta, generator=seed(), k=1, samples=4)
        assert np.array_equal(alone.trace, result.trace.sel(split=split))
    first = block_spectrum(losses["test"], theta, generator=seed(), k=1, samples=4, blocks={"a": "0.*", "b": "0.*"})
    assert float(first.trace[0]) != float(first.trace[1])


@pytest.mark.parametrize("matrix", MATRICES)
def test_single_precision_first(matrix):
    """A float32 block of over 1,000 parameters: sought in float32, answered in float64."""
    make = nn.Sequential(nn.Linear(2, 34), nn.Tanh(), nn.Linear(34, 34), nn.Tanh(), nn.Linear(34, 2))
    network = seeded(lambda: make)
    x = torch.randn(60, 2, generator=seed(1))
    loss = Loss.of(network, (x, (x[:, 0] * x[:, 1] > 0).long()), nn.CrossEntropyLoss())
    result = block_spectrum(loss, loss.theta, generator=seed(), matrix=matrix, samples=5)
    assert (result.rough_products > 0).values.tolist() == [False, True, False]
    assert bool(result.converged.all())
    double = block_spectrum(loss.to(torch.float64), loss.theta, generator=seed(), matrix=matrix, samples=5)
    assert not double.rough_products.any()
    assert np.allclose(result.eigenvalues, double.eigenvalues, atol=1e-3 * float(double.eigenvalues.max()))


def test_owners_of_parameters_in_order():
    module, *_ = build("transformer")
    found = list(layers(Loss.of(module, *[build("transformer")[1:]], nn.CrossEntropyLoss()).layout))
    assert found[:3] == ["embedding", "encoder.layers.0.self_attn", "encoder.layers.0.self_attn.out_proj"]
    normed = nn.Sequential(nn.Linear(2, 2), torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    loss = Loss.of(normed, (torch.ones(1, 2), torch.zeros(1, 2)), nn.MSELoss())
    assert {name: len(parts) for name, parts in layers(loss.layout).items()} == {"0": 2, "1": 3}
    assert list(layers(toys.bowl(3).layout)) == ["(root)"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 0}, "k is 0: wanted 1 at least"),
        ({"max_products": 3}, r"max_products is 3: 3 \+ 1 eigenvalues take 4"),
        ({"blocks": {}}, "blocks is empty: wanted one at least"),
        ({"blocks": {"a": "encoder.*"}}, r"the block 'a': params='encoder\.\*' matches no parameter; there are: 0\.w"),
    ],
)
def test_what_does_not_fit_is_said(loss, theta, options, text):
    with pytest.raises(ValueError, match=text):
        block_spectrum(loss, theta, generator=seed(), **options)


def test_a_block_outside_theta_and_a_loss_that_is_not_finite(mlp, moons, loss, theta):
    part = Loss.of(mlp, moons, nn.CrossEntropyLoss(), params="2.*")
    with pytest.raises(ValueError, match=r"the block 'a', '0\.\*', holds no parameter of θ: 0\.weight, 0\.bias"):
        block_spectrum(part, part.theta, generator=seed(), blocks={"a": "0.*"})
    theta[0] = torch.nan
    for samples in (2, 30):  # sampled, dense
        with pytest.raises(ValueError, match="is the loss NaN or infinite at this point"):
            block_spectrum(loss, theta, generator=seed(), k=1, samples=samples)
