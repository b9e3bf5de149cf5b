from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lossatlas.parameters.directions import random_directions
from lossatlas.parameters.layout import Layout
from lossatlas.parameters.subspaces import cosine, orthogonalize, plane_through, principal_directions, project


@pytest.fixture
def convnet():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)).double()


@pytest.fixture
def layout(convnet):
    return Layout.of(convnet)


@pytest.fixture
def point(layout, generator):
    return torch.randn(layout.size, generator=generator, dtype=torch.float64)


def test_filters_have_the_norms_of_theta(layout, point, generator):
    """Per output channel of a kernel and per row of a matrix, each one by itself."""
    d = layout.unflatten(random_directions(layout, point, 3, generator=generator))
    w = layout.unflatten(point)
    for draw in range(3):
        for channel in range(4):
            expected = math.sqrt(float((w["0.weight"][channel] ** 2).sum()))
            assert float((d["0.weight"][draw, channel] ** 2).sum()) ** 0.5 == pytest.approx(expected, rel=1e-12)
        for row in range(3):
            expected = math.sqrt(float((w["3.weight"][row] ** 2).sum()))
            assert float((d["3.weight"][draw, row] ** 2).sum()) ** 0.5 == pytest.approx(expected, rel=1e-12)


def test_filters_differ_from_one_scale_per_tensor(layout, point, generator):
    d = layout.unflatten(random_directions(layout, point, 1, generator=generator, normalize="layer"))
    w = layout.unflatten(point)
    rows = d["3.weight"][0].norm(dim=1) / w["3.weight"].norm(dim=1)
    assert rows.std() > 0.01
    for name in ("0.weight", "3.weight"):
        assert float(d[name].norm()) == pytest.approx(float(w[name].norm()), rel=1e-12)


@pytest.mark.parametrize("normalize", ["filter", "layer"])
def test_biases_are_still_or_move_as_one(layout, point, generator, normalize):
    w = layout.unflatten(point)
    still = random_directions(layout, point, 2, generator=generator, normalize=normalize, biases="zero")
    moving = random_directions(layout, point, 2, generator=generator, normalize=normalize, biases="layer")
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert torch.equal(layout.unflatten(still)[name], torch.zeros(2, *w[name].shape))
        d = layout.unflatten(moving)[name]
        assert torch.allclose(d.norm(dim=1), w[name].norm(), rtol=1e-12)
        assert abs(cosine(d[0], w[name])) < 0.999  # random, not the parameter itself


def test_draws_are_gaussian_and_not_uniform():
    """Two uniform draws have a cosine of 0.75; Gaussian ones of 1/√P, and 0 with the all-ones vector on average."""
    layout = Layout.of(nn.Linear(50, 40))
    draws = random_directions(
        layout, torch.zeros(layout.size), 60, generator=torch.Generator().manual_seed(0), normalize="none"
    )
    ones = torch.ones(layout.size)
    cosines = [cosine(d, ones) for d in draws] + [cosine(a, b) for a, b in zip(draws[:30], draws[30:], strict=True)]
    assert abs(np.mean(cosines)) < 4 / math.sqrt(layout.size * len(cosines))
    assert np.std(cosines) == pytest.approx(1 / math.sqrt(layout.size), rel=0.3)
    assert float(draws.std()) == pytest.approx(1, abs=0.02)
    assert float((draws**4).mean()) == pytest.approx(3, abs=0.2)


def test_a_zero_filter_does_not_move(layout, point, generator):
    w = layout.unflatten(point)
    w["3.weight"][1] = 0
    d = layout.unflatten(random_directions(layout, layout.flatten(w), 2, generator=generator))
    assert torch.equal(d["3.weight"][:, 1], torch.zeros(2, 4))
    assert torch.isfinite(d["3.weight"]).all()


def test_same_seed_same_directions_in_any_precision(layout, point):
    def draw(theta):
        return random_directions(layout, theta, 2, generator=torch.Generator().manual_seed(3))

    assert torch.equal(draw(point), draw(point))
    assert draw(point.float()).dtype == torch.float32
    assert torch.allclose(draw(point.float()).double(), draw(point), rtol=1e-5, atol=1e-6)


