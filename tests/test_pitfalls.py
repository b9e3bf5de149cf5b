"""Mistakes that tools for loss landscapes have made, each with the answer it would have spoiled.

Those that the tests of one file guard are there. Here are the ones that show only in the whole.
"""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lossatlas import (
    epsilon_sharpness,
    interpolate,
    linear_connectivity,
    random_line,
    random_plane,
    spectrum,
    trajectory_plane,
)
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import Hessian, dense_hessian, scaled
from lossatlas.parameters.curves import Affine, grid
from lossatlas.parameters.directions import random_directions
from lossatlas.parameters.layout import Layout
from lossatlas.parameters.subspaces import cosine
from lossatlas.probes.sampling import sample
from tests.conftest import seeded
from tests.networks import build


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


# Directions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("normalize", ["filter", "layer", "none"])
def test_random_plane_is_no_line(mlp, moons, dtype, normalize):
    """Some tools' second direction is −1 times the first. From the surface: ‖θ + αd₁ + βd₂‖²/2 has the mixed second
    differences d₁·d₂."""
    loss = Loss.of(mlp.to(dtype), (moons[0].to(dtype), moons[1]), nn.CrossEntropyLoss(), weight_decay=1.0)
    plane = random_plane(loss, loss.theta, generator=seed(), normalize=normalize, steps=3)
    penalty = plane.penalty.values
    own = [np.diff(penalty, 2, axis=axis).mean() for axis in (0, 1)]
    mixed = np.diff(np.diff(penalty, axis=0), axis=1).mean()
    assert min(own) > 0.1
    assert abs(mixed) / math.sqrt(own[0] * own[1]) < (1e-12 if dtype is torch.float64 else 1e-5)


def test_rows_of_an_embedding_are_filters_and_a_layer_norm_has_none(generator):
    module = seeded(lambda: nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double())
    layout = Layout.of(module)
    theta = torch.randn(layout.size, generator=generator, dtype=torch.float64)
    weights = layout.unflatten(theta)
    still, moving = (
        layout.unflatten(random_directions(layout, theta, 1, generator=generator, biases=biases)[0])
        for biases in ("zero", "layer")
    )
    for name in ("0.weight", "2.weight"):
        assert torch.allclose(still[name].norm(dim=1), weights[name].norm(dim=1), rtol=1e-12)
        assert float(weights[name].norm(dim=1).std()) > 0.1
    for name in ("1.weight", "1.bias", "2.bias"):
        assert not still[name].any()
        assert float(moving[name].norm()) == pytest.approx(float(weights[name].norm()), rel=1e-12)
        assert abs(cosine(moving[name], weights[name])) < 0.999


# Grids ---------------------------------------------------------------------------------------------------------


def test_a_range_may_touch_zero(loss, theta, generator):
    """Some tools take an end of 0 for one that was not given."""
    basis = torch.randn(2, len(theta), generator=generator, dtype=torch.float64)
    alpha, beta = torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([-2.0, -1.0, -0.5, 0.0]).double()
    result = sample(loss, Affine(theta, basis, grid(alpha, beta)), {"alpha": alpha.numpy(), "beta": beta.numpy()})
    for a, b in ((0.0, 0.0), (1.0, 0.0), (0.0, -2.0)):
        expected = loss(theta + a * basis[0] + b * basis[1]).item()
        assert float(result.loss.sel(alpha=a, beta=b)) == pytest.approx(expected, rel=1e-12)
    path = torch.tensor([[4.0, 1.0], [2.0, 1.5], [0.0, 0.0]], dtype=torch.float64)
    plane = trajectory_plane(toys.bowl(2).to(torch.float64), path, steps=5, margin=0.0)
    assert plane.path_alpha.min() >= -1e-12
    assert float(plane.loss.sel(alpha=0, beta=0)) == 0


def test_losses_of_zero_and_below_are_values():
    """Some tools take a loss of 0 or less for a cell that is not done yet."""
    matrix = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    axis = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    points = Affine(torch.zeros(2, dtype=torch.float64), eye, grid(axis, axis))
    result = sample(toys.quadratic(matrix), points, {"alpha": axis.numpy(), "beta": axis.numpy()})
    assert result.loss.values.tolist() == [[0.0, 0.5, 0.0], [-0.5, 0.0, -0.5], [0.0, 0.5, 0.0]]
    assert "not_finite" not in result.attrs


