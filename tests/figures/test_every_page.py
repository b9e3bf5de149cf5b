"""What holds for every page: same bytes twice, a figure without warning from any values, vector output."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest

from lossatlas.figures import (
    block_spectrum,
    connectivity,
    eigenvector_plane,
    interpolation,
    model_plane,
    sharpness,
    slices,
    spectrum,
    trajectory_plane,
)
from tests.figures.conftest import png
from tests.figures.test_block_spectrum import blocks

PAGES = {
    "segment": interpolation.pages,
    "line": slices.pages,
    "layers": block_spectrum.pages,
    "draws": slices.pages,
    "plane": slices.pages,
    "models": model_plane.pages,
    "eigenplane": eigenvector_plane.pages,
    "trajectory": trajectory_plane.pages,
    "eigenvalues": spectrum.pages,
    "densities": spectrum.density_pages,
    "increases": sharpness.pages,
    "path": lambda result, title: connectivity.pages({"as trained": result, "aligned": result}, title),
}
FIXED = {"path_alpha", "path_beta", "model_alpha", "model_beta"}


@pytest.fixture
def layers():
    return blocks(5, 3e-4)


@pytest.fixture(params=PAGES)
def case(request):
    return request.getfixturevalue(request.param), PAGES[request.param]


def test_two_renderings_give_the_same_bytes_and_leave_result_and_settings_alone(case):
    result, pages = case
    before, settings = result.copy(deep=True), dict(mpl.rcParams)
    first = [(name, png(figure)) for name, figure in pages(result, "t")]
    assert first == [(name, png(figure)) for name, figure in pages(result, "t")]
    assert result.identical(before)
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.7, 1e30])
def test_constant_and_missing_values_give_a_figure_without_warning(case, value):
    result, pages = case
    for name, values in result.data_vars.items():
        if values.dtype.kind == "f" and name not in FIXED:
            values.values[...] = value
    for _, figure in pages(result, "t"):
        assert len(png(figure)) > 1000
        texts = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert ("no finite values" in texts) == (not np.isfinite(value))


def test_one_split_may_be_missing_wholly(case):
    result, pages = case
    for values in result.data_vars.values():
        if values.dtype.kind == "f" and values.dims[0] == "split":
            values.values[1] = np.nan
    assert all(png(figure) for _, figure in pages(result, "t"))


def test_a_trajectory_that_does_not_move_along_an_axis(trajectory):
    flat = trajectory.assign_coords(beta=0 * trajectory.beta).assign(path_beta=0 * trajectory.path_beta)
    assert all(png(figure) for _, figure in trajectory_plane.pages(flat, "t"))


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_vector_output(case, kind):
    result, pages = case
    for _, figure in pages(result, "moons · 4x250"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        assert buffer.getvalue()[:5] in (b"%PDF-", b"<?xml")


def test_titles_fit_the_figure(case):
    result, pages = case
    for _, figure in pages(
        result, "moons · 4x250 · tanh · sgd with momentum · weight decay 1e-4 · batch size 64 · seed 10"
    ):
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
