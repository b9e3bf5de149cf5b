from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lossatlas import model_plane
from lossatlas.loss import toys

TRIANGLE = torch.tensor([[0.0, 0.0], [5.0, 0.0], [2.0, 4.0]], dtype=torch.float64)


@pytest.fixture
def basis(theta, generator):
    """Three orthonormal rows: two of the plane and one off it."""
    return torch.linalg.qr(torch.randn(len(theta), 3, generator=generator, dtype=torch.float64)).Q.T


@pytest.fixture
def models(theta, basis):
    return theta + TRIANGLE @ basis[:2]


def test_the_first_model_is_the_origin_and_distances_are_those_of_parameter_space(loss, models):
    result = model_plane(loss, models, names=["a", "b", "c"], steps=3)
    assert list(result.model.values) == ["a", "b", "c"]
    np.testing.assert_allclose(np.stack([result.model_alpha, result.model_beta], 1), TRIANGLE, atol=1e-12)
    np.testing.assert_allclose(result.model_off_plane, 0, atol=1e-12)
    assert result.attrs["origin"] == "a"
    assert result.alpha.attrs["units"] == result.model_alpha.attrs["units"] == "parameter"
    assert list(model_plane(loss, models, steps=3).model.values) == ["model 1", "model 2", "model 3"]


def test_every_node_is_the_loss_at_its_coordinates(loss, models, basis):
    result = model_plane(loss, models, steps=4)
    assert result.loss.dims == result.accuracy.dims == ("alpha", "beta")
    for a in result.alpha.values:
        for b in result.beta.values:
            expected = loss(models[0] + a * basis[0] + b * basis[1]).item()
            assert float(result.loss.sel(alpha=a, beta=b)) == pytest.approx(expected, rel=1e-11)


def test_models_are_measured_themselves(loss, models):
    result = model_plane({"train": loss}, models, steps=2)
    assert result.model_loss.dims == result.model_plane_loss.dims == ("split", "model")
    np.testing.assert_allclose(result.model_loss[0], [loss(model).item() for model in models], rtol=1e-13)
    np.testing.assert_allclose(result.model_plane_loss, result.model_loss, rtol=1e-10)
    assert result.attrs["evaluations"] == 2**2 + 2 * 3


