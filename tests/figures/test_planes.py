"""Contours and surfaces: values as they are, one scale for all panels, holes where nothing is finite."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from lossatlas.figures import interactive, planes, surfaces
from lossatlas.figures.plot import pages
from lossatlas.figures.scale import Scale
from tests.figures.conftest import Faces, height_at, heights, png


def corners(ax) -> np.ndarray:
    """The distinct corners `(n, 3)` of a drawn surface."""
    faces = next(c for c in ax.collections if isinstance(c, Faces))
    return np.unique(faces.corners, axis=0)


def test_a_plane_gives_three_pages_with_a_panel_per_split(plane):
    made = dict(pages(plane, "a title"))
    assert list(made) == ["contour", "surface", "accuracy"]
    for name in ("contour", "accuracy"):
        train, test, bar = made[name].axes
        assert (train.get_title("left"), test.get_title("left")) == ("train", "test")
        assert train.get_xlabel() == test.get_xlabel() == "random direction α"
        assert train.get_ylabel() == "random direction β"
        assert bar.get_ylabel() == name.replace("contour", "loss")
    surfaces = made["surface"].axes
    assert len(surfaces) == 2
    assert all(isinstance(ax, Axes3D) and ax.get_zlabel() == "loss" for ax in surfaces)


def test_both_panels_share_one_scale_that_spans_both(plane, unshaded):
    train, test, _ = planes.contour_page(plane, "").axes
    scale = Scale(False, float(plane.loss.min()), float(plane.loss.max()))
    assert heights(train, scale).min() == pytest.approx(scale.low, abs=0.02)
    assert heights(test, scale).max() == pytest.approx(scale.high, abs=0.03)
    assert heights(train, scale).max() == pytest.approx(float(plane.loss[0].max()), abs=0.03)
    left, right = surfaces.surface_page(plane, "").axes
    assert left.get_zlim() == right.get_zlim()  # type: ignore[attr-defined]


def test_every_grid_point_has_the_colour_of_its_value(plane, unshaded):
    """α runs along x and β along y: a transposed or flipped surface fails, the grid is not square."""
    ax = planes.draw_plane(plane, Figure().subplots(), split="test")
    values, scale = plane.loss.sel(split="test"), Scale.of(plane.loss)
    for a in plane.alpha.values:
        for b in plane.beta.values:
            value = float(values.sel(alpha=a, beta=b))
            assert height_at(ax, scale, a, b) == pytest.approx(value, abs=0.03)  # half a pixel, a 256th of the scale


def test_surface_corners_are_exactly_the_results_values(plane):
    ax = surfaces.draw_surface(plane, Figure().add_subplot(projection="3d"), split="train")
    a, b = np.meshgrid(plane.alpha, plane.beta, indexing="ij")
    wanted = np.stack([a, b, plane.loss.sel(split="train").values], -1).reshape(-1, 3)
    np.testing.assert_array_equal(corners(ax), np.unique(wanted, axis=0))


def test_values_that_are_not_finite_leave_a_hole_and_nothing_else(plane, unshaded):
    plane.loss[0, 2, 3], plane.loss[0, 6, 2] = np.nan, np.inf
    ax, scale = planes.draw_plane(plane, Figure().subplots(), split="train"), Scale.of(plane.loss)
    for i, j in ((2, 3), (6, 2)):
        assert np.isnan(height_at(ax, scale, float(plane.alpha[i]), float(plane.beta[j])))
    assert np.isfinite(height_at(ax, scale, float(plane.alpha[4]), float(plane.beta[3])))
    assert np.isnan(heights(ax, scale)).mean() == pytest.approx(8 / 48, abs=0.01)  # the cells that meet there
    drawn = corners(surfaces.draw_surface(plane, Figure().add_subplot(projection="3d"), split="train"))
    assert len(drawn) == plane.loss[0].size - 2
    assert set(drawn[:, 2]) == set(plane.loss.values[0][np.isfinite(plane.loss.values[0])])


def test_over_several_decades_the_height_is_log10_and_the_ticks_say_so(plane):
    plane["loss"] = plane.loss.copy(data=np.exp(5 * plane.loss.values))
    scale = Scale.of(plane.loss)
    assert scale.log
    assert not Scale.of(plane.accuracy).log
    ax = surfaces.draw_surface(plane, Figure().add_subplot(projection="3d"), split="test")
    np.testing.assert_array_equal(np.unique(corners(ax)[:, 2]), np.unique(np.log10(plane.loss.values[1])))
    assert ax.get_zlabel() == "loss, log scale"
    bar = planes.contour_page(plane, "").axes[2]
    labels = [text.get_text() for text in bar.get_yticklabels()]
    assert labels == [scale.formatter()(tick) for tick in scale.ticks]
    assert "10⁵" in labels
    lines = [line.get_ydata()[0] for line in bar.lines]
    np.testing.assert_array_equal(lines, scale.contours)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.1, 0.49, None),
        (0.11, 0.6, ["0.2", "0.5"]),
        (0.1, 2.1, ["0.1", "0.2", "0.5", "1", "2"]),
        (0.0018, 0.6, ["0.003", "0.01", "0.03", "0.1", "0.3"]),
        (3e-6, 2.2e-5, ["5 × 10⁻⁶", "1 × 10⁻⁵", "2 × 10⁻⁵"]),
        (0.005, 12, ["10⁻²", "10⁻¹", "10⁰", "10¹"]),
    ],
)
def test_a_factor_of_five_is_enough_for_a_log_scale_with_ticks_of_its_own(plane, low, high, labels):
    """So that a bowl with one high corner is not of one dark colour; the surfaces that turn do the same."""
    shape = np.linspace(0, 1, plane.loss.size).reshape(plane.loss.shape)
    plane["loss"] = plane.loss.copy(data=low * (high / low) ** shape)
    scale = Scale.of(plane.loss)
    turning = interactive.surface_figure(interactive.surface_data(plane), "train")
    axis = turning["layout"]["scene"]["zaxis"]
    assert scale.log == (labels is not None) == axis["title"]["text"].endswith("log scale")
    if labels is None:
        return
    assert [label for label in map(scale.formatter(), scale.ticks) if label in labels] == labels
    assert axis["ticktext"] == labels
    if labels[0].startswith("0"):
        np.testing.assert_allclose(10.0 ** np.array(axis["tickvals"]), [float(text) for text in labels], rtol=1e-4)


def test_zeros_on_a_log_scale_are_marked_not_replaced(plane):
    plane["loss"] = plane.loss.copy(data=np.exp(5 * plane.loss.values))
    plane.loss[0, 3, 2] = 0.0
    ax = planes.draw_plane(plane, Figure().subplots(), split="train")
    assert np.isnan(height_at(ax, Scale.of(plane.loss), float(plane.alpha[3]), float(plane.beta[2])))
    (dots,) = [line for line in ax.lines if line.get_label() == "loss 0"]
    np.testing.assert_array_equal(np.asarray(dots.get_xydata()), [[plane.alpha[3], plane.beta[2]]])


def test_a_loss_with_negative_values_stays_linear(plane):
    plane["loss"] = plane.loss.copy(data=np.exp(5 * plane.loss.values) - 1000)
    assert not Scale.of(plane.loss).log


def test_a_surface_shows_one_split_and_asks_which(plane):
    with pytest.raises(ValueError, match="split is None: one surface shows one split, choose from train, test"):
        planes.draw_plane(plane, Figure().subplots())
    one = plane.isel(split=0, drop=True)
    assert len(planes.draw_plane(one, Figure().subplots()).images) == 1
    assert [len(figure.axes) for _, figure in pages(one, "")] == [2, 1, 2]


def test_many_grid_lines_are_thinned_and_the_ends_kept():
    axis = np.linspace(-1, 1, 201)
    values = xr.Dataset({"loss": (("alpha", "beta"), 3 + axis[:, None] + axis)}, {"alpha": axis, "beta": axis})
    drawn = corners(surfaces.draw_surface(values, Figure().add_subplot(projection="3d")))
    assert len(drawn) <= 52**2
    assert {tuple(xy) for xy in drawn[:, :2]} >= {(-1, -1), (-1, 1), (1, -1), (1, 1)}


def test_a_contour_is_drawn_where_nothing_hides_it():
    """A ridge across the view: of the valley behind it only what stands higher than the line of sight is seen."""
    axis = np.linspace(-1, 1, 41)
    height = np.exp(-40 * axis[None, :] ** 2) + 0.5 * (axis[None, :] > 0.5) + 0 * axis[:, None]
    ax = Figure().add_subplot(projection="3d", elev=20, azim=-90)  # from the lower end of β
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(0, 1))
    surface = axis, axis, np.ma.masked_invalid(height)
    contour = surfaces.Contour(surfaces.contour_lines(*surface, [0.5 - 1e-3])[0], *surface)
    ax.add_collection(contour, autolim=False)
    seen = {}
    for azimuth in (-90, 90):
        ax.view_init(elev=20, azim=azimuth)
        png(ax.figure)
        at = np.concatenate([line[:, 1] for line in contour._segments3d])
        seen[azimuth] = {round(float(place), 1) for place in at}
    assert seen == {-90: {-0.1}, 90: {0.1, 0.5}}
