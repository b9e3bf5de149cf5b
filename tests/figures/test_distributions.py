"""Distributions: bins hold the numbers of the result; curves over radii are its means."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from lossatlas.figures import distributions


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def histograms(ax, *, filled: bool) -> list[tuple[np.ndarray, float]]:
    """Edges and number of draws of every histogram that is filled, or is an outline."""
    found = []
    for patch in (patch for patch in ax.patches if isinstance(patch, Polygon) and patch.get_fill() is filled):
        x, y = patch.get_xy().T
        found.append((np.unique(x), y[1 : 2 * distributions.BINS : 2].sum()))
    return found


def test_the_histogram_counts_every_finite_draw_in_common_bins(increases):
    increases.even[0, 7] = np.inf
    increases.mean_even[0, 1] = np.inf
    (ax,) = distributions.page(increases, "", "hist").axes
    filled, outlined = histograms(ax, filled=True), histograms(ax, filled=False)
    assert [count for _, count in filled] == [49, 50]
    assert [count for _, count in outlined] == [50, 50]
    for edges, _ in (*filled, *outlined):
        np.testing.assert_array_equal(edges, filled[0][0])
    assert (edges[0], edges[-1]) == pytest.approx((-0.1, 0.7))
    assert legend(ax) == [
        "train: mean not finite ± 0.020, largest increase 0.750 (1 of 50 draws)",
        "test: mean 0.350 ± 0.030, largest increase 0.900",
    ]
    marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())]
    assert marks == [increases.mean_even[1, 1]]
    assert "‖δ‖ = 0.05 ‖θ‖" in ax.get_xlabel()


def test_the_outline_is_the_size_of_the_odd_part(increases):
    increases["odd"] = -increases.odd
    (ax,) = distributions.page(increases, "", "hist").axes
    (train, test) = (patch for patch in ax.patches if isinstance(patch, Polygon) and not patch.get_fill())
    for patch, sizes in ((train, abs(increases.odd[0])), (test, abs(increases.odd[1]))):
        x, y = patch.get_xy().T
        counts = np.histogram(sizes, np.unique(x))[0]
        np.testing.assert_array_equal(y[1 : 2 * distributions.BINS : 2], counts)
    assert train.get_edgecolor() == to_rgba("#0072B2")


def test_increases_over_many_decades_get_bins_on_a_log_axis(increases):
    increases["even"] = increases.even.copy(data=np.geomspace(1e-6, 1, 100).reshape(2, 50))
    increases["odd"] = increases.even / 2
    ax = distributions.draw_distribution(increases, Figure().subplots())
    assert ax.get_xscale() == "log"
    assert sum(count for _, count in histograms(ax, filled=True)) == 100


def test_without_splits_the_legend_names_none(increases):
    (ax,) = distributions.page(increases.isel(split=1, drop=True), "", "hist").axes
    assert legend(ax) == ["mean 0.350 ± 0.030, largest increase 0.900"]
    (ax,) = distributions.page(increases.isel(split=1, drop=True), "", "radius").axes
    assert legend(ax) == ["even part", "odd part"]


def test_any_quantity_by_sample_is_a_histogram(increases):
    change = (-increases.even).assign_attrs(long_name="change of accuracy", units="1")
    both = increases.assign(accuracy_even=change)
    assert distributions.drawn(both) == ["even", "odd", "accuracy_even"]
    ax = distributions.draw_distribution(both, Figure().subplots(), variable="accuracy_even")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("change of accuracy", "draws")
    assert [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())] == pytest.approx([0.1, 0.0])
    alone = change.to_dataset(name="change")
    assert distributions.kinds(alone) == ("hist",)
    assert legend(distributions.page(alone, "", "hist").axes[0]) == ["train: maximum 0.100", "test: maximum 0"]


def test_the_curve_over_the_radii_has_both_parts(increases):
    increases.mean_even[1, 0] = -0.01  # has no logarithm
    ax = distributions.draw(increases, Figure().subplots(), variable="mean_even")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line.get_ydata() for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["train: even part", "train: odd part", "test: even part", "test: odd part"]
    np.testing.assert_array_equal(lines["train: even part"], [0.04, 0.15])
    np.testing.assert_array_equal(lines["test: odd part"], [0.05, 0.1])
    assert lines["test: even part"].mask.tolist() == [True, False]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.025", "0.05"]
