"""Every quantity of every probe, for a small ResNet, transformer and LSTM, against witnesses that know no lossatlas.

θ enters a copy of the module by its state dict; a loss is a plain forward pass in eval mode, on all data at once where
lossatlas has ragged batches; curvature is the dense Hessian of `torch.autograd.functional`; directions are made anew
from the same generator, filter by filter; axes are those of numpy's SVD and QR.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import norm
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import lossatlas as la
from benchmarks.own_models import Lstm, Transformer, resnet
from lossatlas.operators.hessian import Hessian

EXAMPLES, BATCH = 60, 25  # batches of 25, 25 and 10
EPOCHS = 40

NETWORKS = {
    "resnet": partial(resnet, 3, stages=1),  # 247 parameters
    "transformer": partial(Transformer, 4, depth=1, heads=2),  # 290
    "lstm": partial(Lstm, 4),  # 274
}


@dataclass(frozen=True)
class Case:
    """A trained module, still in training mode, its data, and all that is known of it without lossatlas."""

    module: nn.Module
    other: nn.Module  # trained from another seed
    checkpoints: Tensor  # (t, P), every few epochs; the last is the module's own θ
    inputs: Tensor
    targets: Tensor
    loss: la.Loss

    @property
    def theta(self) -> Tensor:
        return self.checkpoints[-1]

    @cached_property
    def hessian(self) -> Tensor:
        matrix = torch.autograd.functional.hessian(self.function, self.theta)
        assert isinstance(matrix, Tensor)
        return matrix

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Descending."""
        return np.linalg.eigvalsh(self.hessian.numpy())[::-1]

    def function(self, theta: Tensor) -> Tensor:
        """The loss on all data as a function of θ `(P,)`, by attention that can be differentiated twice."""
        module = copy.deepcopy(self.module).eval()
        with sdpa_kernel(SDPBackend.MATH):
            output = functional_call(module, parts(module, theta), (self.inputs,))
        return nn.functional.cross_entropy(output, self.targets)

    def gradient(self, theta: Tensor) -> Tensor:
        leaf = theta.clone().requires_grad_()
        return torch.autograd.grad(self.function(leaf), leaf)[0]

    def plain(self, points: Tensor) -> dict[str, np.ndarray]:
        """Loss and accuracy at points `(n, P)`, one after the other."""
        return self.plain_states({**self.module.state_dict(), **parts(self.module, theta)} for theta in points)

    @torch.no_grad()
    def plain_states(self, states: Iterator[dict[str, Tensor]]) -> dict[str, np.ndarray]:
        module = copy.deepcopy(self.module).eval()
        values = []
        for state in states:
            module.load_state_dict(state)
            output = module(self.inputs)
            hits = (output.argmax(1) == self.targets).double().mean()
            values.append((float(nn.functional.cross_entropy(output, self.targets)), float(hits)))
        return dict(zip(("loss", "accuracy"), np.array(values).T, strict=True))


def parts(module: nn.Module, theta: Tensor) -> dict[str, Tensor]:
    """The tensors of θ `(P,)` by name, in the module's order."""
    named = dict(module.named_parameters())
    pieces = theta.split([p.numel() for p in named.values()])
    return {name: piece.view(p.shape) for (name, p), piece in zip(named.items(), pieces, strict=True)}


def flat(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def fit(make: Callable[[], nn.Module], data: tuple[Tensor, Tensor], *, seed: int) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make().double()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
        checkpoints = [flat(module)]
        for epoch in range(EPOCHS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(data[0]), data[1]).backward()
            optimizer.step()
            if epoch % 8 == 7:
                checkpoints.append(flat(module))
    return module, torch.stack(checkpoints)


def ragged(data: tuple[Tensor, Tensor]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(BATCH) for part in data), strict=True))


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request) -> Case:
    pixels, labels = load_digits(return_X_y=True)
    data = torch.from_numpy(pixels[:EXAMPLES]).view(-1, 8, 8) / 16, torch.from_numpy(labels[:EXAMPLES])
    (module, checkpoints), (other, _) = (fit(NETWORKS[request.param], data, seed=seed) for seed in (1, 2))
    loss = la.Loss.of(module, ragged(data), nn.CrossEntropyLoss(), metrics={"accuracy": la.accuracy}, buffers="stored")
    if request.param == "lstm":  # said once, by the first stack
        with pytest.warns(UserWarning, match="Lstm cannot be vectorised over points"):
            loss(checkpoints)
    return Case(module, other, checkpoints, *data, loss)