def test_a_point_does_not_depend_on_the_points_before_it(generator):
    """Steps added up in float32 drift away: 10,000 of them by 1e-4 of the way."""
    origin, direction = torch.randn(2, 50, generator=generator)
    alpha = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    points = Affine(origin, direction[None], alpha[:, None])
    walked = origin.clone()
    for _ in range(10_000):
        walked += direction * 1e-4
    true = origin.double() + direction.double()
    assert float((walked - true).abs().max()) > 1e-5
    assert float((points[10_000:10_001][0] - true).abs().max()) < 1e-6
    assert torch.equal(points[9_990:10_001][-1], points[10_000:10_001][0])


def test_labels_of_an_axis_are_the_distances_walked():
    """On a bowl the height at the label α is α²‖d‖²/2, at both ends too, whatever the number of steps."""
    for steps in (3, 41):
        line = random_line(
            toys.bowl(6).to(torch.float64), torch.zeros(6, dtype=torch.float64), generator=seed(), normalize="none",
            radius=2.0, steps=steps,
        )  # fmt: skip
        d = random_directions(toys.bowl(6).layout, torch.zeros(6), 1, generator=seed(), normalize="none")[0].double()
        assert (float(line.alpha[0]), float(line.alpha[-1])) == (-2, 2)
        assert np.allclose(line.loss, 0.5 * line.alpha**2 * float(d @ d), rtol=1e-6)


def test_a_surface_is_measured_not_smoothed(mlp, moons, loss, theta):
    """Some tools put the mean for NaN, the maximum for infinity, and noise on the highest cells."""

    def spiked(output, target):
        value = nn.functional.cross_entropy(output, target)
        return torch.where(value > 1.0, torch.inf, torch.where(value > 0.9, torch.nan, value))

    holed = Loss.of(mlp, moons, spiked)
    clean, found = (random_plane(one, theta, generator=seed(), steps=9) for one in (loss, holed))
    values = clean.loss.values
    expected = np.where(values > 1.0, np.inf, np.where(values > 0.9, np.nan, values))
    assert np.isinf(expected).any()
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    assert np.allclose(found.loss, expected, rtol=1e-12, equal_nan=True)
    assert found.attrs["not_finite"] == int((~np.isfinite(expected)).sum())


# Batch statistics ----------------------------------------------------------------------------------------------


def test_both_ends_of_a_path_are_the_models_own_losses_with_statistics_of_their_own():
    """With one model's stored statistics the other end is not that model; re-estimated ones belong to every point."""
    module, x, y = build("resnet")
    other = seeded(lambda: build("resnet")[0])
    losses = []
    for one, shift in ((module, 0.0), (other, 0.4)):
        with torch.no_grad():
            for parameter in one.parameters():
                parameter += shift * parameter.cos()
            for norm in (part for part in one.modules() if isinstance(part, nn.BatchNorm2d)):
                norm.reset_running_stats()
                norm.momentum = None
            one.train()(x)  # sequentially consistent: every norm sees what those before it make of the same batch
            one.eval()
            losses.append(float(nn.functional.cross_entropy(one(x), y)))
    start, end = (Layout.of(one).theta_of(one) for one in (module, other))
    path = interpolate(
        Loss.of(module, (x, y), nn.CrossEntropyLoss(), buffers="re-estimated"), start, end, steps=3
    ).loss.values
    assert path[[0, -1]] == pytest.approx(losses, rel=1e-10)
    stored = interpolate(
        Loss.of(module, (x, y), nn.CrossEntropyLoss(), buffers="stored"), start, end, steps=3
    ).loss.values
    assert stored[0] == pytest.approx(losses[0], rel=1e-10)
    assert abs(stored[-1] - losses[1]) > 1e-3


# Curvature -----------------------------------------------------------------------------------------------------


