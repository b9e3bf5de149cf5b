"""Spectrum and sharpness: stems, error bars and bins hold the numbers of the result."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from lossatlas.figures import sharpness, spectrum


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_stems_stand_at_the_eigenvalues_and_bars_span_the_residuals(eigenvalues):
    ((name, figure),) = spectrum.pages(eigenvalues, "a title")
    assert name == "hessian_spectrum.png"
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rank of the eigenvalue", "eigenvalue λ of the Hessian")
    heads = [line for line in ax.lines if line.get_marker() == "o"]
    for head, split in zip(heads, ("train", "test"), strict=True):
        np.testing.assert_array_equal(head.get_ydata(), eigenvalues.eigenvalues.sel(split=split))
        np.testing.assert_array_equal(np.round(head.get_xdata()), eigenvalues.eigenvalue)
    stems, bars = [c for c in ax.collections if isinstance(c, LineCollection)][:2]
    np.testing.assert_array_equal([s[:, 1] for s in stems.get_segments()], [[0, 5], [0, 2], [0, 1], [0, 0.5]])
    np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[4.9, 5.1], [1.8, 2.2], [0.7, 1.3], [0.1, 0.9]])


def test_the_legend_states_trace_error_and_smallest_and_what_did_not_converge(eigenvalues):
    (ax,) = next(iter(spectrum.pages(eigenvalues, "")))[1].axes
    assert legend(ax) == [
        "train: trace 12.35 ± 0.46, smallest λ −0.512",
        "test: trace −3.00 ± 0.20, smallest λ −0.250, not converged",
    ]


def test_only_positive_eigenvalues_over_two_decades_go_on_a_log_axis(eigenvalues):
    assert spectrum.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "linear"
    eigenvalues["eigenvalues"] = eigenvalues.eigenvalues.copy(data=np.geomspace(2000, 2, 8).reshape(2, 4))
    assert spectrum.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "log"
    eigenvalues.eigenvalues[1, 3] = -1
    assert spectrum.draw_spectrum(eigenvalues, Figure().subplots()).get_yscale() == "linear"


def test_the_density_is_drawn_with_its_error_on_axes_that_show_bulk_and_outliers(densities):
    ((name, figure),) = spectrum.density_pages(densities, "a title")
    assert name == "hessian_density.png"
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
    assert spectrum.draw_density(densities.sel(split="train"), Figure().subplots()).get_xscale() == "linear"


def test_the_histogram_counts_every_finite_draw_in_common_bins(increases):
    increases.increase[0, 7] = np.inf
    increases.maximum[0] = np.inf
    ((name, figure),) = sharpness.pages(increases, "")
    assert name == "sharpness_hist.png"
    (ax,) = figure.axes
    edges, counts = [], []
    for patch in (patch for patch in ax.patches if isinstance(patch, Polygon)):
        x, y = patch.get_xy().T
        edges.append(np.unique(x))
        counts.append(y[1 : 2 * sharpness.BINS : 2].sum())
    assert counts == [49, 50]
    np.testing.assert_array_equal(edges[0], edges[1])
    assert (edges[0][0], edges[0][-1]) == pytest.approx((-0.1, 0.7))
    assert legend(ax) == ["train: maximum not finite (1 of 50 draws)", "test: maximum 0.700"]
    marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())]
    assert marks == [increases.maximum[1]]
    assert "‖δ‖ = 0.05 ‖θ‖" in ax.get_xlabel()


def test_increases_over_many_decades_get_bins_on_a_log_axis(increases):
    increases["increase"] = increases.increase.copy(data=np.geomspace(1e-6, 1, 100).reshape(2, 50))
    ax = sharpness.draw_sharpness(increases, Figure().subplots())
    assert ax.get_xscale() == "log"
    assert sum(patch.get_xy()[1 : 2 * sharpness.BINS : 2, 1].sum() for patch in ax.patches) == 100


def test_without_splits_the_legend_names_none(eigenvalues, increases):
    (ax,) = next(iter(spectrum.pages(eigenvalues.isel(split=0, drop=True), "")))[1].axes
    assert legend(ax) == ["trace 12.35 ± 0.46, smallest λ −0.512"]
    (ax,) = next(iter(sharpness.pages(increases.isel(split=1, drop=True), "")))[1].axes
    assert legend(ax) == ["maximum 0.700"]