def seed(number: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def agree(result, wanted: dict[str, np.ndarray], *, rtol: float = 1e-11) -> None:
    """Both loss and accuracy, and the loss is no constant."""
    assert np.ptp(wanted["loss"]) > 1e-3
    for name, values in wanted.items():
        found = np.asarray(result[name])
        np.testing.assert_allclose(found, values.reshape(found.shape), rtol=rtol, err_msg=name)


def mesh(result) -> Tensor:
    """Coordinates of all cells of a plane, `(n, 2)`, alpha first."""
    alpha, beta = np.meshgrid(result.alpha, result.beta, indexing="ij")
    return torch.from_numpy(np.stack([alpha.ravel(), beta.ravel()], -1))


def scaled(module: nn.Module, draws: Tensor, *, filters: bool) -> Tensor:
    """Gaussians `(n, P)` with the norms of θ's rows, biases zero (`filters`), or of its tensors."""
    return torch.stack([
        torch.cat([
            _scaled(given, weight.detach(), filters).reshape(-1)
            for given, weight in zip(parts(module, draw).values(), module.parameters(), strict=True)
        ])
        for draw in draws
    ])  # fmt: skip


def _scaled(given: Tensor, weight: Tensor, filters: bool) -> Tensor:
    if not filters:
        return given / given.norm() * weight.norm()
    if weight.ndim < 2:
        return torch.zeros_like(given)
    return torch.stack([d / d.norm() * w.norm() for d, w in zip(given, weight, strict=True)])


def by_filter(case: Case, count: int, generator: torch.Generator) -> Tensor:
    size = len(case.theta)
    return scaled(case.module, torch.randn(count, size, generator=generator, dtype=torch.float64), filters=True)


def pair(case: Case, generator: torch.Generator) -> Tensor:
    """Two filter-normalised directions, at right angles within every tensor, of the lengths that they had there."""
    one, two = by_filter(case, 2, generator)
    turned = [_turned(a, b) for a, b in zip(*(parts(case.module, way).values() for way in (one, two)), strict=True)]
    return torch.stack([one, torch.cat([part.reshape(-1) for part in turned])])


def _turned(first: Tensor, second: Tensor) -> Tensor:
    if not second.any():  # biases
        return second
    rest = second - (first * second).sum() / first.square().sum() * first
    return rest / rest.norm() * second.norm()


# Evaluation -------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_plain_passes(case):
    points = torch.cat(
        [case.checkpoints, case.theta + 0.3 * torch.randn(4, len(case.theta), generator=seed(), dtype=torch.float64)]
    )
    assert 200 < len(case.theta) < 600
    assert case.module.training
    assert torch.equal(case.loss.theta, case.theta)
    agree(case.loss.evaluate(points), case.plain(points))


def test_the_gradient_is_that_of_autograd_and_of_differences(case):
    """(L(θ+hv) − L(θ−hv)) / 2h is gᵀv up to h²/6 |L'''| + ε|L|/h: 1e-9 at h = 1e-5, ‖v‖ = 1."""
    here = case.theta + 0.05 * torch.randn(len(case.theta), generator=seed(), dtype=torch.float64)
    gradient = case.loss.gradient(here)
    assert float(gradient.norm()) > 1e-2
    torch.testing.assert_close(gradient, case.gradient(here), rtol=1e-9, atol=1e-13)
    ways = nn.functional.normalize(torch.randn(6, len(here), generator=seed(), dtype=torch.float64), dim=-1)
    ahead, behind = (case.plain(here + step * ways)["loss"] for step in (1e-5, -1e-5))
    np.testing.assert_allclose((ways @ gradient).numpy(), (ahead - behind) / 2e-5, atol=1e-8)


# Curvature --------------------------------------------------------------------------------------------------------


def test_products_are_those_of_differences_of_plain_gradients(case):
    """(g(θ+hv) − g(θ−hv)) / 2h is Hv up to h²/6 |L⁗| + ε|g|/h: 1e-8 at h = 1e-6, ‖v‖ = 1.

    No second derivative is taken here. Forward over reverse mode would not do as a witness: under `jacrev` torch 2.13
    leaves out how the gradient of a LayerNorm's weight changes with its input, and curvlinops with it.
    """
    ways = nn.functional.normalize(torch.randn(3, len(case.theta), generator=seed(), dtype=torch.float64), dim=-1)
    for way, product in zip(ways, Hessian(case.loss, case.theta)(ways), strict=True):
        ahead, behind = (case.gradient(case.theta + step * way) for step in (1e-6, -1e-6))
        difference = (ahead - behind) / 2e-6
        assert float(difference.norm()) > 0.01
        torch.testing.assert_close(product, difference, rtol=0, atol=1e-7 * float(difference.norm()))
        torch.testing.assert_close(case.hessian @ way, product, rtol=0, atol=1e-11 * float(product.norm()))


@pytest.mark.filterwarnings("ignore:Lstm cannot be vectorised")
def test_single_precision_gives_the_same_to_its_rounding(case):
    """An LSTM in float32 goes through another kernel than in float64, for values and for derivatives."""
    module, data = copy.deepcopy(case.module).float(), (case.inputs.float(), case.targets)
    single, theta = la.Loss.of(module, ragged(data), nn.CrossEntropyLoss()), case.theta.float()
    assert float(single(theta)) == pytest.approx(float(case.plain(case.theta[None])["loss"][0]), rel=1e-5)
    gradient = case.gradient(case.theta)
    torch.testing.assert_close(single.gradient(theta).double(), gradient, rtol=0, atol=1e-4 * float(gradient.norm()))
    result = la.spectrum(single, theta, generator=seed(), k=5, tol=1e-4, dtype=torch.float32)
    np.testing.assert_allclose(result.eigenvalues, case.eigenvalues[:5], atol=2e-4 * case.eigenvalues[0])


def variance_of_hutchinson(matrix: np.ndarray) -> float:
    """Of vᵀAv with Rademacher v: 2 Σ_{i≠j} A_ij² (Avron and Toledo 2011)."""
    return 2 * float((matrix**2).sum() - (np.diag(matrix) ** 2).sum())


def test_the_spectrum_is_that_of_the_dense_hessian(case):
    values = case.eigenvalues
    assert values[0] > 0.1
    assert values[-1] < -1e-4
    result = la.spectrum(case.loss, case.theta, generator=seed(), tol=1e-9)
    assert bool(result.converged)
    np.testing.assert_allclose(result.eigenvalues, values[:10], atol=1e-9 * values[0])
    assert float(result.smallest) == pytest.approx(values[-1], abs=1e-9 * values[0])
    quick = la.spectrum(case.loss, case.theta, generator=seed())
    assert np.all(np.abs(quick.eigenvalues - values[:10]) <= quick.residuals + 1e-12)
    assert abs(float(quick.smallest) - values[-1]) <= float(quick.smallest_residual) + 1e-12
    assert float(quick.residuals.max()) <= 1e-3 * values[0]


def test_the_trace_is_that_of_the_dense_hessian_and_its_error_is_hutchinsons(case):
    dense = case.hessian.numpy()
    values, vectors = np.linalg.eigh(dense)
    found = vectors[:, np.r_[0, -10:0]]
    rest = np.eye(len(dense)) - found @ found.T
    predicted = (variance_of_hutchinson(rest @ dense @ rest) / 100) ** 0.5
    result = la.spectrum(case.loss, case.theta, generator=seed(), tol=1e-7, samples=100)
    assert 0 < 4 * predicted < values.sum()  # an estimate that says something
    assert abs(float(result.trace) - np.trace(dense)) < 4 * predicted
    assert float(result.trace_error) == pytest.approx(predicted, rel=0.3)


def test_blocks_are_those_of_the_dense_hessian(case):
    result = la.block_spectrum(case.loss, case.theta, generator=seed(), tol=1e-9)
    numbers = parts(case.module, torch.arange(len(case.theta)))
    owners = {name: name.rpartition(".")[0] or "(root)" for name in numbers}
    assert list(result.block.values) == list(dict.fromkeys(owners.values()))
    assert len(result.block) >= 2
    for block in result.block.values:
        rows = torch.cat([part.reshape(-1) for name, part in numbers.items() if owners[name] == block])
        dense = case.hessian[rows][:, rows].numpy()
        values, own = np.linalg.eigvalsh(dense)[::-1], result.sel(block=block)
        assert int(own.parameters) == len(rows)
        scale = np.abs(values).max()
        np.testing.assert_allclose(own.eigenvalues, values[:3], atol=1e-8 * scale)
        assert float(own.smallest) == pytest.approx(values[-1], abs=1e-8 * scale)
        off = abs(float(own.trace) - np.trace(dense))
        assert off <= 4 * float(own.trace_error) + 1e-9 * scale
        assert float(own.trace_error) < np.abs(values).sum()


def test_the_density_is_that_of_the_dense_hessian(case):
    result = la.spectral_density(
        case.loss, case.theta, generator=seed(), scale="linear", width=0.05, draws=6, steps=20
    )  # fmt: skip
    assert len(case.theta) > 6 * 20  # else it is the dense one
    values, sigma = case.eigenvalues, float(result.sigma)
    assert trapezoid(result.density, result.axis) == pytest.approx(1, abs=1e-6)
    assert abs(float(result["mean"]) - values.mean()) < 4 * float(result.mean_error)
    assert float(result.mean_error) < 0.2 * values.mean()
    below = float((values < -1e-3 * values[0]).mean())
    assert abs(float(result.negative) - below) < 4 * float(result.negative_error) + 0.01
    exact = norm.pdf(result.axis.values[:, None], values, sigma).mean(1)
    off = np.abs(result.density.values - exact)
    assert off.max() < 0.05 * exact.max()
    assert np.mean(off < 3 * result.density_error.values + 1e-3 * exact.max()) > 0.95


def test_the_plane_of_two_eigenvectors_is_that_of_the_dense_hessian(case):
    values, vectors = np.linalg.eigh(case.hessian.numpy())
    basis = vectors[:, -1:-3:-1].T.copy()
    for v in basis:  # the first entry that is at least half the largest is positive
        v *= np.sign(v[np.flatnonzero(np.abs(v) >= np.abs(v).max() / 2)[0]])
    result = la.eigenvector_plane(case.loss, case.theta, generator=seed(), steps=7, tol=1e-11, exact=True)
    (level,) = case.plain(case.theta[None])["loss"]
    assert result.attrs["radius"] == pytest.approx((2 * level / values[-1]) ** 0.5, rel=1e-9)
    np.testing.assert_allclose(result.eigenvalues, values[:-3:-1], rtol=1e-9)
    gradient = case.gradient(case.theta).numpy()
    np.testing.assert_allclose(result.slope, basis @ gradient, atol=1e-7 * float(np.linalg.norm(gradient)))
    np.testing.assert_allclose(result.curvature, values[:-3:-1], rtol=1e-9)
    moves = mesh(result).numpy() @ basis  # (49, P)
    rise = moves @ gradient + np.einsum("np,pq,nq->n", moves, case.hessian.numpy(), moves) / 2
    np.testing.assert_allclose(result["quadratic"].values.ravel(), level + rise, rtol=1e-6)
    agree(result, case.plain(case.theta + torch.from_numpy(moves)), rtol=1e-6)
    assert float(abs(result["quadratic"] - result.loss).max()) > 1e-3


# Lines, planes and paths ----------------------------------------------------------------------------------------


def test_a_line_between_two_points_is_plain_evaluation(case):
    start = case.checkpoints[0]
    result = la.interpolate(case.loss, start, case.theta, steps=9)
    moves = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None] * (case.theta - start)
    agree(result, case.plain(start + moves))


