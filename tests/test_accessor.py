"""`result.atlas` on results of the real probes: every one has a picture, and what it shows is the result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import h5py
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

import lossatlas.accessor  # noqa: F401
from lossatlas import (
    epsilon_sharpness,
    interpolate,
    interpolate_by_weight_decay,
    linear_connectivity,
    random_line,
    random_plane,
    slice_by_weight_decay,
    spectral_density,
    spectrum,
    trajectory_plane,
)
from lossatlas.figures.plot import form
from lossatlas.loss import toys
from lossatlas.probes.curvature.block_spectrum import block_spectrum
from lossatlas.probes.slices.eigenvector_plane import eigenvector_plane
from lossatlas.probes.slices.model_plane import model_plane
from lossatlas.results.loss_landscape import read_loss_landscape
from lossatlas.results.storage import load

PROBES = (
    "random_line", "random_plane", "interpolate", "linear_connectivity", "trajectory_plane", "model_plane",
    "eigenvector_plane", "spectrum", "block_spectrum", "spectral_density", "epsilon_sharpness",
    "interpolate_by_weight_decay", "slice_by_weight_decay", "loss_landscape_plane", "loss_landscape_line",
)  # fmt: skip


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def losses(loss):
    return {"train": loss, "test": loss.to(torch.float32).to(torch.float64)}


@pytest.fixture
def make(losses, theta, generator, tmp_path) -> Callable[[str], xr.Dataset]:
    """A small result of each probe by its name."""
    points = theta + torch.randn(4, len(theta), generator=generator, dtype=theta.dtype) / 5

    def surface_file(name: str) -> xr.Dataset:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["xcoordinates"] = np.linspace(-1, 1, 3)
            if name.endswith("plane"):
                file["ycoordinates"] = np.linspace(-1, 1, 5)
            file["train_loss"] = np.arange(15.0).reshape(3, 5) if name.endswith("plane") else np.arange(3.0)
        return read_loss_landscape(tmp_path / "a.h5")

    made: dict[str, Callable[[], xr.Dataset]] = {
        "random_line": lambda: random_line(losses, theta, generator=generator, steps=5),
        "random_plane": lambda: random_plane(losses, theta, generator=generator, steps=5),
        "interpolate": lambda: interpolate(losses, points[0], points[1], steps=5),
        "linear_connectivity": lambda: linear_connectivity(losses, points[0], points[1], steps=5, refinements=0),
        "trajectory_plane": lambda: trajectory_plane(losses, points, steps=5),
        "model_plane": lambda: model_plane(losses, points[:3], names=["a", "b", "c"], steps=5),
        "eigenvector_plane": lambda: eigenvector_plane(losses, theta, generator=generator, steps=5),
        "spectrum": lambda: spectrum(losses, theta, k=2, samples=2, generator=generator),
        "block_spectrum": lambda: block_spectrum(losses, theta, k=2, samples=2, generator=generator),
        "spectral_density": lambda: spectral_density(losses, theta, generator=generator),
        "epsilon_sharpness": lambda: epsilon_sharpness(losses, theta, samples=8, generator=generator),
        "interpolate_by_weight_decay": lambda: interpolate_by_weight_decay(
            losses, points[:2], points[2:], [0.0, 0.1], steps=3
        ),
        "slice_by_weight_decay": lambda: slice_by_weight_decay(
            losses, points[:2], [0.0, 0.1], generator=generator, steps=3
        ).isel(weight_decay=1),
        "loss_landscape_plane": lambda: surface_file("plane"),
        "loss_landscape_line": lambda: surface_file("line"),
    }
    return lambda probe: made[probe]()


@pytest.mark.parametrize("probe", PROBES)
def test_every_result_has_a_picture(make, probe, tmp_path):
    result = make(probe)
    assert result.attrs["probe"] == probe
    kept = result.copy(deep=True)
    rc = dict(mpl.rcParams)
    ax = result.atlas.plot()
    assert ax.figure.number in plt.get_fignums()  # pyplot shows it
    assert ax.get_xlabel()
    assert len(ax.figure.axes) == (2 if form(result) == "plane" else 1)  # a colour bar
    ax.figure.savefig(tmp_path / "a.png")
    assert mpl.rcParams == rc
    xr.testing.assert_identical(result, kept)

    figure = Figure()
    own = figure.subplots()
    assert result.atlas.plot(ax=own) is own
    assert figure.axes == [own]
    assert own.get_xlabel() == ax.get_xlabel()


def test_one_result_is_drawn_after_it_was_saved(make, tmp_path):
    result = make("random_plane")
    result.atlas.save(tmp_path / "a.nc")
    loaded = load(tmp_path / "a.nc")
    xr.testing.assert_identical(loaded, result)
    assert loaded.atlas.plot().get_xlabel() == "random direction α"


def test_a_plane_shows_its_first_split_and_says_so(make):
    result = make("random_plane")
    result["loss"][1] *= 3
    shown = {}
    for split in (None, "train", "test"):
        ax = result.atlas.plot(split=split)
        assert ax.get_title(loc="left") == (split or "train")
        shown[split] = np.asarray(ax.images[0].get_array()), ax.figure.axes[-1].get_ylim()
    assert np.array_equal(shown[None][0], shown["train"][0])
    assert not np.array_equal(shown["train"][0], shown["test"][0])
    assert shown["train"][1] == shown["test"][1]  # the scale is that of all splits
    one = result.sel(split="test", drop=True).atlas.plot()
    assert one.get_title(loc="left") == ""


def test_curves_show_every_split_or_one(make):
    result = make("interpolate")
    both = result.atlas.plot("accuracy")
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["train", "test"]
    assert both.get_ylabel() == "accuracy"
    np.testing.assert_allclose(both.lines[1].get_ydata(), result.accuracy.sel(split="test"))
    (line,) = result.atlas.plot(split="test").lines
    np.testing.assert_allclose(line.get_ydata(), result.loss.sel(split="test"))
    assert line.get_color() == both.lines[1].get_color()


@pytest.mark.parametrize("probe", ["random_plane", "random_line", "epsilon_sharpness"])
def test_what_is_drawn_comes_first(make, probe):
    result = make(probe)
    other = "odd" if probe == "epsilon_sharpness" else "accuracy"
    labels = [
        (ax.get_xlabel(), ax.get_ylabel(), [part.get_ylabel() for part in ax.figure.axes])
        for ax in (result.atlas.plot(other), result.atlas.plot(variable=other))
    ]
    assert labels[0] == labels[1]
    with pytest.raises(ValueError, match="variable is a Axes: wanted a name; axes are given as ax="):
        result.atlas.plot(Figure().subplots())


def test_it_prints_as_one_line(make):
    line = make("interpolate")[["loss", "accuracy"]].isel(split=0, drop=True)
    assert repr(line.atlas) == "Atlas(interpolate: loss, accuracy over alpha 5; plot, surface, save, export)"
    assert repr(make("random_plane").atlas).endswith(" over split 2, alpha 5, beta 5; plot, surface, save, export)")
    assert repr(xr.Dataset({"trace": 1.0}).atlas) == "Atlas(a dataset: trace; plot, surface, save, export)"


def test_surface_and_export(make, tmp_path):
    result = make("random_plane")
    surface = result.atlas.surface(split="test")
    np.testing.assert_allclose(
        np.asarray(surface.data[0].customdata, dtype=float), result.loss.sel(split="test").values.T
    )
    result.atlas.export(tmp_path / "a.npz", variable="accuracy", split="test")
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["accuracy"], result.accuracy.sel(split="test"))


def test_what_cannot_be_drawn(make):
    result = make("random_plane")
    line = make("interpolate")
    several = result.expand_dims(weight_decay=[0.0, 0.1])
    for odd, knobs, words in (
        (xr.Dataset(), {}, "no form that can be drawn, it holds nothing: wanted a quantity over one axis"),
        (xr.Dataset({"trace": 1.0}), {}, r"no form that can be drawn, it holds trace \(\): wanted"),
        (line, {"variable": "measured"}, "measured is not over alpha: choose from loss, accuracy"),
        (result, {"split": "valid"}, "split is 'valid': choose from train, test"),
        (line.sel(split="test", drop=True), {"split": "test"}, "split is 'test': choose from nothing"),
        (result, {"variable": "los"}, "no 'los': choose from loss, .*accuracy"),
        (make("spectrum"), {"variable": "trace"}, "the form spectrum has one picture, leave it out"),
        (several, {}, r"dimension weight_decay too: choose one, result.sel\(weight_decay=...\)"),
    ):
        with pytest.raises(ValueError, match=words):
            odd.atlas.plot(**knobs)
    assert not plt.get_fignums()


def test_a_new_probe_has_its_picture_without_a_word_here(make):
    for probe in ("random_plane", "interpolate", "spectrum"):
        result = make(probe)
        known, new = (odd.atlas.plot() for odd in (result, result.assign_attrs(probe="dowsing")))
        assert known.get_xlabel() == new.get_xlabel()
        assert len(known.lines) == len(new.lines)


def test_drawing_libraries_are_imported_when_they_are_wanted():
    code = (
        "import sys, lossatlas.accessor\n"
        "assert not {'matplotlib', 'plotly'} & set(sys.modules)\n"
        "import numpy as np, xarray as xr\n"
        "from matplotlib.figure import Figure\n"
        "line = ('alpha', np.arange(3.0))\n"
        "result = xr.Dataset({'loss': line}, {'alpha': line})\n"
        "result.atlas.plot(ax=Figure().subplots())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_curve_has_no_surface():
    result = interpolate(toys.bowl(2), torch.zeros(2), torch.ones(2), steps=3)
    with pytest.raises(ValueError, match="there is no plane of 'loss' in the result: choose from none"):
        result.atlas.surface()