def test_a_bowl_has_one_scale_along_both_axes():
    """The plane z = 1 of ‖θ‖²/2, whose first corner is above the minimum."""
    corners = torch.tensor([[0.0, 0.0, 1.0], [0.0, 3.0, 1.0], [6.0, 0.0, 1.0]], dtype=torch.float64)
    result = model_plane(toys.bowl(3).to(torch.float64), corners, steps=9)
    np.testing.assert_allclose(result.loss, 0.5 * (result.alpha**2 + result.beta**2 + 1), rtol=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_grid_is_a_square_around_models_and_paths(loss, models, basis, margin):
    path = models[0] + torch.tensor([[-3.0, 1.0, 7.0], [0.0, 0.0, 0.0]], dtype=torch.float64) @ basis
    for trajectories, low, high in ((None, (0, -0.5), (5, 4.5)), ({"sgd": path}, (-3, -2), (5, 6))):
        result = model_plane(loss, models, trajectories=trajectories, steps=5, margin=margin)
        extent = high[0] - low[0]
        for axis, least, most in zip((result.alpha, result.beta), low, high, strict=True):
            wanted = np.linspace(least - margin * extent, most + margin * extent, 5)
            np.testing.assert_allclose(axis, wanted, atol=1e-10)


def test_more_than_three_models_have_the_plane_of_best_fit(loss, theta, generator):
    models = theta + torch.randn(6, len(theta), generator=generator, dtype=torch.float64)
    result = model_plane(loss, models, steps=3)
    fitted = PCA(2, svd_solver="full").fit(models.numpy())
    coordinates = fitted.transform(models.numpy())
    found = np.stack([result.model_alpha, result.model_beta], 1)
    np.testing.assert_allclose(np.abs(found), np.abs(coordinates), atol=1e-10)
    np.testing.assert_allclose(result.explained_variance, fitted.explained_variance_ratio_, rtol=1e-10)
    projections = fitted.inverse_transform(coordinates)
    off, away = (np.linalg.norm(models.numpy() - other, axis=1) for other in (projections, fitted.mean_))
    assert off.min() > 0.1
    np.testing.assert_allclose(result.model_off_plane, off / away, rtol=1e-10)
    np.testing.assert_allclose(result.model_loss, [loss(model).item() for model in models], rtol=1e-13)
    flat = [loss(torch.from_numpy(point)).item() for point in projections]
    np.testing.assert_allclose(result.model_plane_loss, flat, rtol=1e-9)
    assert result.attrs["origin"] == "mean of the models"


def test_trajectories_of_any_length_lie_along_one_labelled_dimension(loss, models, basis):
    """Checkpoints at known places, so far above the plane."""
    places = {
        "adam": torch.tensor([[-1.0, 2.0, 2.0], [0.0, 4.0, 3.0], [5.0, 0.0, 0.0]], dtype=torch.float64),
        "sgd": torch.tensor([[-1.0, 2.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64),
    }
    paths = {name: models[0] + at @ basis for name, at in places.items()}
    result = model_plane({"train": loss, "test": loss}, models, trajectories=paths, steps=2)
    assert list(result.trajectory.values) == ["adam"] * 3 + ["sgd"] * 2
    assert list(result.checkpoint.values) == [0, 1, 2, 0, 1]
    assert result.attrs["evaluations"] == 2**2 + 2 * (3 + 5)
    every = torch.cat(list(places.values())).numpy()
    np.testing.assert_allclose(np.stack([result.path_alpha, result.path_beta], 1), every[:, :2], atol=1e-11)
    np.testing.assert_allclose(result.path_off_plane, [2 / 3, 3 / 5, 0, 2 / 3, 0], atol=1e-11)
    for name, part in result.groupby("trajectory"):
        flat = models[0] + places[name][:, :2] @ basis[:2]
        assert part.path_loss.dims == ("split", "point")
        np.testing.assert_allclose(part.path_loss[1], [loss(point).item() for point in paths[name]], rtol=1e-12)
        np.testing.assert_allclose(part.path_plane_loss[1], [loss(point).item() for point in flat], rtol=1e-10)
    assert float(abs(result.path_loss - result.path_plane_loss)[0, 0]) > 1e-3


def test_a_trajectory_that_diverged_says_so_and_leaves_the_rest(loss, models, basis):
    lost = torch.stack([models[0], models[1] / 0])
    result = model_plane(loss, models, trajectories={"sgd": lost}, steps=3)
    assert np.isnan(result.path_loss[1])
    assert np.isnan(result.path_alpha[1])
    np.testing.assert_allclose(result.loss, model_plane(loss, models, steps=3).loss, rtol=1e-14)
    assert np.isfinite(result.loss).all()


def test_models_in_float32():
    corners = torch.tensor([[100.0, -50.0, 1.0], [103.0, -50.0, 1.0], [100.0, -46.0, 1.0]])
    result = model_plane(toys.bowl(3), corners, steps=3)
    np.testing.assert_allclose(result.model_alpha, [0, 3, 0], atol=1e-9)
    np.testing.assert_allclose(result.model_beta, [0, 0, 4], atol=1e-9)
    np.testing.assert_allclose(result.model_plane_loss, result.model_loss, rtol=1e-6)


def test_what_does_not_span_a_plane_is_an_error():
    bowl, corners = toys.bowl(3).to(torch.float64), torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="the 3 points lie on one line"):
        model_plane(bowl, torch.outer(torch.arange(3.0), torch.ones(3)).double())
    with pytest.raises(ValueError, match=r"got points of shape \(2, 3\): wanted \(m, P\) with m of at least 3"):
        model_plane(bowl, corners[:2])
    with pytest.raises(ValueError, match=r"models has shape \(3,\): wanted \(n, 3\), a row for every point"):
        model_plane(bowl, corners[0])
    with pytest.raises(ValueError, match=r"adam has shape \(3,\): wanted \(n, 3\)"):
        model_plane(bowl, corners, trajectories={"adam": corners[0]})
    with pytest.raises(ValueError, match="but the module has 3 parameters"):
        model_plane(bowl, corners, trajectories={"adam": corners[:, :2]})
    for names in (["a", "b"], ["a", "b", "b"]):
        with pytest.raises(ValueError, match="wanted one for each of 3 models, no two alike"):
            model_plane(bowl, corners, names=names)
    for wrong in ({"steps": 1}, {"margin": -0.1}):
        with pytest.raises(ValueError, match="wanted at least 2 and at least 0"):
            model_plane(bowl, corners, **wrong)


def test_a_list_of_points_is_told_to_be_stacked():
    with pytest.raises(ValueError, match=r"θ is a list: .* torch\.stack makes one of several"):
        model_plane(toys.bowl(2), [torch.zeros(2), torch.ones(2), torch.tensor([1.0, 0.0])])  # type: ignore[arg-type]