def test_random_lines_are_plain_evaluation_along_the_same_draws(case):
    result = la.random_line(case.loss, case.theta, generator=seed(), radius=0.7, steps=9, draws=2)
    generator = seed()
    for draw in range(2):
        (direction,) = by_filter(case, 1, generator)
        points = case.theta + torch.tensor(result.alpha.values)[:, None] * direction
        agree(result.isel(draw=draw), case.plain(points))


def test_a_random_plane_is_plain_evaluation_along_the_same_draws(case):
    result = la.random_plane(case.loss, case.theta, generator=seed(), radius=0.7, steps=7, exact=True)
    agree(result, case.plain(case.theta + mesh(result) @ pair(case, seed())))
    drawn = by_filter(case, 2, seed())
    assert result.attrs["cosine_drawn"] == pytest.approx(float(torch.cosine_similarity(*drawn, dim=0)), abs=1e-12)
    assert result.attrs["cosine"] == pytest.approx(0, abs=1e-12)


def test_a_filled_plane_is_within_its_stated_error_of_the_exact_one(case):
    filled, exact = (
        la.random_plane(case.loss, case.theta, generator=seed(), radius=0.5, steps=31, exact=exact)
        for exact in (False, True)
    )
    measured = filled.measured.values
    assert 0.05 < measured.mean() < 0.4
    assert measured.sum() == filled.attrs["evaluations"]
    np.testing.assert_allclose(filled.loss.values[measured], exact.loss.values[measured], rtol=1e-12)
    off = abs(filled.loss - exact.loss)
    assert off.max() > 0
    assert (off <= filled.loss_error + 1e-12).all()
    assert filled.loss_error.max() < 0.1 * np.ptp(exact.loss.values)
    assert (abs(filled.accuracy - exact.accuracy) <= filled.accuracy_error).all()
    assert (exact.loss_error == 0).all()
    assert bool(exact.measured.all())


