"""Surface files in the layout of loss-landscape's plot_surface.py, written here as its code does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lossatlas.results.loss_landscape import read_loss_landscape


def loss_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 1 + x**2 + 10 * (y - 0.3) ** 2


def write(
    path: Path, nx: int = 5, ny: int | None = 3, *, splits: tuple[str, ...] = ("train",), finished: int = 1000
) -> None:
    """A file after so many points, each written under the flat number that its scheduler counts it off by."""
    with h5py.File(path, "w") as file:
        file["dir_file"] = "model_300.t7_weights_xignore=biasbn_xnorm=filter.h5"
        x = np.linspace(-1, 1, nx)
        file["xcoordinates"] = x
        shape: tuple[int, ...] = x.shape
        places = x, np.zeros_like(x)
        if ny is not None:
            y = np.linspace(-2, 1, ny)
            file["ycoordinates"] = y
            shape = len(x), len(y)
            mesh_x, mesh_y = np.meshgrid(x, y)
            places = mesh_x.ravel(), mesh_y.ravel()
        for number, split in enumerate(splits):
            losses, percents = -np.ones(shape), -np.ones(shape)
            for index in range(min(losses.size, finished)):
                value = loss_at(places[0][index], places[1][index]) + number
                losses.ravel()[index] = value
                percents.ravel()[index] = 100 / value
            file[f"{split}_loss"] = losses
            file[f"{split}_acc"] = percents


@pytest.mark.parametrize(("nx", "ny"), [(5, 3), (3, 5), (4, 4)])
def test_every_point_is_where_it_was_measured(tmp_path, nx, ny):
    """PITFALL: points in the order of a (ny, nx) grid, counted off in an (nx, ny) array."""
    write(tmp_path / "a.h5", nx, ny, splits=("train", "test"))
    result = read_loss_landscape(tmp_path / "a.h5")
    assert result.loss.dims == result.accuracy.dims == ("split", "alpha", "beta")
    assert list(result.split.values) == ["train", "test"]
    np.testing.assert_array_equal(result.alpha, np.linspace(-1, 1, nx))
    np.testing.assert_array_equal(result.beta, np.linspace(-2, 1, ny))
    expected = loss_at(result.alpha.values[:, None], result.beta.values)
    np.testing.assert_allclose(result.loss.sel(split="train"), expected)
    np.testing.assert_allclose(result.loss.sel(split="test"), expected + 1)
    np.testing.assert_allclose(result.accuracy, 1 / result.loss)
    assert result.loss.attrs["units"] == "criterion"
    assert result.attrs["directions"].startswith("model_300.t7_weights")


def test_points_that_are_not_measured_yet_are_nan(tmp_path):
    write(tmp_path / "a.h5", 5, 3, finished=7)
    result = read_loss_landscape(tmp_path / "a.h5")
    measured = np.zeros((5, 3), bool)
    measured[:, 0] = True  # five with the first y, then two with the second
    measured[:2, 1] = True
    for values in (result.loss, result.accuracy):
        np.testing.assert_array_equal(np.isfinite(values.values[0]), measured)
    np.testing.assert_allclose(result.loss[0, 1, 1], loss_at(result.alpha[1], result.beta[1]))


def test_a_line(tmp_path):
    write(tmp_path / "a.h5", 6, None)
    result = read_loss_landscape(tmp_path / "a.h5")
    assert result.loss.dims == ("split", "alpha")
    np.testing.assert_allclose(result.loss[0], loss_at(result.alpha.values, np.zeros(6)))


def test_a_file_without_accuracies(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["train_acc"]
    assert set(read_loss_landscape(tmp_path / "a.h5").data_vars) == {"loss"}


def test_other_files_are_named_in_one_line(tmp_path):
    file = tmp_path / "a.h5"
    with pytest.raises(FileNotFoundError):
        read_loss_landscape(file)
    file.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"a.h5 is no complete HDF5 file"):
        read_loss_landscape(file)
    with h5py.File(file, "w") as written:
        written["xdirection"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"a.h5 holds xdirection: wanted xcoordinates and train_loss"):
        read_loss_landscape(file)
    write(file)
    with h5py.File(file, "a") as written:
        del written["ycoordinates"]
    with pytest.raises(ValueError, match=r"a.h5: train_loss has shape \(5, 3\), the coordinates \(5,\)"):
        read_loss_landscape(file)
