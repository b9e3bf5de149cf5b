from __future__ import annotations

import time

import pytest
import torch
import xarray as xr
from torch.nn.functional import l1_loss, mse_loss

from lossatlas import Loss, linear_connectivity, random_line, spectrum
from lossatlas.loss import toys
from lossatlas.results.storage import load, save
from lossatlas.results.variables import UNITS


@pytest.fixture
def result(generator):
    """Numbers, a flag, counts, text along a dimension, attributes."""
    matrix = torch.diag(torch.tensor([3.0, -1.0, 0.5, 0.0], dtype=torch.float64))
    losses = {"train": toys.quadratic(matrix), "test": toys.quadratic(2 * matrix)}
    return spectrum(losses, torch.zeros(4, dtype=torch.float64), k=2, samples=2, generator=generator)


def test_what_was_saved_is_what_is_loaded(result, tmp_path):
    save(result, tmp_path / "a.nc")
    loaded = load(tmp_path / "a.nc")
    xr.testing.assert_identical(loaded, result)
    assert loaded.converged.dtype == bool


def test_a_path_may_be_text_and_its_folder_is_made(result, tmp_path):
    save(result, str(tmp_path / "new" / "a.nc"))
    xr.testing.assert_identical(load(str(tmp_path / "new" / "a.nc")), result)


def test_nan_and_infinity_survive(tmp_path):
    result = xr.Dataset({"loss": ("alpha", [1.0, float("nan"), float("inf")])})
    save(result, tmp_path / "a.nc")
    xr.testing.assert_identical(load(tmp_path / "a.nc"), result)


def test_the_same_result_gives_the_same_bytes(result, tmp_path):
    save(result, tmp_path / "a.nc")
    time.sleep(1.1)  # a time stamp has seconds
    save(result.copy(deep=True), tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_a_loaded_file_is_closed(result, tmp_path):
    path = tmp_path / "a.nc"
    save(result, path)
    load(path)
    save(result, path)  # an open handle would lock it
    path.unlink()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
def test_a_broken_file_is_named(result, tmp_path, keep):
    path = tmp_path / "broken.nc"
    save(result, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"broken\.nc is not a .* netCDF file"):
        load(path)


def test_text_is_no_result(tmp_path):
    (tmp_path / "text.nc").write_text("no netCDF here\n" * 50)
    with pytest.raises(ValueError, match=r"text\.nc is not a .* netCDF file"):
        load(tmp_path / "text.nc")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.nc")


def test_every_description_has_a_name_and_a_unit():
    for entry in UNITS.values():
        assert set(entry) - {"invariant_to"} == {"long_name", "units"}
        assert all(entry.values())
        assert entry.get("invariant_to", "none") in ("none", "layer", "unit")


def test_xarray_by_itself_reads_a_result(result, tmp_path):
    save(result, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as opened:
        xr.testing.assert_identical(opened.load().drop_vars("split"), result.drop_vars("split"))


@pytest.mark.parametrize("name", ["5x", "int", "f1 (macro)", "top-5"])
def test_a_metric_of_any_name_that_is_taken_can_be_kept(name, tmp_path):
    loss = Loss.of(torch.nn.Linear(1, 1), (torch.ones(3, 1), torch.ones(3, 1)), mse_loss, metrics={name: l1_loss})
    result = random_line(loss, loss.theta, generator=torch.Generator().manual_seed(0), steps=3)
    assert name in result
    save(result, tmp_path / "a.nc")
    xr.testing.assert_identical(load(tmp_path / "a.nc"), result)
    with xr.open_dataset(tmp_path / "a.nc") as opened:
        assert opened.load()[name].equals(result[name])


def test_integers_keep_their_type_and_what_is_too_large_is_an_error(tmp_path):
    result = xr.Dataset({"products": ("block", [1, 2**31 - 1])}, attrs={"evaluations": 7})
    save(result, tmp_path / "a.nc")
    loaded = load(tmp_path / "a.nc")
    xr.testing.assert_identical(loaded, result)
    assert loaded.products.dtype == "int64"
    assert type(loaded.attrs["evaluations"]) is int
    with pytest.raises(ValueError, match="could not safely cast"):
        save(xr.Dataset({"products": ("block", [2**31])}), tmp_path / "b.nc")


def test_a_path_result_survives_too(tmp_path):
    result = linear_connectivity(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=5)
    save(result, tmp_path / "a.nc")
    xr.testing.assert_identical(load(tmp_path / "a.nc"), result)