def test_a_shuffled_loader_has_one_hessian_and_one_trace(moons):
    """Read anew for every product, the batches, and with them batch statistics, would be others each time."""
    module = seeded(lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double())
    loader = DataLoader(TensorDataset(*moons), 8, shuffle=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loss = Loss.of(module, loader, nn.CrossEntropyLoss(), buffers="batch")
        other = Loss.of(module, loader, nn.CrossEntropyLoss(), buffers="batch", batch_size=5)
    first, again = dense_hessian(loss, loss.theta), dense_hessian(loss, loss.theta)
    assert torch.equal(first, again)
    assert torch.allclose(first, first.T, atol=1e-13)
    assert not torch.allclose(first, dense_hessian(other, loss.theta), atol=1e-4)  # the split matters here


@pytest.mark.parametrize("length", [1e-8, 1.0, 1e8])
def test_products_are_linear_in_vectors_of_any_length(loss, theta, length):
    """A difference of gradients at a fixed step is not: a Rademacher vector of P entries has the length √P."""
    unit = torch.randn(2, len(theta), generator=seed(), dtype=torch.float64)
    product = Hessian(loss, theta)
    assert torch.allclose(product(length * unit) / length, product(unit), rtol=1e-12, atol=1e-14)


class Token:
    """Lives as long as the graph that it is part of."""


ALIVE: weakref.WeakSet[Token] = weakref.WeakSet()


class Marked(torch.autograd.Function):
    """x³ with a token in its graph."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.token = Token()
        ALIVE.add(ctx.token)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class MarkedNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2).double()

    def forward(self, x):
        return Marked.apply(self.linear(x))


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_graphs_of_second_derivatives_are_freed(ragged, moons):
    """`backward(create_graph=True)` ties a parameter to its gradient's graph, and that is never freed by itself."""
    module = MarkedNetwork()
    loss = Loss.of(module, ragged, nn.CrossEntropyLoss())
    gc.collect()
    assert not ALIVE
    product = Hessian(loss, loss.theta)
    product(torch.eye(6, dtype=torch.float64))
    assert len(ALIVE) == 3
    del product
    assert not ALIVE
    spectrum(loss, loss.theta, k=2, samples=2, generator=seed())
    assert not ALIVE
    nn.functional.cross_entropy(module(moons[0]), moons[1]).backward(create_graph=True)
    gc.collect()
    assert len(ALIVE) == 1
    module.zero_grad()
    assert not ALIVE


def test_saturated_logits_are_flat_and_are_measured_as_that():
    """Two weights, an example each: the Hessian is diag σ(w)σ(−w) / 2, and 1e-13 at w = 30 is not noise."""
    data = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    loss = Loss.of(nn.Linear(2, 1, bias=False).double(), data, nn.BCEWithLogitsLoss())
    for w in (0.5, 5.0, 30.0):
        theta = torch.tensor([w, w + 1], dtype=torch.float64)
        found = spectrum(loss, theta, k=1, samples=2, generator=seed())
        curvature = (torch.sigmoid(theta) * torch.sigmoid(-theta) / 2).tolist()
        assert float(found.eigenvalues[0]) == pytest.approx(curvature[0], rel=1e-9)
        assert float(found.smallest) == pytest.approx(curvature[1], rel=1e-9)
        assert bool(found.converged)


# Rescaling (Dinh et al. 2017) ----------------------------------------------------------------------------------


@pytest.fixture
def relu(moons):
    network = seeded(lambda: nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2)).double())
    loss = Loss.of(network, moons, nn.CrossEntropyLoss())
    return loss, torch.randn(loss.layout.size, generator=seed(4), dtype=torch.float64)


def rescaling(units: torch.Tensor) -> torch.Tensor:
    """What a factor for every hidden unit of a 2-6-2 network does to its parameters, `(32,)`."""
    return torch.cat([units.repeat_interleave(2), units, (1 / units).repeat(2), torch.ones(2)])


