"""Maps can be read without colour; shades, contours and hatching say what they should."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lossatlas.figures import interactive, planes, relief
from lossatlas.figures.plot import pages
from lossatlas.figures.scale import Scale, contour_step, contours
from tests.figures.conftest import heights

# From linear sRGB to XYZ (D65), and what is left of linear sRGB with no red, no green or no blue cones: Machado,
# Oliveira and Fernandes 2009, severity 1.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3),
}


def lab(rgb: np.ndarray, seen: np.ndarray | list = BLIND["none"]) -> np.ndarray:
    """CIE L*a*b* of sRGB colours `(n, 3)`, as somebody sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.transpose(seen)
    t = np.clip(linear, 0, 1) @ XYZ.T / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


COLORS = relief.COLORMAP(np.linspace(0, 1, 256))[:, :3]


def test_lightness_rises_with_height_in_equal_steps():
    lightness = lab(COLORS)[:, 0]
    steps = np.diff(lightness)
    assert steps.min() > 0.2
    assert steps.max() < 0.6
    assert lightness[0] < 15
    assert lightness[-1] > 95


@pytest.mark.parametrize("kind", BLIND)
def test_heights_are_told_apart_with_every_kind_of_colour_vision(kind):
    seen = lab(COLORS, BLIND[kind])
    assert np.diff(seen[::8, 0]).min() > 0  # lightness alone
    apart = np.linalg.norm(seen[:, None] - seen[None, :], axis=-1)
    far = np.abs(np.subtract.outer(np.arange(256), np.arange(256))) >= 26  # a tenth of the scale
    assert apart[far].min() > 6  # 2.3 can just be seen


def test_depth_is_blue_and_heights_are_earth_and_snow():
    red, _, blue = COLORS.T
    assert (blue > red)[:128].all()
    assert (red > blue)[160:].all()
    assert COLORS[-1].min() > 0.93


def test_surfaces_that_turn_have_the_same_colours():
    scale = interactive.STYLE["surface"]["colorscale"]
    at, colors = zip(*scale, strict=True)
    np.testing.assert_allclose(relief.COLORMAP(at)[:, :3], [to_rgb(color) for color in colors], atol=0.02)


def test_flat_ground_keeps_its_colour_and_slopes_towards_the_light_are_lighter():
    axis, scale = np.linspace(0, 1, 21), Scale(False, 0.0, 1.0)
    flat = relief.hillshade(axis, axis, np.full((21, 21), 0.4), scale)
    np.testing.assert_allclose(flat, 0, atol=1e-12)
    rising = np.broadcast_to(axis, (21, 21))  # to the right: it faces left, where the light is
    assert (relief.hillshade(axis, axis, rising, scale) > 0.02).all()
    assert (relief.hillshade(axis, axis, 1 - rising, scale) < -0.05).all()
    assert (relief.hillshade(axis, axis, rising.T, scale) < -0.05).all()  # to the top, away from the light
    steep = relief.hillshade(axis, axis, 1e6 * rising, scale)
    assert relief.DARKEST <= steep.min() <= steep.max() <= relief.LIGHTEST


def test_maps_of_one_scale_are_shaded_alike_whatever_their_axes():
    axis, scale = np.linspace(0, 1, 9), Scale(False, 0.0, 1.0)
    bowl = np.add.outer(axis**2, axis**2) / 2
    wide = relief.hillshade(1000 * axis - 3, 1e-3 * axis, bowl, scale)
    np.testing.assert_allclose(wide, relief.hillshade(axis, axis, bowl, scale))


def test_between_nodes_heights_are_bilinear_on_uneven_axes_too():
    alpha, beta = np.array([0.0, 0.1, 0.7, 1.0]), np.array([0.0, 0.5, 0.6])
    z = np.random.default_rng(0).normal(size=(3, 4))
    x, y = relief.locate(alpha, np.array([0.1, 0.4, 1.0])), relief.locate(beta, np.array([0.5, 0.25, 0.6]))
    expected = [z[1, 1], z[:2, 1:3].mean(), z[2, 3]]
    np.testing.assert_allclose(relief.bilinear(z, x, y), expected)


@pytest.mark.parametrize("log", [False, True])
def test_nodes_with_an_error_above_the_contour_step_are_hatched(plane, unshaded, log):
    values = plane.loss.values if not log else np.exp(5 * plane.loss.values)
    plane["loss"] = plane.loss.copy(data=values)
    step = Scale.of(plane.loss).step
    error = np.where(plane.alpha.values[:, None] > 0.3, 1.2, 0.8) * np.ones_like(values)
    error = values * (10 ** (step * error) - 1) if log else step * error
    doubtful = plane.assign(loss_error=(plane.loss.dims, error))
    plain = planes.draw_plane(plane, Figure().subplots(), split="train").images[0].get_array()
    ax = planes.draw_plane(doubtful, Figure().subplots(), split="train")
    changed = (np.asarray(ax.images[0].get_array()) != np.asarray(plain)).any(-1).mean(0)  # by column
    half = len(changed) * (0.375 + 1) / 2  # between the nodes 0.25 and 0.5, of -1 to 1
    assert (changed[: int(half) - 1] == 0).all()
    assert (changed[int(half) + 1 :] > 0.05).all()
    for figure in dict(pages(doubtful, "")).values():
        words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert (planes.DOUBTFUL in words) == (figure.axes[-1].get_ylabel() == "loss")


@pytest.mark.parametrize(
    ("low", "high", "log", "step"),
    [
        (-3, 1, True, 0.5),
        (-0.2, 0.6, True, 0.1),
        (-1, 0.5, True, 0.25),
        (-9, 1, True, 1),
        (-40, 10, True, 4),
        (0, 40, False, 5),
        (0.97, 0.98, False, 0.001),
        (-1e-6, 1e-6, False, 2e-7),
        (3.0, 3.0, False, 1),
    ],
)
def test_contours_stand_at_round_steps(low, high, log, step):
    assert contour_step(low, high, log=log) == pytest.approx(step)
    levels = contours(low, high, step)
    assert len(levels) <= 20
    assert all(low < level < high for level in levels)
    np.testing.assert_allclose(np.array(levels) / step, np.round(np.array(levels) / step), atol=1e-9)


def test_one_exploding_corner_does_not_take_all_colours():
    values = np.geomspace(0.01, 2, 10_000).reshape(100, 100)
    values[-2:, -2:] = 1e8
    scale = Scale.shared([xr.DataArray(values, name="loss")])
    assert (scale.log, scale.below, scale.above) == (True, False, True)
    assert 1.8 < 10**scale.high < 2.1
    assert 10**scale.low == pytest.approx(0.01)
    assert Scale.of(xr.DataArray(values, name="loss")).high == 8
    tame = Scale.shared([xr.DataArray(values[:50], name="loss")])
    assert (tame.below, tame.above) == (False, False)


def test_beyond_the_scale_the_colour_is_that_of_its_end(plane, unshaded):
    scale = Scale(False, 1.6, 2.0, below=True, above=True)
    ax = planes.draw_plane(plane, Figure().subplots(), split="test", scale=scale)
    shown = heights(ax, scale)
    assert shown.min() == pytest.approx(1.6, abs=0.01)
    assert shown.max() == pytest.approx(2.0, abs=0.01)
    figure = Figure()
    bar = relief.color_bar(figure, scale, "loss", ax=ax)
    assert bar.extend == "both"
    assert [text.get_text() for text in bar.ax.texts] == ["1.6\nand below", "2.0\nand above"]
