"""Spectra: stems, error bars, densities and rows of blocks hold the numbers of the result."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lossatlas.figures import spectra, style
from tests.figures.conftest import blocks, png


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_stems_stand_at_the_eigenvalues_and_bars_span_the_residuals(eigenvalues):
    (ax,) = spectra.spectrum_page(eigenvalues, "a title").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rank of the eigenvalue", "eigenvalue λ of the Hessian")
    heads = [line for line in ax.lines if line.get_marker() == "o"]
    for head, split in zip(heads, ("train", "test"), strict=True):
        np.testing.assert_array_equal(head.get_ydata(), eigenvalues.eigenvalues.sel(split=split))
        np.testing.assert_array_equal(np.round(head.get_xdata()), eigenvalues.eigenvalue)
    stems, bars = [c for c in ax.collections if isinstance(c, LineCollection)][:2]
    np.testing.assert_array_equal([s[:, 1] for s in stems.get_segments()], [[0, 5], [0, 2], [0, 1], [0, 0.5]])
    np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[4.9, 5.1], [1.8, 2.2], [0.7, 1.3], [0.1, 0.9]])


def test_the_legend_states_trace_error_and_smallest_and_what_did_not_converge(eigenvalues):
    (ax,) = spectra.spectrum_page(eigenvalues, "").axes
    assert legend(ax) == [
        "train: trace 12.35 ± 0.46, smallest λ −0.512",
        "test: trace −3.00 ± 0.20, smallest λ −0.250, not converged",
    ]


def test_only_positive_eigenvalues_over_two_decades_go_on_a_log_axis(eigenvalues):
    assert spectra.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "linear"
    eigenvalues["eigenvalues"] = eigenvalues.eigenvalues.copy(data=np.geomspace(2000, 2, 8).reshape(2, 4))
    assert spectra.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "log"
    eigenvalues.eigenvalues[1, 3] = -1
    assert spectra.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "linear"


def test_the_density_is_drawn_with_its_error_on_axes_that_show_bulk_and_outliers(densities):
    figure = spectra.density_page(densities, "a title")
    (ax,) = figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")
    assert legend(ax)[0] == "train: 25.0 ± 1.2 % of all λ below −max |λ| / 1000"
    (train, *_), part = ax.lines, densities.sel(split="train")
    seen = ~np.ma.getmaskarray(train.get_ydata(orig=True))
    np.testing.assert_array_equal(train.get_ydata()[seen], part.density.values[seen])
    assert part.density.values[~seen].max() < 1e-6
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1.3 * float(part.density.max()))
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    boxes.sort(key=lambda box: box.x0)
    assert len(boxes) > 5
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_linear_density_has_a_linear_axis(densities):
    densities.attrs["scale"] = "linear"
    assert spectra.draw_density(densities.sel(split="train"), Figure().subplots()).get_xscale() == "linear"


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        ("hessian", "Hessian"),
        ("gauss-newton", "Gauss-Newton matrix"),
        ("fisher", "Fisher matrix"),
        ("kronecker", "kronecker matrix"),
    ],
)
def test_axes_name_the_matrix(eigenvalues, densities, matrix, name):
    ax = spectra.draw_spectrum(eigenvalues.assign_attrs(matrix=matrix), Figure().subplots())
    assert ax.get_ylabel() == f"eigenvalue λ of the {name}"
    ax = spectra.draw_density(densities.assign_attrs(matrix=matrix), Figure().subplots())
    assert ax.get_xlabel() == f"eigenvalue λ of the {name}"


def test_what_a_spectrum_lacks_is_not_said(eigenvalues, densities):
    only = eigenvalues[["eigenvalues"]]
    (ax,) = spectra.spectrum_page(only, "").axes
    assert legend(ax) == ["train", "test"]
    assert spectra.spectrum_page(only.sel(split="test", drop=True), "").axes[0].get_legend() is None
    (ax,) = spectra.density_page(densities[["position", "density"]], "").axes
    assert legend(ax) == ["train", "test"]


def test_without_splits_the_legend_names_none(eigenvalues):
    (ax,) = spectra.spectrum_page(eigenvalues.isel(split=0, drop=True), "").axes
    assert legend(ax) == ["trace 12.35 ± 0.46, smallest λ −0.512"]


@pytest.fixture(params=[(4, 1.0), (4, 3e4), (30, 3e-6)], ids=["4 alike", "4 over decades", "30 over decades"])
def result(request) -> xr.Dataset:
    return blocks(*request.param)


def page(result: xr.Dataset) -> Figure:
    return spectra.blocks_page(result, "a title")


def test_dots_stand_at_the_numbers_in_the_row_of_their_block(result):
    one = result.sel(split="test", drop=True)
    ax = spectra.draw_block_eigenvalues(one, Figure().subplots())
    largest, smallest = ax.lines[:2]
    expected = one.eigenvalues.values.ravel()
    seen = np.isfinite(expected)
    x, y = (np.ma.filled(values, np.nan) for values in largest.get_data(orig=True))
    np.testing.assert_array_equal(x[seen], expected[seen])
    np.testing.assert_array_equal(y, np.repeat(np.arange(one.sizes["block"]), 3))
    np.testing.assert_array_equal(smallest.get_xdata(), one.smallest)
    assert smallest.get_markerfacecolor() == "white"
    low, high = ax.get_ylim()
    assert low > high  # the first block on top
    left, right = ax.get_xlim()
    assert left < one.smallest.min()
    assert right > np.nanmax(expected)


def test_traces_have_their_error_bars(result):
    one = result.sel(split="train", drop=True)
    ax = spectra.draw_block_trace(one, Figure().subplots())
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), one.trace)
    ((bars,),) = (container[2] for container in ax.containers)
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * one.trace_error)


def test_a_block_that_has_not_converged_is_a_cross(result):
    (ax, _) = page(result).axes
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == 2  # train's: largest and smallest
    assert {float(np.round(y)) for line in crosses for y in line.get_ydata()} == {1.0}


def test_only_blocks_over_decades_go_on_a_log_axis():
    scales = {count: [ax.get_xscale() for ax in page(blocks(*count)).axes] for count in ((4, 1.0), (4, 3e4))}
    assert scales == {(4, 1.0): ["linear", "linear"], (4, 3e4): ["symlog", "symlog"]}
    noise = blocks(4)
    noise["smallest"] = 1e-17 * noise.smallest  # rounding, no eigenvalue of that size
    assert page(noise).axes[0].get_xscale() == "linear"


def test_labels_fit_and_do_not_overlap(result):
    figure = page(result)
    figure.canvas.draw()
    first, second = figure.axes
    names = [label.get_window_extent() for label in first.get_yticklabels()]
    assert len(names) == result.sizes["block"]
    assert first.get_yticklabels()[0].get_text() == "encoder.layers.0.se…n.output_projection · 1,234"
    assert min(box.x0 for box in names) >= 0
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(names))
    for ax in (first, second):
        ticks = sorted((t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()), key=lambda box: box.x0)
        assert len(ticks) >= 2
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(ticks))


def test_colors_and_legend_by_split(result):
    first, second = page(result).axes
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["train", "test"]
    assert {line.get_color() for line in first.lines} == {style.COLORS["train"], style.COLORS["test"], "0.4"}
    assert page(result.isel(split=0, drop=True)).axes[1].get_legend() is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_no_finite_values_are_said(result, value):
    for values in result.data_vars.values():
        if values.dtype.kind == "f":
            values.values[...] = value
    figure = page(result)
    assert len(png(figure)) > 1000
    assert ("no finite values" in [text.get_text() for text in figure.axes[0].texts]) == (not np.isfinite(value))
