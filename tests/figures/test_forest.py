"""Forest plots: every row in its own units around its bound, verdicts that can be told without colour."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lossatlas.figures.forest import HOLDS, MARKERS, THICK, THIN, ForestRow, forest
from tests.figures.conftest import png

ABOVE = ForestRow(
    statement="With Adam the largest eigenvalue is larger than with SGD at equal training loss.",
    group="optimizer",
    estimate=3.0,
    low=2.0,
    high=4.0,
    configurations_low=-1.0,
    configurations_high=9.0,
    bound=(1.0, math.inf),
    verdict="mixed",
    number="3.0 [2.0, 4.0]",
)
WITHIN = dataclasses.replace(
    ABOVE, group="depth", bound=(-0.1, 0.1), estimate=0.02, low=0.01, high=0.03, configurations_low=math.nan,
    configurations_high=math.nan, verdict="supported",
)  # fmt: skip


def segments(figure: Figure, width: float) -> list[tuple[float, float]]:
    lines = (line for line in figure.axes[0].lines if line.get_linewidth() == width and line.get_color() in COLORS)
    return [tuple(line.get_xdata()) for line in lines]


COLORS = {look["color"] for look in MARKERS.values()}


def estimates(figure: Figure) -> list[float]:
    markers = {look["marker"] for look in MARKERS.values()}
    return [float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() in markers]


def regions(figure: Figure) -> list[tuple[float, float]]:
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in patches]


@pytest.mark.parametrize("narrow", [False, True])
def test_a_row_is_scaled_to_its_wider_interval_with_the_bound_in_the_middle(narrow):
    (figure,) = forest([ABOVE], "a title", narrow=narrow)
    ((low, high),), ((far_low, far_high),) = segments(figure, THICK), segments(figure, THIN)
    ((left, right),) = regions(figure)  # from the bound to the right end
    unit = (far_high - far_low) / 10
    assert far_high - left == pytest.approx(8 * unit)
    assert (low, high) == pytest.approx((left + unit, left + 3 * unit))
    assert estimates(figure) == pytest.approx([left + 2 * unit])
    assert right > far_high
    assert left - far_low == pytest.approx(2 * unit)


def test_with_two_bounds_the_middle_lies_between_them():
    (figure,) = forest([WITHIN], "")
    ((left, right),) = regions(figure)
    middle, unit = (left + right) / 2, (right - left) / 0.2
    assert segments(figure, THIN) == []
    assert segments(figure, THICK)[0] == pytest.approx((middle + 0.01 * unit, middle + 0.03 * unit))


def test_a_statement_that_something_is_below_holds_on_the_left():
    below = dataclasses.replace(ABOVE, bound=(-math.inf, 0.0))
    (figure,) = forest([below], "")
    ((left, right),) = regions(figure)
    assert right < estimates(figure)[0]
    assert left < right
    assert to_hex(figure.axes[0].patches[0].get_facecolor()).upper() == HOLDS


@pytest.mark.parametrize("narrow", [False, True])
def test_groups_statements_numbers_and_verdicts_are_said(narrow):
    (figure,) = forest([ABOVE, WITHIN], "a title", narrow=narrow)
    said = [text.get_text().replace("\n", " ") for text in figure.axes[0].texts]
    for words in ("optimizer", "depth", ABOVE.statement, ABOVE.number, "mixed", "supported"):
        assert words in said
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert legends[3:] == list(MARKERS)
    png(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    assert not any(one.overlaps(two) for one in boxes for two in boxes if one is not two)


def test_verdicts_differ_by_shape_or_fill():
    looks = [(look["marker"], look.get("markerfacecolor"), look.get("fillstyle")) for look in MARKERS.values()]
    assert len(set(looks)) == len(MARKERS)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("count", [5, 50])
def test_many_rows_go_on_in_further_figures(count, narrow):
    rows = [dataclasses.replace(ABOVE, group=f"group {at // 7}", number=f"row {at}") for at in range(count)]
    figures = forest(rows, "a title", narrow=narrow)
    said = [text.get_text() for figure in figures for text in figure.axes[0].texts if text.get_text().startswith("row")]
    assert said == [row.number for row in rows]
    assert all(figure.get_size_inches()[1] <= (14 if narrow else 9.3) for figure in figures)
    assert all(figure.get_size_inches()[0] == (3.6 if narrow else 7) for figure in figures)
    parts = [f" ({at} of {len(figures)})" for at in range(1, len(figures) + 1)] if len(figures) > 1 else [""]
    assert [figure.get_suptitle() for figure in figures] == [f"a title{part}" for part in parts]


def test_what_is_not_a_number_and_what_is_infinite_is_drawn_without_warning():
    nothing = dataclasses.replace(ABOVE, estimate=math.nan, low=math.nan, high=math.nan, verdict="undecided")
    endless = dataclasses.replace(ABOVE, high=math.inf, bound=(-math.inf, math.inf), verdict="undecided")
    zero = dataclasses.replace(WITHIN, estimate=0.0, low=0.0, high=0.0, bound=(-math.inf, 0.0))
    (figure,) = forest([nothing, endless, zero], "")
    assert "no number" in [text.get_text() for text in figure.axes[0].texts]
    assert png(figure) == png(forest([nothing, endless, zero], "")[0])
    figure.savefig(io.BytesIO(), format="pdf")
    assert forest([], "a title") == []
