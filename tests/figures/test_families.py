"""By weight decay: lines, ribbons and panels hold the numbers of the result, and all slices have one scale."""

from __future__ import annotations

import io
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import families, style
from lossatlas.figures.plot import pages
from lossatlas.figures.scale import Scale
from tests.figures.conftest import ALPHA, SPLITS, Faces, drawn_lines, heights, png

PAGES = [
    "lines surface",
    "lines curves",
    "planes contour",
    "planes surface_wd=0",
    "planes surface_wd=0.0001",
    "planes surface_wd=0.0005",
]


@pytest.fixture
def lines(family_of_lines) -> xr.Dataset:
    return family_of_lines


@pytest.fixture
def slices(family_of_planes) -> xr.Dataset:
    return family_of_planes


def both(lines: xr.Dataset, slices: xr.Dataset, title: str) -> Iterator[tuple[str, Figure]]:
    for name, result in (("lines", lines), ("planes", slices)):
        for kind, figure in pages(result, title):
            yield f"{name} {kind}", figure


def surface(ax) -> np.ndarray:
    """The corners of a drawn surface, `(n, 3)`."""
    (faces,) = [c for c in ax.collections if isinstance(c, Faces)]
    return faces.corners


def test_the_pages_are_named_by_what_they_show(lines, slices):
    made = dict(both(lines, slices, "a title"))
    assert list(made) == PAGES
    assert all(figure.get_suptitle() == "a title" for figure in made.values())


def test_ribbons_and_lines_lie_at_the_losses_of_each_weight_decay(lines, slices):
    (ax,) = dict(both(lines, slices, ""))["lines surface"].axes
    assert isinstance(ax, Axes3D)
    corners = surface(ax)
    for row in range(3):
        wanted = lines.loss.values[0, row]
        for side in (-1, 1):
            there = np.unique(corners[np.isclose(corners[:, 1], row + side * families.RIBBON)], axis=0)
            np.testing.assert_array_equal(there[:, 0], ALPHA)
            np.testing.assert_array_equal(there[:, 2], wanted)
        for line in drawn_lines(ax)[2 * row : 2 * row + 2]:
            x, y, z = line.get_data_3d()
            np.testing.assert_array_equal(x, ALPHA)
            np.testing.assert_array_equal(y, row)
            np.testing.assert_array_equal(z, wanted)
    assert list(ax.get_yticks()) == [0, 1, 2]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "10⁻⁴", "5 × 10⁻⁴"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == ("position α", "weight decay λ", "data loss")


def test_curves_have_a_panel_per_split_a_colour_per_weight_decay_and_one_scale(lines, slices):
    figure = dict(both(lines, slices, ""))["lines curves"]
    assert [ax.get_title("left") for ax in figure.axes] == SPLITS
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    for split, ax in enumerate(figure.axes):
        assert len(ax.lines) == 3
        for row, line in enumerate(ax.lines):
            np.testing.assert_array_equal(line.get_xdata(), ALPHA)
            np.testing.assert_array_equal(line.get_ydata(), lines.loss.values[split, row])
            assert line.get_color() is not None
    assert len({tuple(line.get_color()) for ax in figure.axes for line in ax.lines}) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["λ = 0", "λ = 10⁻⁴", "λ = 5 × 10⁻⁴"]
    box, below = legend.get_window_extent(), figure.axes[0].get_tightbbox()
    assert below.y1 <= box.y0
    assert box.y1 <= figure._suptitle.get_window_extent().y0
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_contours_show_the_train_loss_of_each_weight_decay_on_one_scale(lines, slices, unshaded):
    *panels, bar = dict(both(lines, slices, ""))["planes contour"].axes
    assert [ax.get_title("left") for ax in panels] == [
        "λ = 0,  ‖d‖ = 1.00 ‖θ‖",
        "λ = 10⁻⁴,  ‖d‖ = 1.25 ‖θ‖",
        "λ = 5 × 10⁻⁴,  ‖d‖ = 3.50 ‖θ‖",
    ]
    assert bar.get_ylabel() == "train data loss"
    wanted = np.log10(slices.loss.values[0])
    scale = Scale(True, wanted.min(), wanted.max())
    for row, ax in enumerate(panels):
        shown = heights(ax, scale)
        assert shown.min() == pytest.approx(wanted[row].min(), abs=0.01)
        assert shown.max() == pytest.approx(wanted[row].max(), abs=0.02)


