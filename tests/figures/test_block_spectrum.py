"""Every block has its row with the numbers of the result, few or many of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lossatlas.figures import block_spectrum, style
from tests.figures.conftest import png


def blocks(count: int, scale: float = 1.0) -> xr.Dataset:
    """`count` blocks whose largest eigenvalues go from 1 to `scale`, the last of one parameter only."""
    top = np.geomspace(1, scale, count) * np.array([[1.0], [1.5]])  # (split, block)
    eigenvalues = np.stack([top, top / 2, top / 4], axis=-1)
    eigenvalues[:, -1, 1:] = np.nan
    converged = np.ones((2, count), dtype=bool)
    converged[0, 1] = False
    names = [f"encoder.layers.{index}.self_attention.output_projection" for index in range(count)]
    return xr.Dataset(
        {
            "eigenvalues": (("split", "block", "eigenvalue"), eigenvalues),
            "residuals": (("split", "block", "eigenvalue"), 0 * eigenvalues),
            "smallest": (("split", "block"), -top / 3),
            "smallest_residual": (("split", "block"), 0 * top),
            "trace": (("split", "block"), 2 * top - 1),
            "trace_error": (("split", "block"), 0.1 * top),
            "converged": (("split", "block"), converged),
        },
        {
            "split": ["train", "test"],
            "block": names,
            "eigenvalue": [1, 2, 3],
            "parameters": ("block", np.arange(count) + 1234),
        },
    )


@pytest.fixture(params=[(4, 1.0), (4, 3e4), (30, 3e-6)], ids=["4 alike", "4 over decades", "30 over decades"])
def result(request) -> xr.Dataset:
    return blocks(*request.param)


def page(result: xr.Dataset) -> Figure:
    ((name, figure),) = block_spectrum.pages(result, "a title")
    assert name == "hessian_blocks.png"
    return figure


def test_dots_stand_at_the_numbers_in_the_row_of_their_block(result):
    one = result.sel(split="test", drop=True)
    ax = block_spectrum.draw_block_eigenvalues(one, Figure().subplots())
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
    ax = block_spectrum.draw_block_trace(one, Figure().subplots())
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