LAYER = torch.full((6,), 5.0, dtype=torch.float64)
UNITS = torch.tensor([0.2, 5.0, 1.0, 3.0, 0.5, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("units", [LAYER, UNITS], ids=["layer", "units"])
def test_curvature_is_no_property_of_the_function_and_changes_as_theory_says(relu, units):
    """H becomes D⁻¹HD⁻¹: top eigenvalue and trace change; the trace per relative change of weights does not."""
    loss, theta = relu
    scale = rescaling(units)
    moved = theta * scale
    assert loss(moved).item() == pytest.approx(loss(theta).item(), rel=1e-12)
    before, after = (spectrum(loss, t, k=3, samples=400, generator=seed(), tol=1e-8) for t in (theta, moved))
    expected = dense_hessian(loss, theta) / torch.outer(scale, scale)
    assert np.allclose(after.eigenvalues, torch.linalg.eigvalsh(expected).flip(0)[:3], rtol=1e-7)
    assert abs(float(after.trace) - float(expected.trace())) < 4 * float(after.trace_error) + 1e-9
    assert float(after.eigenvalues[0] / before.eigenvalues[0]) > 2
    assert float(after.trace / before.trace) > 2
    eye = torch.eye(32, dtype=torch.float64)
    adaptive = [float(scaled(Hessian(loss, t), t.abs())(eye).trace()) for t in (theta, moved)]
    assert adaptive[1] == pytest.approx(adaptive[0], rel=1e-12)


def test_a_filter_normalised_slice_ignores_a_layers_scale_but_not_a_units(relu):
    """A unit's own factor changes the norm of its row, and of one entry in every row of the next layer."""
    loss, theta = relu
    plain, layer, units = (
        random_line(loss, t, generator=seed(), steps=9).loss.values
        for t in (theta, theta * rescaling(LAYER), theta * rescaling(UNITS))
    )
    assert np.allclose(layer, plain, rtol=1e-10)
    assert np.abs(units - plain).max() > 0.05
    assert units[4] == pytest.approx(plain[4], rel=1e-12)


def test_sharpness_relative_to_every_layer_ignores_a_layers_scale_but_not_a_units(relu):
    loss, theta = relu
    plain, layer, units = (
        epsilon_sharpness(loss, t, generator=seed(), samples=20, radius=0.2).even.values
        for t in (theta, theta * rescaling(LAYER), theta * rescaling(UNITS))
    )
    assert np.allclose(layer, plain, rtol=1e-9, atol=1e-13)
    assert np.abs(units - plain).max() > 0.2 * np.abs(plain).max()


def test_weight_decay_ends_the_invariance(relu, moons):
    loss, theta = relu
    decayed = Loss.of(loss.module, moons, nn.CrossEntropyLoss(), weight_decay=0.01)
    moved = theta * rescaling(LAYER)
    expected = 0.005 * float(moved.square().sum() - theta.square().sum())
    assert (decayed(moved) - decayed(theta)).item() == pytest.approx(expected, rel=1e-9)
    assert expected > 0.1


def test_the_picture_is_not_that_of_the_weight_decay(relu, moons):
    """With the penalty in it, the surface of a decayed network is mostly the bowl λ‖θ‖²/2."""
    loss, theta = relu
    decayed = Loss.of(loss.module, moons, nn.CrossEntropyLoss(), weight_decay=1.0)
    plain, found = (random_plane(one, theta, generator=seed(), steps=5) for one in (loss, decayed))
    assert np.array_equal(found.loss, plain.loss)
    assert np.ptp(found.penalty.values) > np.ptp(found.loss.values)
    start, end = theta, -theta
    paths = [linear_connectivity(one, start, end, steps=5) for one in (loss, decayed)]
    assert float(paths[1].barrier) == float(paths[0].barrier)


def test_a_weight_of_zero_is_no_infinity(relu):
    """Relative steps and scaled curvature multiply by |w|; some tools divide by it."""
    loss, theta = relu
    theta = theta.clone()
    theta[[0, 1, 13, 31]] = 0.0  # one whole filter, one bias, one weight
    sharp = epsilon_sharpness(loss, theta, generator=seed(), samples=5)
    assert np.isfinite(sharp.even).all()
    assert torch.isfinite(scaled(Hessian(loss, theta), theta.abs())(torch.eye(32, dtype=torch.float64))).all()
    assert np.isfinite(random_plane(loss, theta, generator=seed(), steps=3).loss).all()