def test_another_networks_theta_is_an_error(layout, generator):
    with pytest.raises(ValueError, match="but the module has"):
        random_directions(layout, torch.zeros(3), 1, generator=generator)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_orthogonalize_turns_but_keeps_the_norms(generator, dtype, bound):
    drawn = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    drawn = (torch.tensor([[1e-3], [1.0], [1e3]]) * (drawn + 2)).to(dtype)  # strongly correlated, of unlike size
    assert cosine(drawn[0], drawn[1]) > 0.5
    turned = orthogonalize(drawn)
    assert turned.dtype == dtype
    for i in range(3):
        assert float(turned[i].norm()) == pytest.approx(float(drawn[i].norm()), rel=1e-6)
        for j in range(i):
            assert abs(cosine(turned[i], turned[j])) < bound
    assert torch.equal(turned[0], drawn[0]) or torch.allclose(turned[0], drawn[0], rtol=1e-6)


def test_orthogonalize_keeps_the_span(generator):
    drawn = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    both = torch.cat([drawn, orthogonalize(drawn)])
    assert np.linalg.matrix_rank(both.numpy(), tol=1e-10) == 2


@pytest.mark.parametrize("second", [[2.0, 0.0, 0.0], [-1.0, 1e-9, 0.0], [0.0, 0.0, 0.0]])
def test_parallel_or_zero_directions_are_an_error(second):
    with pytest.raises(ValueError, match="direction 1 is zero or parallel"):
        orthogonalize(torch.tensor([[1.0, 0.0, 0.0], second]))


def test_cosine_of_a_known_angle():
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 2.0])) == pytest.approx(math.sqrt(0.5), rel=1e-15)
    assert cosine(torch.tensor([1e-30, 0.0]), torch.tensor([-1e-30, 0.0])) == pytest.approx(-1)


def test_principal_directions_are_the_singular_vectors_of_uncentred_differences(generator):
    points = torch.randn(9, 40, generator=generator, dtype=torch.float64).cumsum(0)
    axes, shares = principal_directions(points, points[-1], 3)
    _, values, vt = np.linalg.svd((points - points[-1]).numpy())
    assert np.allclose(shares, values[:3] ** 2 / (values**2).sum(), rtol=1e-9)
    assert np.allclose(np.abs(np.sum(axes.numpy() * vt[:3], axis=1)), 1, atol=1e-9)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-14)


def test_principal_directions_do_not_centre():
    """Points on a line beside the origin's: a centred PCA sees one direction, the plane through the origin two."""
    points = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    axes, shares = principal_directions(points, torch.zeros(3))
    assert torch.allclose(axes[:, 2], torch.zeros(2, dtype=torch.float64), atol=1e-12)
    _, values, _ = np.linalg.svd(points.double().numpy())
    assert np.allclose(shares, values[:2] ** 2 / (values**2).sum())


def test_an_exactly_planar_path_is_explained_wholly(generator):
    basis = torch.linalg.qr(torch.randn(30, 2, generator=generator, dtype=torch.float64)).Q.T
    coordinates = torch.tensor([[4.0, 1.0], [3.0, 2.0], [1.0, 1.5], [0.0, 0.0]], dtype=torch.float64)
    origin = torch.randn(30, generator=generator, dtype=torch.float64)
    axes, shares = principal_directions(origin + coordinates @ basis, origin)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-12)
    assert torch.allclose(axes.T @ axes, basis.T @ basis, atol=1e-10)  # the same plane


