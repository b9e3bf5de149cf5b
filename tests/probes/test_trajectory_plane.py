from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lossatlas import trajectory_plane
from lossatlas.loss import toys
from lossatlas.parameters.subspaces import principal_directions

COORDINATES = torch.tensor([[4.0, 1.0], [3.0, 2.5], [1.5, 2.0], [0.5, -0.5], [0.0, 0.0]], dtype=torch.float64)


@pytest.fixture
def planar(theta, generator):
    """A path in a plane of the network's parameter space that ends at θ."""
    basis = torch.linalg.qr(torch.randn(len(theta), 2, generator=generator, dtype=torch.float64)).Q.T
    return theta + COORDINATES @ basis


def test_a_planar_path_lies_in_its_plane(loss, planar):
    result = trajectory_plane(loss, planar, steps=5)
    assert np.allclose(result.path_plane_loss, result.path_loss, rtol=1e-10)
    assert np.allclose(result.off_plane, 0, atol=1e-7)
    assert float(result.explained_variance.sum()) == pytest.approx(1, abs=1e-12)
    for checkpoint, own in zip(planar, result.path_loss.values, strict=True):
        assert loss(checkpoint).item() == pytest.approx(own, rel=1e-12)


def test_coordinates_keep_the_distances_of_a_planar_path(loss, planar):
    result = trajectory_plane(loss, planar, steps=3)
    found = np.stack([result.path_alpha, result.path_beta], axis=1)
    expected = COORDINATES.numpy()
    for i in range(5):
        for j in range(i):
            wanted = np.linalg.norm(expected[i] - expected[j])
            assert np.linalg.norm(found[i] - found[j]) == pytest.approx(wanted, rel=1e-9)
    assert (found[0] > 0).all()
    assert np.array_equal(found[-1], [0, 0])


@pytest.mark.parametrize("height", [0.0, 0.5, 1.5])
def test_a_path_with_a_known_residual(height):
    """Differences (4, 0, ±s) and (0, 2, 0): orthogonal columns, so the plane is that of the first two axes."""
    path = torch.tensor(
        [[4.0, 0.0, height], [4.0, 0.0, -height], [0.0, 2.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64
    )
    last = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    result = trajectory_plane(toys.bowl(3).to(torch.float64), last + path, steps=5)
    off = height / math.hypot(4, height)
    assert np.allclose(result.off_plane, [off, off, 0, 0], atol=1e-7)
    squares = np.array([32, 6.25, 2 * height**2])
    assert np.allclose(result.explained_variance, squares[:2] / squares.sum(), rtol=1e-10)
    flat = path * torch.tensor([1.0, 1.0, 0.0])
    assert np.allclose(result.path_plane_loss, 0.5 * ((last + flat) ** 2).sum(1), rtol=1e-9)
    assert np.allclose(result.path_loss, 0.5 * ((last + path) ** 2).sum(1), rtol=1e-12)
    assert np.allclose(np.abs(result.path_alpha), [4, 4, 0, 0], atol=1e-9)
    assert np.allclose(np.abs(result.path_beta), [0, 0, 2.5, 0], atol=1e-9)


@pytest.mark.parametrize("steps", [5, 6, 25])
def test_the_grid_has_the_last_point_as_a_node(loss, planar, steps):
    result = trajectory_plane(loss, planar, steps=steps, exact=True)
    assert result.loss.shape == (steps, steps)
    centre = result.loss.sel(alpha=0, beta=0)
    assert float(centre) == pytest.approx(loss(planar[-1]).item(), rel=1e-14)
    assert result.attrs["evaluations"] == steps**2 + 2 * 5


@pytest.mark.parametrize("steps", [9, 24, 25])
@pytest.mark.parametrize("margin", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_the_grid_covers_the_path_and_its_margins(planar, loss, steps, margin, name):
    """Even, with 0 as a node, and by less than a step more or less than asked for."""
    result = trajectory_plane(loss, planar, steps=steps, margin=margin)
    axis, path = result[name].values, result[f"path_{name}"].values
    extent = np.ptp(path)
    step = np.diff(axis)
    assert np.allclose(step, step[0])
    assert 0 in axis
    assert -step[0] < axis[0] - (path.min() - margin * extent) <= step[0] / 2 + 1e-12
    assert -step[0] / 2 - 1e-12 <= axis[-1] - (path.max() + margin * extent) < step[0]
    assert axis[0] <= path.min()
    assert axis[-1] >= path.max()


@pytest.mark.parametrize("steps", [3, 4, 5, 7])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
def test_a_coarse_grid_still_covers_the_path(steps, margin):
    """A path that goes 0.1 beyond its end: rounding 0 to a node must not push the path off the grid."""
    path = torch.tensor([[9.0, 3.0], [5.0, 4.0], [-1.0, -0.4], [0.0, 0.0]], dtype=torch.float64)
    result = trajectory_plane(toys.bowl(2).to(torch.float64), path, steps=steps, margin=margin)
    for name in ("alpha", "beta"):
        axis, track = result[name].values, result[f"path_{name}"].values
        assert axis[0] <= track.min() + 1e-12, name
        assert axis[-1] >= track.max() - 1e-12, name


def test_every_cell_is_the_loss_at_its_coordinates(loss, planar):
    result = trajectory_plane(loss, planar, steps=4)
    axes, _ = principal_directions(planar, planar[-1])
    for a in result.alpha.values:
        for b in result.beta.values:
            expected = loss(planar[-1] + a * axes[0] + b * axes[1]).item()
            assert float(result.loss.sel(alpha=a, beta=b)) == pytest.approx(expected, rel=1e-11)


def test_a_quadratic_on_its_own_plane_is_the_distance():
    """A bowl with its minimum at the last point: the plane shows ½ (α² + β²), whatever the axes."""
    result = trajectory_plane(toys.bowl(2).to(torch.float64), COORDINATES, steps=7)
    assert np.allclose(result.loss, 0.5 * (result.alpha**2 + result.beta**2), atol=1e-12)


def test_a_float32_path(moons):
    path = COORDINATES.float() + torch.tensor([100.0, -50.0])
    result = trajectory_plane(toys.bowl(2), path, steps=5)
    assert np.allclose(result.off_plane, 0, atol=1e-5)
    assert np.allclose(result.path_plane_loss, result.path_loss, rtol=1e-5)


def test_a_path_without_a_plane_is_an_error():
    straight = torch.tensor([[3.0], [2.0], [1.0], [0.0]]) * torch.ones(5)
    with pytest.raises(ValueError, match="span fewer than 2 directions"):
        trajectory_plane(toys.bowl(5), straight)
    with pytest.raises(ValueError, match=r"checkpoints have shape \(2, 5\): wanted \(t, P\) with t of at least 3"):
        trajectory_plane(toys.bowl(5), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="steps is 2: wanted at least 3"):
        trajectory_plane(toys.bowl(2), COORDINATES.float(), steps=2)


def test_a_list_of_checkpoints_is_told_to_be_stacked():
    with pytest.raises(ValueError, match=r"θ is a list: .* torch\.stack makes one of several"):
        trajectory_plane(toys.bowl(2), [torch.zeros(2), torch.ones(2), torch.ones(2)])  # type: ignore[arg-type]
