"""What holds for every page: same bytes twice, a figure without warning from any values, vector output."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from lossatlas.figures.plot import FORMS, form, kinds, pages
from tests.figures.conftest import png

FORM_OF = {
    "segment": "curve",
    "line": "curve",
    "draws": "curve",
    "path": "curve",
    "plane": "plane",
    "models": "plane",
    "eigenplane": "plane",
    "trajectory": "plane",
    "eigenvalues": "spectrum",
    "densities": "density",
    "layers": "blocks",
    "increases": "distribution",
    "family_of_lines": "curve family",
    "family_of_planes": "plane family",
}
KINDS = {
    "segment": ["loss", "accuracy"],
    "plane": ["contour", "surface", "accuracy"],
    "models": ["contour", "surface", "accuracy"],
    "eigenplane": ["contour", "surface", "accuracy"],
    "trajectory": ["contour", "surface"],  # of one path: what it went down
    "eigenvalues": ["spectrum"],
    "densities": ["density"],
    "layers": ["blocks"],
    "increases": ["hist", "radius"],
    "family_of_lines": ["surface", "curves"],
    "family_of_planes": ["contour", "surface_wd=0", "surface_wd=0.0001", "surface_wd=0.0005"],
}
FIXED = {"path_alpha", "path_beta", "model_alpha", "model_beta"}


@pytest.fixture(params=FORM_OF)
def case(request):
    """A result, and what its pages are drawn from."""
    result = request.getfixturevalue(request.param)
    return result, {"as trained": result, "aligned": result} if request.param == "path" else result


def test_there_are_results_of_every_form():
    assert set(FORM_OF.values()) == set(FORMS)


@pytest.mark.parametrize("name", FORM_OF)
def test_the_form_follows_from_dimensions_and_variables(name, request):
    result = request.getfixturevalue(name)
    assert form(result) == form(result.assign_attrs(probe="dowsing")) == FORM_OF[name]
    assert form(result.isel(split=0, drop=True)) == FORM_OF[name]
    if "weight_decay" in result.dims:
        assert form(result.isel(weight_decay=0)) == FORM_OF[name].removesuffix(" family")


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_those_of_the_pages(name, request):
    assert list(kinds(request.getfixturevalue(name))) == KINDS[name]


def test_what_kinds_promises_is_what_pages_yields(case):
    result, drawn = case
    one = result.isel(split=0, drop=True)
    for some in (drawn, result, one):
        assert kinds(some) == tuple(kind for kind, _ in pages(some, "t"))


def test_there_is_nothing_to_draw_of_single_numbers():
    for result in (xr.Dataset(), xr.Dataset({"trace": 1.0, "name": ("x", ["a"]), "flags": ("y", [True, False])})):
        assert (form(result), kinds(result), list(pages(result, "t"))) == ("", (), [])


def test_only_curves_are_drawn_together(segment, plane):
    with pytest.raises(ValueError, match="'a' is curve, 'b' is plane: only curves are drawn together"):
        kinds({"a": segment, "b": plane})


def test_a_dimension_of_which_one_must_be_chosen_is_named(plane):
    several = plane.expand_dims(draw=[0, 1])
    with pytest.raises(ValueError, match=r"loss has the dimension draw too: choose one, result.sel\(draw=...\)"):
        next(pages(several, "t"))


def test_two_renderings_give_the_same_bytes_and_leave_result_and_settings_alone(case):
    result, drawn = case
    before, settings = result.copy(deep=True), dict(mpl.rcParams)
    first = [(name, png(figure)) for name, figure in pages(drawn, "t")]
    assert first == [(name, png(figure)) for name, figure in pages(drawn, "t")]
    assert result.identical(before)
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.7, 1e30])
def test_constant_and_missing_values_give_a_figure_without_warning(case, value):
    result, drawn = case
    for name, values in result.data_vars.items():
        if values.dtype.kind == "f" and name not in FIXED:
            values.values[...] = value
    for _, figure in pages(drawn, "t"):
        assert len(png(figure)) > 1000
        texts = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert ("no finite values" in texts) == (not np.isfinite(value))


def test_one_split_may_be_missing_wholly(case):
    result, drawn = case
    for values in result.data_vars.values():
        if values.dtype.kind == "f" and values.dims[0] == "split":
            values.values[1] = np.nan
    assert all(png(figure) for _, figure in pages(drawn, "t"))


def test_a_trajectory_that_does_not_move_along_an_axis(trajectory):
    flat = trajectory.assign_coords(beta=0 * trajectory.beta).assign(path_beta=0 * trajectory.path_beta)
    assert all(png(figure) for _, figure in pages(flat, "t"))


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_vector_output(case, kind):
    _, drawn = case
    for _, figure in pages(drawn, "moons · 4x250"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        assert buffer.getvalue()[:5] in (b"%PDF-", b"<?xml")


def test_titles_fit_the_figure(case):
    _, drawn = case
    for _, figure in pages(
        drawn, "moons · 4x250 · tanh · sgd with momentum · weight decay 1e-4 · batch size 64 · seed 10"
    ):
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
