"""Lines show exactly the numbers of the result: interpolation, one-dimensional slices, connectivity."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lossatlas.figures import style
from lossatlas.figures.curves import draw_curve
from lossatlas.figures.plot import pages


@pytest.mark.parametrize("axis", ["alpha", "step", "epoch"])
def test_a_page_per_quantity_with_one_labelled_line_per_split(axis, segment):
    result = segment.rename(alpha=axis)
    made = dict(pages(result.assign(margin=result.loss * 2), "a title"))
    assert list(made) == ["loss", "accuracy", "margin"]
    for variable in ("loss", "accuracy"):
        (ax,) = made[variable].axes
        assert made[variable].get_suptitle() == "a title"
        assert ax.get_ylabel() == variable
        assert "α" in ax.get_xlabel()
        lines = {line.get_label(): line for line in ax.lines if not str(line.get_label()).startswith("_")}
        assert list(lines) == ["train", "test"]
        for split, line in lines.items():
            np.testing.assert_array_equal(line.get_xdata(), segment.alpha)
            np.testing.assert_array_equal(line.get_ydata(), segment[variable].sel(split=split))


def test_the_axis_is_called_what_the_result_tells_of_it(segment, line, draws, path):
    step = segment.rename(alpha="step").assign_coords(step=("step", np.arange(11), {"long_name": "optimizer step"}))
    own = segment.assign_coords(alpha=segment.alpha.assign_attrs(long_name="position t on the curve"))
    for result, name in (
        (segment, "position α from start (0) to end (1)"),
        (line, "position α along the random direction"),
        (draws, "position α along the random directions"),
        (path, "position α between the two solutions"),
        (segment.assign_attrs(source="a.h5"), "position α"),
        (step, "optimizer step"),
        (own, "position t on the curve"),
    ):
        assert draw_curve(result, Figure().subplots()).get_xlabel() == name


def test_a_dotted_line_stands_at_zero_where_the_axis_has_two_sides(segment, line):
    assert len(draw_curve(segment, Figure().subplots()).lines) == 2
    *_, zero = draw_curve(line, Figure().subplots()).lines
    assert (zero.get_linestyle(), *zero.get_xdata()) == (":", 0, 0)


def test_without_a_loss_the_first_quantity_is_the_main_one(segment):
    result = segment.drop_vars("loss").rename(alpha="epoch").assign(sharpness=100 * segment.loss.rename(alpha="epoch"))
    assert list(dict(pages(result, ""))) == ["accuracy", "sharpness"]
    wide = result.accuracy.copy(data=np.geomspace(1e-5, 1, 22).reshape(2, 11))
    (ax,) = dict(pages(result.assign(accuracy=wide), ""))["accuracy"].axes
    assert ax.get_yscale() == "log"


def test_values_that_are_not_finite_break_the_line_and_the_others_stay(segment):
    segment.loss[0, 2], segment.loss[0, 5] = np.nan, np.inf
    ax = draw_curve(segment, Figure().subplots())
    drawn = ax.lines[0].get_ydata(orig=True)
    np.testing.assert_array_equal(np.flatnonzero(np.ma.getmaskarray(drawn)), [2, 5])
    kept = [0, 1, 3, 4, 6, 7, 8, 9, 10]
    np.testing.assert_array_equal(np.asarray(drawn)[kept], segment.loss.values[0, kept])


def test_dots_are_at_the_points_that_were_measured(segment):
    every = draw_curve(segment, Figure().subplots())
    assert every.lines[0].get_marker() == "."
    assert every.lines[0].get_markevery() is None
    measured = np.isin(np.arange(11), [0, 4, 10])
    some = draw_curve(segment.assign(measured=("alpha", measured)), Figure().subplots())
    assert some.lines[0].get_markevery() == [0, 4, 10]
    np.testing.assert_array_equal(some.lines[0].get_ydata(), every.lines[0].get_ydata())


def test_of_several_draws_dots_are_where_all_were_measured(segment):
    draws = xr.concat([segment, 2 * segment, 3 * segment], "draw").transpose(..., "draw")
    measured = np.ones((11, 3), bool)
    measured[[2, 5, 7], [0, 1, 1]] = False
    figure = Figure()
    ax = draw_curve(draws.assign(measured=(("alpha", "draw"), measured)), figure.subplots())
    assert ax.lines[0].get_markevery() == [0, 1, 3, 4, 6, 8, 9, 10]
    figure.canvas.draw()


@pytest.mark.parametrize(("top", "scale"), [(90.0, "linear"), (110.0, "log")])
def test_more_than_two_decades_of_loss_go_on_a_log_axis(segment, top, scale):
    segment["loss"] = segment.loss.copy(data=np.geomspace(1, top, 22).reshape(2, 11))
    assert draw_curve(segment, Figure().subplots()).get_yscale() == scale


def test_a_metric_never_goes_on_a_log_axis(segment):
    segment["accuracy"] = segment.loss.copy(data=np.geomspace(1e-5, 1, 22).reshape(2, 11))
    assert draw_curve(segment, Figure().subplots(), variable="accuracy").get_yscale() == "linear"


def test_what_has_a_unit_of_its_own_does(segment):
    wide = segment.loss.copy(data=np.geomspace(1e-5, 1, 22).reshape(2, 11)).assign_attrs(units="criterion / parameter²")
    segment["top_eigenvalue"] = wide
    segment["top_eigenvalue_residual"] = wide / 100  # no quantity of its own, as errors are not
    assert draw_curve(segment, Figure().subplots(), variable="top_eigenvalue").get_yscale() == "log"
    assert list(dict(pages(segment, ""))) == ["loss", "accuracy", "top_eigenvalue"]


def test_a_unit_other_than_the_criterion_is_named(segment):
    segment.loss.attrs.update(long_name="cross-entropy loss", units="nat")
    assert draw_curve(segment, Figure().subplots()).get_ylabel() == "cross-entropy loss (nat)"


def test_without_splits_there_is_one_line_and_no_legend(segment, line):
    for result in (segment, line):
        one = result.isel(split=1, drop=True)
        (ax,) = next(iter(pages(one, "")))[1].axes
        assert ax.get_legend() is None
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), one.loss)


@pytest.mark.parametrize(("count", "ends", "said"), [(12, (0.16, 0.84), "16–84 %"), (3, (0, 1), "range")])
def test_several_draws_are_a_median_in_a_band_that_the_legend_states(draws, count, ends, said):
    some = draws.isel(draw=slice(count))
    made = dict(pages(some, ""))
    assert list(made) == ["loss", "accuracy"]
    for name, variable in (("loss", "loss"), ("accuracy", "accuracy")):
        (ax,) = made[name].axes
        legend = [text.get_text() for text in ax.get_legend().get_texts()]
        assert legend == [f"{split}: median and {said} of {count} draws" for split in ("train", "test")]
        for index, split in enumerate(("train", "test")):
            values = some[variable].sel(split=split).values  # (alpha, draw)
            np.testing.assert_allclose(ax.lines[index].get_ydata(), np.median(values, axis=1), rtol=1e-14)
            single = [line.get_ydata() for line in ax.lines[2 + index * count : 2 + (index + 1) * count]]
            np.testing.assert_array_equal(np.stack(single, 1), values)
            corners = ax.collections[index].get_paths()[0].vertices
            for at, row in zip(some.alpha.values, values, strict=True):
                band = corners[np.isclose(corners[:, 0], at), 1]
                np.testing.assert_allclose([band.min(), band.max()], np.quantile(row, ends), rtol=1e-12)


def test_a_draw_that_is_not_finite_breaks_the_median_and_its_own_line_only(draws):
    draws.loss[0, 2, 1], draws.loss[0, 7, 4] = np.nan, np.inf
    ax = draw_curve(draws, Figure().subplots())
    assert list(np.flatnonzero(~np.isfinite(np.ma.filled(ax.lines[0].get_ydata(), np.nan)))) == [2, 7]
    missing = [list(np.flatnonzero(~np.isfinite(line.get_ydata()))) for line in ax.lines[2:14]]
    assert missing == [[2] if draw == 1 else [7] if draw == 4 else [] for draw in range(12)]


def test_paths_differ_by_line_style_and_the_legend_states_the_barriers(path):
    aligned = path.assign(barrier=("split", [2.5e-7, np.nan]))
    made = dict(pages({"as trained": path, "aligned": aligned}, ""))
    assert list(made) == ["loss", "accuracy"]
    (ax,) = made["loss"].axes
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "--", "--"]
    assert ax.lines[0].get_color() == ax.lines[2].get_color() != ax.lines[1].get_color()
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "train, as trained: barrier 0.12",
        "test, as trained: barrier 0",
        "train, aligned: barrier 2.5 × 10⁻⁷",
        "test, aligned: barrier not finite",
    ]
    box, figure = legend.get_window_extent(), made["loss"].bbox
    assert box.x0 >= 0
    assert box.x1 <= figure.x1


def test_paths_share_the_scale_that_all_of_them_together_want(path):
    small = path.assign(loss=path.loss * 1e-4)
    (ax,) = next(iter(pages({"as trained": path, "aligned": small}, "")))[1].axes
    assert ax.get_yscale() == "log"
    (alone,) = next(iter(pages({"aligned": small}, "")))[1].axes
    assert alone.get_yscale() == "linear"


def test_ticks_have_just_the_digits_that_tell_them_apart_and_no_offset():
    plain = style.PlainFormatter()
    assert plain.format_ticks([-0.5, 0.0, 0.25]) == ["−0.50", "0.00", "0.25"]
    assert plain.format_ticks([0.0, 2.5e-7, 5e-7]) == ["0", "2.5e−7", "5.0e−7"]
    assert plain.format_ticks([0.693147, 0.693148]) == ["0.693147", "0.693148"]
    assert plain.format_ticks([]) == []