def test_the_plane_of_a_trajectory_is_plain_evaluation_on_its_principal_axes(case):
    result = la.trajectory_plane(case.loss, case.checkpoints, steps=7, exact=True)
    differences = (case.checkpoints - case.theta).numpy()
    _, singular, rows = np.linalg.svd(differences, full_matrices=False)
    axes = rows[:2] * np.sign(rows[:2] @ differences[0])[:, None]
    np.testing.assert_allclose(result.explained_variance, singular[:2] ** 2 / (singular**2).sum(), rtol=1e-10)
    path = differences @ axes.T
    np.testing.assert_allclose(np.stack([result.path_alpha, result.path_beta], -1), path, atol=1e-9)
    off = np.linalg.norm(differences - path @ axes, axis=1)[:-1] / np.linalg.norm(differences, axis=1)[:-1]
    np.testing.assert_allclose(result.off_plane, [*off, 0], atol=1e-7)
    assert off.max() > 0.01
    onto = torch.from_numpy(axes)
    np.testing.assert_allclose(result.path_loss, case.plain(case.checkpoints)["loss"], rtol=1e-11)
    projected = case.plain(case.theta + torch.from_numpy(path) @ onto)["loss"]
    np.testing.assert_allclose(result.path_plane_loss, projected, rtol=1e-9)
    agree(result, case.plain(case.theta + mesh(result) @ onto), rtol=1e-9)