def test_the_first_point_has_positive_coordinates(generator):
    for _ in range(8):
        points = torch.randn(5, 12, generator=generator, dtype=torch.float64)
        axes, _ = principal_directions(points, points[-1])
        assert (axes @ (points[0] - points[-1]) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_straight_path_has_no_plane(generator, dtype):
    direction = torch.randn(25, generator=generator, dtype=dtype)
    points = torch.tensor([[3.0], [2.0], [1.0], [0.0]], dtype=dtype) * direction
    with pytest.raises(ValueError, match="4 points span fewer than 2 directions"):
        principal_directions(points, points[-1])


def test_a_path_that_stands_still_has_no_plane():
    with pytest.raises(ValueError, match="span fewer than 2"):
        principal_directions(torch.ones(4, 3), torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_plane_through_three_points_is_that_of_garipov_and_others(generator, dtype):
    """u along w₂ − w₁, v the rest of w₃ − w₁, both of length 1, written out in numpy."""
    points = torch.randn(3, 40, generator=generator, dtype=torch.float64).to(dtype)
    origin, axes, shares = plane_through(points)
    one, two, three = points.double().numpy()
    u = (two - one) / np.linalg.norm(two - one)
    v = (three - one) - ((three - one) @ u) * u
    np.testing.assert_array_equal(origin, one)
    np.testing.assert_allclose(axes, [u, v / np.linalg.norm(v)], rtol=1e-9, atol=1e-12)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-12)


def test_more_points_have_the_plane_of_their_centred_principal_components(generator):
    from sklearn.decomposition import PCA

    points = torch.randn(6, 40, generator=generator, dtype=torch.float64) + 5
    origin, axes, shares = plane_through(points)
    fitted = PCA(2, svd_solver="full").fit(points.numpy())
    np.testing.assert_allclose(origin, fitted.mean_, rtol=1e-12)
    np.testing.assert_allclose(np.abs((axes.numpy() * fitted.components_).sum(1)), 1, rtol=1e-10)
    np.testing.assert_allclose(shares, fitted.explained_variance_ratio_, rtol=1e-10)
    assert (axes @ (points[0] - origin) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [(0.0, 1.0, 0.4), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.2, 3.0)])
@pytest.mark.parametrize("apart", [10.0, 1e-4])
def test_points_on_a_line_span_no_plane_and_rounding_makes_none(generator, dtype, weights, apart):
    start, way = torch.randn(2, 500, generator=generator, dtype=torch.float64)
    points = torch.stack([start + apart * weight * way for weight in weights]).to(dtype)
    with pytest.raises(ValueError, match=f"the {len(weights)} points lie on one line: wanted three"):
        plane_through(points)


def test_a_thin_triangle_still_spans_a_plane():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 1e-4]], dtype=torch.float64)
    _, axes, _ = plane_through(points)
    np.testing.assert_allclose(axes, np.eye(2), atol=1e-12)


def test_a_plane_wants_three_finite_points():
    with pytest.raises(ValueError, match=r"got points of shape \(2, 5\): wanted \(m, P\) with m of at least 3"):
        plane_through(torch.eye(2, 5))
    with pytest.raises(ValueError, match="NaN or infinite"):
        plane_through(torch.eye(3, 5) / 0)


def test_projections_are_least_squares_and_the_rest_is_the_sine_of_the_angle(generator):
    points = torch.randn(7, 20, generator=generator, dtype=torch.float64)
    origin = torch.randn(20, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(20, 2, generator=generator, dtype=torch.float64)).Q.T
    coordinates, off = project(points, origin, axes)
    solution, squares, *_ = np.linalg.lstsq(axes.T.numpy(), (points - origin).T.numpy(), rcond=None)
    np.testing.assert_allclose(coordinates, solution.T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(off, np.sqrt(squares) / np.linalg.norm(points - origin, axis=1), rtol=1e-10)
    within = torch.stack([origin, origin + 3 * axes[0] - axes[1]])
    np.testing.assert_allclose(project(within, origin, axes)[1], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "filters"}, "normalize is 'filters': wanted one of 'filter', 'layer', 'none'"),
        ({"biases": "none"}, "biases is 'none': wanted one of 'zero', 'layer'"),
        ({"generator": 0}, "the generator is a int: wanted a torch.Generator"),
    ],
)
def test_an_option_that_there_is_not_is_named_and_not_read_as_another(options, message):
    layout = Layout.of(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=message):
        random_directions(layout, torch.ones(8), 2, **{"generator": torch.Generator(), **options})


def test_a_trajectory_that_diverged_is_named():
    points = torch.eye(3)
    points[0, 0] = math.nan
    with pytest.raises(ValueError, match="a point of the trajectory has parameters that are NaN or infinite"):
        principal_directions(points, points[-1])
