"""Distributions: bins hold the numbers of the result."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from lossatlas.figures import distributions


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_histogram_counts_every_finite_draw_in_common_bins(increases):
    increases.increase[0, 7] = np.inf
    increases.maximum[0] = np.inf
    (ax,) = distributions.page(increases, "").axes
    edges, counts = [], []
    for patch in (patch for patch in ax.patches if isinstance(patch, Polygon)):
        x, y = patch.get_xy().T
        edges.append(np.unique(x))
        counts.append(y[1 : 2 * distributions.BINS : 2].sum())
    assert counts == [49, 50]
    np.testing.assert_array_equal(edges[0], edges[1])
    assert (edges[0][0], edges[0][-1]) == pytest.approx((-0.1, 0.7))
    assert legend(ax) == ["train: maximum not finite (1 of 50 draws)", "test: maximum 0.700"]
    marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())]
    assert marks == [increases.maximum[1]]
    assert "‖δ‖ = 0.05 ‖θ‖" in ax.get_xlabel()


def test_increases_over_many_decades_get_bins_on_a_log_axis(increases):
    increases["increase"] = increases.increase.copy(data=np.geomspace(1e-6, 1, 100).reshape(2, 50))
    ax = distributions.draw_distribution(increases, Figure().subplots())
    assert ax.get_xscale() == "log"
    assert sum(patch.get_xy()[1 : 2 * distributions.BINS : 2, 1].sum() for patch in ax.patches) == 100


def test_without_splits_the_legend_names_none(increases):
    (ax,) = distributions.page(increases.isel(split=1, drop=True), "").axes
    assert legend(ax) == ["maximum 0.700"]


def test_any_quantity_by_sample_is_a_histogram(increases):
    change = (-increases.increase).assign_attrs(long_name="change of accuracy", units="1")
    both = increases.assign(accuracy_change=change)
    assert distributions.drawn(both) == ["increase", "accuracy_change"]
    ax = distributions.draw_distribution(both, Figure().subplots(), variable="accuracy_change")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("change of accuracy", "draws")
    assert [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())] == pytest.approx([0.1, 0.0])
