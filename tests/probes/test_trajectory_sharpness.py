"""The curves over a trajectory against closed forms of a quadratic and dense Hessians of a small network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas import trajectory_sharpness
from lossatlas.loss import toys
from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import Hessian
from lossatlas.probes import BY_NAME
from lossatlas.probes.probe import Subject
from tests.dense import dense

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.func.hessian


def chance(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def quadratic() -> tuple[Loss, Tensor]:
    """With eigenvalues from −3 to 7, and its matrix."""
    turn = torch.linalg.qr(torch.randn(9, 9, generator=chance(3), dtype=torch.float64)).Q
    matrix = turn @ torch.diag(torch.linspace(-3, 7, 9, dtype=torch.float64)) @ turn.T
    matrix = (matrix + matrix.T) / 2
    return toys.quadratic(matrix), matrix


@pytest.fixture
def path(loss, theta) -> Tensor:
    """A path of gradient descent, with a checkpoint every 20 steps."""
    points = []
    for step in range(101):
        if step % 20 == 0:
            points.append(theta.clone())
        theta = theta - 0.3 * loss.gradient(theta)
    return torch.stack(points)


def test_a_quadratic_is_known_in_closed_form():
    loss, matrix = quadratic()
    points = torch.randn(4, 9, generator=chance(), dtype=torch.float64)
    result = trajectory_sharpness(loss, points, generator=chance(), radius=0.1, samples=400, tol=1e-9)
    assert np.allclose(result.loss, 0.5 * ((points @ matrix) * points).sum(1))
    assert np.allclose(result.gradient_norm, (points @ matrix).norm(dim=1))
    assert np.allclose(result.top_eigenvalue, 7, atol=1e-8)
    # δᵀAδ / 2 over a sphere of radius 0.1 ‖θ‖: tr(A) / P on the average
    squares = points.square().sum(1).numpy()
    expected = 0.5 * 0.01 * squares * float(matrix.trace()) / 9
    assert (np.abs(result.sharpness - expected) < 4 * result.sharpness_error).all()
    assert (result.sharpness_error < 0.2 * np.abs(result.sharpness)).all()
    # The same directions at every point: what differs is the length alone.
    ratios = result.sharpness / squares
    assert np.allclose(ratios, ratios[0])
    assert np.allclose(result.checkpoint, [0, 1, 2, 3])


def test_every_checkpoint_against_the_dense_hessian(mlp, moons, loss, path):
    result = trajectory_sharpness(loss, path, generator=chance(), tol=1e-8)
    for place, point in enumerate(path):
        at = result.isel(checkpoint=place)
        matrix = dense("hessian", mlp, moons, loss.layout, point)
        nn.utils.vector_to_parameters(point, mlp.parameters())
        value = F.cross_entropy(mlp(moons[0]), moons[1])
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(value, list(mlp.parameters()))])
        assert float(at.loss) == pytest.approx(value.item(), rel=1e-12)
        assert float(at.gradient_norm) == pytest.approx(float(gradient.norm()), rel=1e-12)
        assert float(at.top_eigenvalue) == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-10)
    assert bool(result.converged.all())


def test_the_average_sharpness_is_that_of_plain_evaluations(mlp, moons, loss, path):
    """Directions in every tensor of its norm times the radius, there and back; the even part of the rise alone."""
    result = trajectory_sharpness(loss, path, generator=chance(), radius=0.2, samples=500)
    point = path[2]
    moved = []
    for _ in range(2000):
        delta = torch.randn(27, generator=chance(len(moved) + 10), dtype=torch.float64)
        for part in loss.layout.slices.values():
            delta[part] *= 0.2 * point[part].norm() / delta[part].norm()
        moved.append(delta)
    delta = torch.stack(moved)
    rises = (loss(point + delta) + loss(point - delta)) / 2 - loss(point)
    error = float(np.hypot(float(rises.std()) / 2000**0.5, float(result.sharpness_error[2])))
    assert float(result.sharpness[2]) == pytest.approx(float(rises.mean()), abs=4 * error)
    assert error < 0.15 * float(rises.mean())


def test_the_tolerance_holds_and_the_start_from_before_saves_products(loss, path, monkeypatch):
    rows = []
    own = Hessian.__call__
    monkeypatch.setattr(Hessian, "__call__", lambda self, vectors: (rows.append(len(vectors)), own(self, vectors))[1])
    along = trajectory_sharpness(loss, path, generator=chance(), check=False)
    assert int(along.products) == sum(rows)
    assert (along.top_eigenvalue_residual <= 0.02 * along.top_eigenvalue * 1.001).all()
    exact = trajectory_sharpness(loss, path, generator=chance(), tol=1e-8)
    assert (np.abs(along.top_eigenvalue - exact.top_eigenvalue) <= along.top_eigenvalue_residual + 1e-12).all()
    alone = [int(trajectory_sharpness(loss, point[None], generator=chance()).products) for point in path]
    assert int(along.products) < sum(alone)


def test_only_the_first_loss_is_measured(loss, path, mlp, moons):
    refused = Loss.of(mlp, (moons[0], moons[1]), nn.CrossEntropyLoss())
    monitored = {"train": loss, "test": refused.watched(lambda count: pytest.fail("the second loss is measured"))}
    both = trajectory_sharpness(monitored, path, generator=chance())
    assert both.split.values.tolist() == ["train"]
    assert np.array_equal(
        both.top_eigenvalue.sel(split="train"), trajectory_sharpness(loss, path, generator=chance()).top_eigenvalue
    )


def test_with_a_penalty_gradient_and_eigenvalue_are_the_objectives(mlp, moons, path):
    plain, decayed = (
        trajectory_sharpness(
            Loss.of(mlp, moons, nn.CrossEntropyLoss(), weight_decay=decay), path, generator=chance(), tol=1e-8
        )
        for decay in (0.0, 0.5)
    )
    assert np.allclose(decayed.top_eigenvalue, plain.top_eigenvalue + 0.5, rtol=1e-8)
    assert np.allclose(decayed.loss, plain.loss)
    assert np.allclose(decayed.sharpness, plain.sharpness)
    assert not np.allclose(decayed.gradient_norm, plain.gradient_norm)


def test_columns_say_what_became_of_the_eigenvalue(loss, path):
    result = trajectory_sharpness({"train": loss}, path, generator=chance(), tol=1e-6)
    columns = BY_NAME["trajectory_sharpness"].columns
    values = [column.value(result.sel(split="train")) for column in columns.values()]
    ends = [
        trajectory_sharpness(loss, path[[at]], generator=chance(), tol=1e-6).top_eigenvalue.item() for at in (0, -1)
    ]
    assert values == [pytest.approx(ends[1] / ends[0], rel=1e-9), True]


def test_a_checkpoint_that_is_not_finite_has_no_eigenvalue(loss, path):
    broken = path.clone()
    broken[1] = torch.inf
    result = trajectory_sharpness(loss, broken, generator=chance())
    assert np.isnan(result.top_eigenvalue).values.tolist() == [False, True, *[False] * 4]
    assert not result.converged[1]
    assert np.isnan(result.loss[1])
    told = BY_NAME["trajectory_sharpness"].tell(result, "")
    assert "At 1 of the checkpoints it has not converged" in told.sentence
    assert told.tables[0].rows[1][3] == "not finite"


def test_derivatives_of_another_function_are_told(moons):
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + ((4 * x).round() / 4 - x).detach()

    loss = Loss.of(nn.Sequential(nn.Linear(2, 3), Rounded(), nn.Linear(3, 2)).double(), moons, nn.CrossEntropyLoss())
    path = loss.theta + torch.tensor([[0.1], [0.0]]).double()
    with pytest.warns(UserWarning, match="is off by .* of what differences beside the point say"):
        result = trajectory_sharpness(loss, path, generator=chance())
    assert (
        BY_NAME["trajectory_sharpness"].tell(result, "").sentence.startswith("The derivatives of the loss are off by")
    )
    assert "derivative_check" not in trajectory_sharpness(loss, path, generator=chance(), check=False)


@pytest.mark.parametrize(
    ("options", "points", "message"),
    [
        ({}, torch.zeros(27), r"checkpoints have shape \(27,\): wanted \(t, P\) with t of at least 1"),
        ({"samples": 1}, torch.zeros(3, 27), "samples is 1: wanted at least 2, for a standard error"),
    ],
)
def test_what_is_no_path_or_no_sample_is_an_error(options, points, message, loss):
    with pytest.raises(ValueError, match=message):
        trajectory_sharpness(loss, points.double(), generator=chance(), **options)


def test_the_cost_that_is_declared_is_about_that_of_the_work(loss, path):
    subject = Subject({"train": loss}, path[-1], trajectory=path)
    probe = BY_NAME["trajectory_sharpness"]
    result = probe.measure(subject, probe.settings(), chance())
    cost = probe.cost(subject, probe.settings())
    assert cost.evaluations == result.attrs["evaluations"]
    assert 0.5 < cost.products / int(result.products.item()) < 2