def test_the_plane_of_three_models_is_plain_evaluation_on_its_own_axes(case):
    models = torch.stack([case.theta, case.checkpoints[2], flat(case.other)])
    result = la.model_plane(case.loss, models, steps=7, exact=True, trajectories={"run": case.checkpoints[:4]})
    differences = (models[1:] - models[0]).numpy()
    q, r = np.linalg.qr(differences.T)
    axes = (q * np.sign(np.diag(r))).T
    np.testing.assert_allclose(
        np.stack([result.model_alpha, result.model_beta], -1)[1:], differences @ axes.T, atol=1e-9
    )
    centred = (models - models.mean(0)).numpy()
    shares = ((centred @ axes.T) ** 2).sum(0) / (centred**2).sum()
    np.testing.assert_allclose(result.explained_variance, shares, rtol=1e-9)
    np.testing.assert_allclose(result.model_loss, case.plain(models)["loss"], rtol=1e-11)
    np.testing.assert_allclose(result.model_plane_loss, case.plain(models)["loss"], rtol=1e-9)
    moves = (case.checkpoints[:4] - models[0]).numpy()
    onto = torch.from_numpy(axes)
    on_plane = models[0] + torch.from_numpy(moves @ axes.T) @ onto
    np.testing.assert_allclose(result.path_plane_loss, case.plain(on_plane)["loss"], rtol=1e-9)
    np.testing.assert_allclose(result.path_loss, case.plain(case.checkpoints[:4])["loss"], rtol=1e-11)
    away = np.linalg.norm(moves - moves @ axes.T @ axes, axis=1) / np.linalg.norm(moves, axis=1)
    np.testing.assert_allclose(result.path_off_plane, away, atol=1e-7)
    agree(result, case.plain(models[0] + mesh(result) @ onto), rtol=1e-9)


