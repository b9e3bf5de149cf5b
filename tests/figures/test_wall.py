"""The wall: every map in its cell on one scale, and each alone for a page."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text
from PIL import Image

from lossatlas.figures import wall
from lossatlas.figures.scale import Scale
from tests.figures.conftest import heights, png


def grid(trajectory: xr.Dataset, rows: int, columns: int) -> dict[tuple[str, str], xr.Dataset]:
    """Planes that lie the higher the later their cell, over a factor of more than 5 in all."""
    return {
        (f"{row + 1}x50", f"activation {column} · sgd"): trajectory.assign(loss=(1 + row + column) * trajectory.loss)
        for row in range(rows)
        for column in range(columns)
    }


def names(cells: dict) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(row for row, _ in cells)), list(dict.fromkeys(column for _, column in cells))


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("rows", "columns"), [(5, 6), (7, 6), (4, 4), (1, 3), (1, 1), (6, 1)])
def test_a_wall_has_a_square_map_for_every_cell_and_fits_a_page(trajectory, rows, columns):
    cells = grid(trajectory, rows, columns)
    figure = wall.wall(cells, *names(cells), title="a title", split="train")
    *maps, bar = figure.axes
    assert len(maps) == rows * columns
    width, height = figure.get_size_inches()
    assert width <= 7.01
    assert height <= 10.2
    sides = np.array([ax.get_position().size for ax in maps]) * (width, height)
    np.testing.assert_allclose(sides, sides[0, 0])
    assert bar.get_ylabel() == "train loss"
    png(figure)
    boxes = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert all(box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1 for box in boxes if box.width)
    below = max(figure.legends[0].get_window_extent().y1, 0)
    assert all(ax.get_window_extent().y0 >= below - 1 for ax in maps)


def test_all_maps_have_one_scale_and_stand_where_their_names_say(trajectory, unshaded):
    cells = grid(trajectory, 2, 3)
    rows, columns = names(cells)
    scale = wall.shared_scale(cells, split="test")
    assert scale.log
    figure = wall.wall(cells, rows, columns, title="", split="test")
    for ax, (row, column) in zip(figure.axes, cells, strict=False):
        wanted = np.log10(cells[row, column].loss.sel(split="test").values)
        assert np.nanmin(heights(ax, scale)) == pytest.approx(wanted.min(), abs=0.02)
        assert np.nanmax(heights(ax, scale)) == pytest.approx(wanted.max(), abs=0.02)
        assert ax.get_title() == (column if row == rows[0] else "")
        assert ax.get_ylabel() == (row if column == columns[0] else "")


def test_the_legend_says_what_there_is(trajectory, plane, models):
    of_paths = {("a", "b"): trajectory}
    wall_of_paths = wall.wall(of_paths, ["a"], ["b"], title="", split="train")
    assert words(wall_of_paths) == ["start", "training path", "end of training", "contour every 0.2"]
    empty_too = wall.wall(of_paths, ["a", "c"], ["b"], title="", split="train")
    assert words(empty_too)[-1] == "no result"
    assert "the model" in words(wall.wall({("a", "b"): plane}, ["a"], ["b"], title="", split="train"))
    assert "models" in words(wall.wall({("a", "b"): models}, ["a"], ["b"], title="", split="train"))


def test_a_wall_of_nothing_but_missing_values_is_drawn(trajectory):
    lost = trajectory.assign(loss=np.nan * trajectory.loss)
    figure = wall.wall({("a", "b"): lost}, ["a"], ["b"], title="", split="train")
    assert len(figure.axes) == 1  # no bar
    assert png(figure)
    assert png(wall.wall({}, ["a"], ["b"], title=""))
    with pytest.raises(ValueError, match="got 0 rows and 1 columns: wanted one of each at least"):
        wall.wall({}, [], ["b"], title="")


def test_a_thumbnail_is_the_map_from_edge_to_edge(trajectory):
    scale = wall.shared_scale({("a", "b"): trajectory}, split="train")
    figure = wall.thumbnail(trajectory, scale=scale, split="train")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    image = np.asarray(Image.open(buffer).convert("RGB"))
    assert image.shape == (200, 200, 3)
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] != 255).any(-1).all()  # no white frame
    assert not figure.axes[0].axison
    assert not figure.texts + figure.legends
    assert png(figure) == png(wall.thumbnail(trajectory, scale=scale, split="train"))


def test_the_key_has_bar_and_legend(trajectory):
    cells = {("a", "b"): trajectory}
    clipped = Scale(True, -1.0, 0.5, below=True, above=True)
    figure = wall.key(cells, scale=clipped, split="train")
    (bar,) = figure.axes
    assert bar.get_xlabel() == "train loss"
    assert [text.get_text() for text in bar.texts] == ["0.10 and below", "3.2 and above"]
    assert words(figure)[:3] == ["start", "training path", "end of training"]
    png(figure)
    boxes = [text.get_window_extent() for text in (*bar.texts, *figure.legends[0].get_texts())]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)