def test_surfaces_on_pages_of_their_own_share_heights_and_colours(lines, slices):
    made = dict(both(lines, slices, ""))
    axes = [made[name].axes[0] for name in PAGES[3:]]
    assert len({ax.get_zlim() for ax in axes}) == 1
    wanted = np.log10(slices.loss.values[0])
    assert axes[0].get_zlim() == pytest.approx((wanted.min(), wanted.max()))
    for row, ax in enumerate(axes):
        np.testing.assert_array_equal(np.unique(surface(ax)[:, 2]), np.unique(np.log10(slices.loss.values[0, row])))
        assert [text.get_text()[:3] for text in ax.texts] == ["λ ="]


def test_the_order_of_the_result_does_not_matter(lines, slices):
    turned = [result.isel(weight_decay=[2, 0, 1]) for result in (lines, slices)]
    wanted = [(name, png(figure)) for name, figure in both(lines, slices, "t")]
    assert [(name, png(figure)) for name, figure in both(*turned, "t")] == wanted


def test_of_several_seeds_the_first_is_drawn_and_named(lines, slices):
    seeds = [xr.concat([r, 2 * r], xr.IndexVariable("seed", [4, 5])) for r in (lines, slices)]
    several, one = (list(both(*r, t)) for r, t in ((seeds, "t"), ((lines, slices), "t · seed 4")))
    for (_, a), (_, b) in zip(several, one, strict=True):
        assert a.get_suptitle() == "t · seed 4"
        assert png(a) == png(b)


def test_over_two_decades_heights_and_curves_are_logarithmic(lines, slices):
    lines["loss"] = lines.loss.copy(data=10.0 ** (2 * lines.loss.values))
    lines.loss[0, 1, 3], lines.loss[0, 1, 4] = 0.0, np.nan
    made = dict(both(lines, slices, ""))
    assert [ax.get_yscale() for ax in made["lines curves"].axes] == ["log", "log"]
    (ax,) = made["lines surface"].axes
    line = drawn_lines(ax)[2].get_data_3d()[2]
    assert np.isnan(line[3:5]).all()
    np.testing.assert_array_equal(np.delete(line, [3, 4]), np.log10(np.delete(lines.loss.values[0, 1], [3, 4])))
    assert np.isfinite(surface(ax)).all()
    assert ax.get_zlabel() == "data loss, log scale"


def test_a_loss_without_splits_and_two_or_many_weight_decays(lines, slices):
    one = [result.isel(split=0, drop=True) for result in (lines, slices)]
    assert [len(figure.axes) for _, figure in both(*one, "t")] == [1, 1, 4, 1, 1, 1]
    for count in (1, 2, 8):
        rows = np.arange(count) % 3
        values = {"weight_decay": np.arange(count) / 1000}
        some = [result.isel(weight_decay=rows).assign_coords(values) for result in (lines, slices)]
        made = list(both(*some, "t"))
        assert len(made) == 3 + count
        assert all(png(figure) for _, figure in made)
        assert not any(text.get_text() == "no finite values" for _, f in made for ax in f.axes for text in ax.texts)


def test_a_metric_and_a_split_can_be_asked_for(lines):
    ax = families.draw_curves(lines, Figure().subplots(), variable="accuracy", split="test")
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), lines.accuracy.values[1, 1])
    assert ax.get_ylabel() == style.label(lines.accuracy)
    corners = surface(
        families.draw_curve_surface(lines, Figure().add_subplot(projection="3d"), variable="accuracy", split="test")
    )
    np.testing.assert_array_equal(np.unique(corners[:, 2]), np.unique(lines.accuracy.values[1]))
    with pytest.raises(ValueError, match="split is None: one surface shows one split"):
        families.draw_curves(lines, Figure().subplots())


def test_two_renderings_give_the_same_bytes_and_leave_results_and_settings_alone(lines, slices):
    before, settings = (lines.copy(deep=True), slices.copy(deep=True)), dict(mpl.rcParams)
    first = [(name, png(figure)) for name, figure in both(lines, slices, "t")]
    assert first == [(name, png(figure)) for name, figure in both(lines, slices, "t")]
    assert lines.identical(before[0])
    assert slices.identical(before[1])
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.7, 1e30])
def test_constant_and_missing_values_give_figures_without_warning(lines, slices, value):
    for result in (lines, slices):
        for values in result.data_vars.values():
            values.values[...] = value
    for _, figure in both(lines, slices, "t"):
        assert len(png(figure)) > 1000
        texts = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert ("no finite values" in texts) == (not np.isfinite(value))


def test_one_weight_decay_may_have_diverged(lines, slices):
    for result in (lines, slices):
        result.loss.values[:, 2] = np.nan
    made = dict(both(lines, slices, "t"))
    assert all(png(figure) for figure in made.values())
    (ax,) = made["planes surface_wd=0.0005"].axes
    assert "no finite values" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_vector_output(lines, slices, kind):
    for _, figure in both(lines, slices, "moons · 4x250"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        assert buffer.getvalue()[:5] in (b"%PDF-", b"<?xml")
