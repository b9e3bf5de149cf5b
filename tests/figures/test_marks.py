"""What stands on a plane lies where the result says, and can be told apart."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lossatlas.figures.marks import COLORS, has_center
from lossatlas.figures.planes import draw_plane
from lossatlas.figures.plot import pages
from lossatlas.figures.scale import Scale
from lossatlas.figures.surfaces import draw_surface
from tests.figures.conftest import drawn_lines, png


def lines(ax) -> list[QuadContourSet]:
    return [c for c in ax.collections if isinstance(c, QuadContourSet) and not c.filled]


def named(ax) -> dict[str, object]:
    return {str(line.get_label()): line for line in ax.lines if not str(line.get_label()).startswith("_")}


def dots(ax) -> list:
    """Those of checkpoints, path by path."""
    return [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() < 5]


def test_pages_have_a_panel_per_split_and_a_legend_of_the_trajectories(models):
    made = dict(pages(models, "a title"))
    assert list(made) == ["contour", "surface", "accuracy"]
    for figure in made.values():
        (legend,) = figure.legends
        words = [text.get_text() for text in legend.get_texts()]
        assert words[:4] == ["sgd", "adam", "start", "end"]
        assert words[4].startswith("contour every 0.")
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.y1 <= figure._suptitle.get_window_extent().y0  # type: ignore[attr-defined]
    contours = made["contour"].axes
    assert [ax.get_title("left") for ax in contours[:2]] == ["train", "test"]
    assert contours[0].get_xlabel() == "α: distance from A\ntowards B"
    assert contours[0].get_ylabel() == "β: distance\ntowards C"
    assert all(ax.get_aspect() == 1 for ax in contours[:2])


def test_each_trajectory_is_one_line_of_its_own_colour(models):
    ax = draw_plane(models, Figure().subplots(), split="train")
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
    ax = draw_plane(models, Figure().subplots(), split="test")
    places = np.stack([models.model_alpha, models.model_beta], -1)
    (circles,) = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() == 9]
    np.testing.assert_array_equal(circles.get_xydata(), places)
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]
    np.testing.assert_array_equal([text.xy for text in ax.texts], places)


def test_names_cover_no_model_and_stay_in_the_panel(models):
    """Close together, and one of them at the edge."""
    close = models.drop_dims("point").assign(
        model_alpha=("model", [-0.1, 0.0, 0.98]), model_beta=("model", [-0.05, 0.2, 1.9])
    ).assign_coords(model=["first model", "second model", "third model"])  # fmt: skip
    figure = Figure(figsize=(3, 6))
    ax = draw_plane(close, figure.subplots(), split="train")
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
    figure = dict(pages(models, ""))["surface"]
    for ax, split in zip(figure.axes, ("train", "test"), strict=True):
        part = models.sel(split=split)
        heights = np.log10(part.path_plane_loss) if log else part.path_plane_loss
        assert len(named(ax)["sgd"].get_data_3d()[2]) > 3  # type: ignore[attr-defined]  # along the surface
        np.testing.assert_array_equal(dots(ax)[0].get_data_3d()[2], heights[:3])
        model_heights = np.log10(part.model_plane_loss) if log else part.model_plane_loss
        np.testing.assert_array_equal(ax.lines[0].get_data_3d()[2], model_heights)  # type: ignore[attr-defined]


def test_more_than_three_models_have_principal_axes(models):
    more = models.drop_dims("point")
    more = more.isel(model=[0, 1, 2, 2]).assign_coords(model=["A", "B", "C", "D"])
    made = dict(pages(more, ""))
    ax = made["contour"].axes[0]
    assert ax.get_xlabel() == "first principal direction α\n(75 % of variance)"
    assert ax.get_ylabel() == "second principal direction β\n(25 % of variance)"
    assert all(text.get_text().startswith("contour every") for f in made.values() for text in f.legends[0].get_texts())


def test_the_quadratic_model_has_dashed_lines_at_the_measured_levels(eigenplane):
    ax = draw_plane(eigenplane, Figure().subplots(), split="test")
    measured, predicted = lines(ax)
    assert len(np.intersect1d(measured.levels, predicted.levels)) >= 3
    assert np.isin(predicted.levels, Scale.of(eigenplane.loss).contours).all()
    assert predicted.linestyles != measured.linestyles
    error = 0.75 * (2 / 3) ** 2 / 8  # of linear interpolation between the grid's β, whose second derivative is 0.75
    widest = 0.0
    for level, path in zip(predicted.levels, predicted.get_paths(), strict=True):
        alpha, beta = path.vertices.T
        np.testing.assert_allclose(1.5 * (1 + alpha**2 + 0.25 * beta**2), level, atol=error + 1e-9)
        widest = max(widest, float(np.abs(alpha).max()))
    assert 1.5 * 0.1 * widest > 2 * error  # by which the measured surface would be off


def test_pages_name_the_axes_by_their_eigenvalues(eigenplane):
    made = dict(pages(eigenplane, "a title"))
    assert list(made) == ["contour", "surface", "accuracy"]
    train, test, _ = made["contour"].axes
    assert train.get_xlabel() == test.get_xlabel() == "α: eigenvector of the largest\neigenvalue, 2.00"
    assert train.get_ylabel() == "β: eigenvector of the second\nlargest eigenvalue, 0.500"
    (legend,) = made["contour"].legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["quadratic model", "the model", "contour every 0.5"]
    assert len(lines(train)) == len(lines(test)) == 2
    assert len(lines(made["accuracy"].axes[0])) == 1  # a metric has no model


def test_with_a_penalty_the_objective_is_shown_beside_its_model(eigenplane):
    objective = (eigenplane.loss + 1).assign_attrs(long_name="loss + penalty", units="criterion")
    penalised = eigenplane.assign(objective=objective).assign_attrs(quadratic_of="objective")
    made = dict(pages(penalised, ""))
    assert list(made) == ["contour", "surface", "loss", "accuracy"]
    assert made["contour"].axes[2].get_ylabel() == "loss + penalty"
    assert len(lines(made["contour"].axes[0])) == 2
    assert len(lines(made["loss"].axes[0])) == 1


def test_the_trajectory_runs_from_its_start_to_the_origin(trajectory):
    made = dict(pages(trajectory, ""))
    assert list(made) == ["contour", "surface"]
    train, test, _ = made["contour"].axes
    for ax in (train, test):
        marks = {line.get_label(): np.asarray(line.get_xydata()) for line in ax.lines}
        np.testing.assert_array_equal(marks["start"], [[0.8, 1.5]])
        np.testing.assert_array_equal(marks["end"], [[0.0, 0.0]])
        path = marks["path"]
        np.testing.assert_array_equal(path, np.stack([trajectory.path_alpha, trajectory.path_beta], -1))
    assert train.get_xlabel() == "first principal direction α\n(86 % of variance)"
    assert train.get_ylabel() == "second principal direction β\n(9.3 % of variance)"
    words = [text.get_text() for text in made["contour"].legends[0].get_texts()]
    assert words == ["start", "path", "end", "contour every 0.5"]


@pytest.mark.parametrize("log", [False, True])
def test_on_the_surface_the_path_has_the_loss_of_its_projections(trajectory, log):
    if log:
        for name in ("loss", "path_plane_loss"):
            trajectory[name] = trajectory[name].copy(data=np.exp(5 * trajectory[name].values))
    figure = dict(pages(trajectory, ""))["surface"]
    for ax, split in zip(figure.axes, ("train", "test"), strict=True):
        heights = trajectory.path_plane_loss.sel(split=split).values
        np.testing.assert_array_equal(dots(ax)[0].get_data_3d()[2], np.log10(heights) if log else heights)


def test_a_path_lies_on_the_surface_between_its_checkpoints(trajectory):
    """A bilinear surface, which is known between its nodes."""
    flat = trajectory.assign(loss=(1 + 0.1 * trajectory.alpha + 0.2 * trajectory.beta) * xr.ones_like(trajectory.loss))
    flat["path_plane_loss"] = (1 + 0.1 * flat.path_alpha + 0.2 * flat.path_beta) * xr.ones_like(flat.path_plane_loss)
    ax = draw_surface(flat, Figure().add_subplot(projection="3d"), split="train")
    x, y, z = named(ax)["path"].get_data_3d()  # type: ignore[attr-defined]
    np.testing.assert_allclose(z, 1 + 0.1 * x + 0.2 * y)
    assert np.isin(flat.path_alpha, x).all()
    assert np.abs(np.diff(x)).max() <= 0.25 + 1e-12  # the step of the grid
    assert np.abs(np.diff(y)).max() <= 2 / 3 + 1e-12


def crosses(ax) -> list[list[float]]:
    return [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "+"]


def test_the_centre_has_a_cross_where_nothing_else_says_what_the_plane_leads_through(
    plane, eigenplane, models, trajectory
):
    for result, marked in ((plane, True), (eigenplane, True), (models, False), (trajectory, False)):
        ax = draw_plane(result, Figure().subplots(), split="train")
        assert crosses(ax) == ([[0.0, 0.0]] * 2 if marked else [])
        assert has_center(result) == marked
    assert not has_center(plane.assign_attrs(source="a.h5"))  # another program may have put its zero elsewhere


def test_a_result_may_hold_models_and_one_path(models):
    """No probe measures this yet: the marks are those of what is there."""
    one = models.isel(point=slice(3)).drop_vars(["trajectory", "checkpoint"])
    ax = draw_plane(one, Figure().subplots(), split="train")
    assert set(named(ax)) == {"start", "path", "end", "contour every 0.5"}
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]


def test_on_a_surface_of_another_quantity_nothing_stands_at_a_height_of_the_loss(models, trajectory):
    for result in (models, trajectory):
        ax = draw_surface(result, Figure().add_subplot(projection="3d"), variable="accuracy", split="train")
        assert not drawn_lines(ax)


def test_an_axis_is_called_what_its_probe_says(plane):
    named = plane.assign_coords(
        alpha=plane.alpha.assign_attrs(long_name="along the gradient", units="1"),
        beta=plane.beta.assign_attrs(long_name="across the gradient", units="1"),
    )
    ax = draw_plane(named, Figure().subplots(), split="train")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("along the gradient", "across the gradient")
