"""Models and trajectories lie where the result says, and can be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lossatlas.figures import model_plane
from lossatlas.figures.model_plane import COLORS, draw_model_plane
from tests.figures.conftest import png


def named(ax) -> dict[str, object]:
    return {str(line.get_label()): line for line in ax.lines if not str(line.get_label()).startswith("_")}


def test_pages_have_a_panel_per_split_and_a_legend_of_the_trajectories(models):
    made = dict(model_plane.pages(models, "a title"))
    assert list(made) == ["model_plane_contour.png", "model_plane_surface.png", "model_plane_accuracy.png"]
    for figure in made.values():
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["sgd", "adam", "start", "end"]
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.y1 <= figure._suptitle.get_window_extent().y0  # type: ignore[attr-defined]
    contours = made["model_plane_contour.png"].axes
    assert [ax.get_title("left") for ax in contours[:2]] == ["train", "test"]
    assert contours[0].get_xlabel() == "α: distance from A\ntowards B"
    assert contours[0].get_ylabel() == "β: distance\ntowards C"
    assert all(ax.get_aspect() == 1 for ax in contours[:2])


def test_each_trajectory_is_one_line_of_its_own_colour(models):
    ax = draw_model_plane(models, Figure().subplots(), split="train")
    lines = named(ax)
    for (name, rows), (color, _) in zip((("sgd", slice(3)), ("adam", slice(3, 5))), COLORS, strict=False):
        wanted = np.stack([models.path_alpha[rows], models.path_beta[rows]], -1)
        np.testing.assert_array_equal(lines[name].get_xydata(), wanted)
        assert to_rgb(lines[name].get_color()) == to_rgb(color)
        ends = [line for line in ax.lines if line.get_marker() in "s*" and line.get_color() == color]
        np.testing.assert_array_equal(np.concatenate([line.get_xydata() for line in ends]), wanted[[0, -1]])


def test_colours_of_trajectories_differ_in_lightness_from_their_casings():
    lightness = [[np.dot(to_rgb(color), [0.2126, 0.7152, 0.0722]) for color in pair] for pair in COLORS]
    assert (np.abs(np.diff(lightness, axis=1)) > 0.3).all()
    assert len({color for color, _ in COLORS}) == len(COLORS)


def test_models_are_marked_and_named_at_their_places(models):
    ax = draw_model_plane(models, Figure().subplots(), split="test")
    places = np.stack([models.model_alpha, models.model_beta], -1)
    (circles,) = [
        line
        for line in ax.lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 3 and line.get_linestyle() == "None"
    ]
    np.testing.assert_array_equal(circles.get_xydata(), places)
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]
    np.testing.assert_array_equal([text.xy for text in ax.texts], places)


def test_names_cover_no_model_and_stay_in_the_panel(models):
    """Close together, and one of them at the edge."""
    close = models.drop_dims("point").assign(
        model_alpha=("model", [-0.1, 0.0, 0.98]), model_beta=("model", [-0.05, 0.2, 1.9])
    ).assign_coords(model=["first model", "second model", "third model"])  # fmt: skip
    figure = Figure(figsize=(3, 6))
    ax = draw_model_plane(close, figure.subplots(), split="train")
    png(figure)
    pixels = ax.transData.transform(np.stack([close.model_alpha, close.model_beta], -1))
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(box.contains(*at) for box in boxes for at in pixels)
    assert not any(one.overlaps(two) for one in boxes for two in boxes if one is not two)
    panel = ax.get_window_extent()
    assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 and box.y1 <= panel.y1 for box in boxes)


@pytest.mark.parametrize("log", [False, True])
def test_on_the_surface_everything_has_the_loss_of_its_projection(models, log):
    if log:
        for name in ("loss", "path_plane_loss", "model_plane_loss"):
            models[name] = models[name].copy(data=np.exp(5 * models[name].values))
    figure = dict(model_plane.pages(models, ""))["model_plane_surface.png"]
    for ax, split in zip(figure.axes, ("train", "test"), strict=True):
        part = models.sel(split=split)
        heights = np.log10(part.path_plane_loss) if log else part.path_plane_loss
        np.testing.assert_array_equal(named(ax)["sgd"].get_data_3d()[2], heights[:3])  # type: ignore[attr-defined]
        model_heights = np.log10(part.model_plane_loss) if log else part.model_plane_loss
        np.testing.assert_array_equal(ax.lines[0].get_data_3d()[2], model_heights)  # type: ignore[attr-defined]


def test_more_than_three_models_have_principal_axes(models):
    more = models.drop_dims("point")
    more = more.isel(model=[0, 1, 2, 2]).assign_coords(model=["A", "B", "C", "D"])
    made = dict(model_plane.pages(more, ""))
    ax = made["model_plane_contour.png"].axes[0]
    assert ax.get_xlabel() == "first principal direction α\n(75 % of variance)"
    assert ax.get_ylabel() == "second principal direction β\n(25 % of variance)"
    assert not any(figure.legends for figure in made.values())