def test_sharpness_is_plain_evaluation_of_the_same_draws(case):
    result = la.epsilon_sharpness(case.loss, case.theta, generator=seed(), samples=12, curve_samples=12)
    draws = torch.randn(12, len(case.theta), generator=seed(), dtype=torch.float64)
    steps = 0.05 * scaled(case.module, draws, filters=False)
    moved = torch.cat([case.theta + steps, case.theta - steps])
    wanted, here = case.plain(moved), case.plain(case.theta[None])
    rises = wanted["loss"].reshape(2, 12) - here["loss"]
    even = rises.mean(0)
    assert np.ptp(even) > 1e-5
    np.testing.assert_allclose(result.even, even, atol=1e-12)
    np.testing.assert_allclose(result.odd, rises[0] - even, atol=1e-12)
    accuracy = wanted["accuracy"].reshape(2, 12) - here["accuracy"]
    np.testing.assert_allclose(result.accuracy_even, accuracy.mean(0), atol=1e-12)
    assert float(result.maximum) == pytest.approx(rises.max(), abs=1e-12)
    main = result.sel(radius=0.05)
    assert float(main.mean_even) == pytest.approx(even.mean(), abs=1e-12)
    assert float(main.mean_even_error) == pytest.approx(even.std(ddof=1) / 12**0.5, abs=1e-12)


def test_the_barrier_is_that_of_a_fine_path_of_interpolated_models(case):
    """Weights and batch statistics move together: each point is a model whose whole state dict lies between two."""
    ends = case.module, case.other
    loss = la.Loss.of(
        case.module, ragged((case.inputs, case.targets)), nn.CrossEntropyLoss(), buffers="interpolated", between=ends,
        metrics={"accuracy": la.accuracy},
    )  # fmt: skip
    result = la.linear_connectivity(loss, *map(flat, ends))

    def between(alphas: np.ndarray) -> dict[str, np.ndarray]:
        one, two = (module.state_dict() for module in ends)
        return case.plain_states(
            {name: torch.lerp(t, two[name], float(a)) if t.is_floating_point() else t for name, t in one.items()}
            for a in alphas
        )

    agree(result, between(result.alpha.values))
    fine = np.linspace(0, 1, 401)
    losses = between(fine)["loss"]
    barrier = losses.max() - max(losses[0], losses[-1])
    excess = (losses - (1 - fine) * losses[0] - fine * losses[-1]).max()
    assert barrier > 0.1
    assert float(result.barrier) == pytest.approx(barrier, rel=1e-3)
    assert float(result.excess) == pytest.approx(excess, rel=1e-3)
    assert abs(float(result.barrier_resolution)) < 0.01 * barrier


# Weight decay ----------------------------------------------------------------------------------------------------


def test_lines_by_weight_decay_are_plain_evaluation(case):
    decays, starts, ends = (0.0, 0.1), case.checkpoints[[0, 1]], torch.stack([case.theta, flat(case.other)])
    result = la.interpolate_by_weight_decay(case.loss, starts, ends, decays, steps=5)
    for decay, start, end in zip(decays, starts, ends, strict=True):
        line = start + torch.linspace(0, 1, 5, dtype=torch.float64)[:, None] * (end - start)
        own = result.sel(weight_decay=decay)
        agree(own, case.plain(line))
        np.testing.assert_allclose(own.penalty, decay / 2 * line.square().sum(1), rtol=1e-10)


def test_slices_by_weight_decay_are_plain_evaluation_along_the_same_draws(case):
    decays, thetas = (0.0, 0.1), torch.stack([case.theta, flat(case.other)])
    result = la.slice_by_weight_decay(case.loss, thetas, decays, generator=seed(), radius=0.7, steps=5, exact=True)
    directions = pair(case, seed())
    for decay, theta in zip(decays, thetas, strict=True):
        points, own = theta + mesh(result) @ directions, result.sel(weight_decay=decay)
        agree(own, case.plain(points))
        np.testing.assert_allclose(own.penalty.values.ravel(), decay / 2 * points.square().sum(1), rtol=1e-9)
        length = directions.square().sum(1).mean().sqrt() / theta.norm()
        assert float(own.relative_length) == pytest.approx(float(length), rel=1e-12)
