from __future__ import annotations

import math

import pytest
from playwright.sync_api import Page

from lossatlas.figures.interactive import MOST_NODES, surface_data, surface_figure
from lossatlas.results.storage import read_result
from lossatlas.study.site.site import slug

from .conftest import address

DRAWN = ".js-plotly-plot .gl-container canvas"


def column(page: Page, table: str, index: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden]) td:nth-child({index})", "cells => cells.map(cell => cell.textContent)"
    )


def widest(page: Page) -> tuple[int, int]:
    return tuple(page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]"))


def the_table_of_runs(page: Page) -> str:
    """The label of the first table that leads to runs, has numbers to sort by and rows enough for a filter."""
    return page.evaluate(
        """[...document.querySelectorAll("figure.table")].find((figure) => figure.querySelector("input")
        && figure.querySelector("td[data-value] ") && figure.querySelector("td a[href*='assets/runs/']")).id"""
    )


def test_tables_sort_up_down_and_back_by_mouse_and_keyboard(report, page):
    page.goto(address(report, "report.html"))
    table = the_table_of_runs(page)
    heads = page.locator(f"#{table} thead th")
    index = page.evaluate(
        """(id) => [...document.querySelectorAll(`#${id} tbody tr:first-child td`)]
        .findLastIndex((cell) => cell.dataset.value !== undefined)""",
        table,
    )
    head, values = (
        heads.nth(index),
        lambda: page.eval_on_selector_all(
            f"#{table} tbody td:nth-child({index + 1})",
            "cells => cells.map(cell => cell.dataset.value === undefined ? null : Number(cell.dataset.value))",
        ),
    )
    written = values()
    head.get_by_role("button").click()
    numbers = sorted(value for value in written if value is not None)
    gaps = [None] * (len(written) - len(numbers))
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == numbers + gaps
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == numbers[::-1] + gaps
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert values() == written


def test_tables_show_the_rows_with_every_word_of_the_filter(report, page):
    page.goto(address(report, "report.html"))
    table = the_table_of_runs(page)
    rows = page.locator(f"#{table} tbody tr")
    total = rows.count()
    page.fill(f"#{table} input", "  2x4   SGD ")
    shown = [row for row in rows.all() if row.is_visible()]
    assert 0 < len(shown) < total
    assert all("2x4" in row.text_content() and "sgd" in row.text_content() for row in shown)
    assert page.text_content(f"#{table} output") == f"{len(shown)} of {total} rows"
    page.fill(f"#{table} input", "")
    assert len([row for row in rows.all() if row.is_visible()]) == total


def test_a_number_of_a_table_leads_to_the_page_of_its_run(report, page):
    page.goto(address(report, "report.html"))
    page.locator(f"#{the_table_of_runs(page)} tbody tr").first.locator("td[data-value] a").last.click()
    assert "/assets/runs/" in page.url
    assert page.locator("h1").text_content() in {str(run) for run in report.study.all_runs()}
    first = page.url
    page.locator("nav.top .next").click()
    assert page.url != first
    page.locator("nav.top .previous").click()
    assert page.url == first


def test_a_surface_takes_the_place_of_its_picture_and_gives_it_back(report, page):
    page.goto(address(report, "report.html"))
    assert page.evaluate("window.Plotly") is None  # read only when it is wanted
    figure = page.locator("figure[data-plane]").first
    figure.get_by_role("button", name="Turn the surface").click()
    figure.locator(DRAWN).first.wait_for()
    state = """figure => { const plot = figure.querySelector(".js-plotly-plot");
        return [plot.data[0].z.flat(), plot.layout.scene.zaxis.range]; }"""
    train, scale = figure.evaluate(state)
    figure.get_by_role("button", name="test").click()
    page.wait_for_function(
        "before => JSON.stringify(document.querySelector('.js-plotly-plot').data[0].z.flat()) !== before",
        arg=str(train).replace(" ", ""),
    )
    assert figure.evaluate(state)[1] == scale  # both splits have one
    figure.get_by_role("button", name="Picture").click()
    assert figure.locator("img").is_visible()
    assert figure.locator(".js-plotly-plot").count() == 0


def test_no_more_surfaces_are_alive_than_browsers_allow(report, page):
    page.goto(address(report, "report.html"))
    page.evaluate("""() => {
        const figure = document.querySelector("figure[data-plane]");
        for (let copy = 0; copy < 7; copy++) {
            const made = figure.cloneNode(true);
            made.querySelector(".bar").remove();
            document.querySelector("main").append(made);
        }
        const script = document.createElement("script");
        script.src = "assets/turn.js";
        document.head.append(script);
    }""")
    page.wait_for_function("document.querySelectorAll('main > figure[data-plane] .bar button').length === 7")
    for figure in page.locator("main > figure[data-plane]").all():
        figure.get_by_role("button", name="Turn the surface").last.click()
        figure.locator(DRAWN).first.wait_for()
    assert page.locator(".js-plotly-plot").count() == 6


@pytest.mark.parametrize("plane", ["random_plane", "trajectory_plane"])
def test_pages_and_notebooks_draw_the_same_surface(report, page, plane):
    run = next(iter(report.study.runs()))
    page.goto(address(report, f"assets/runs/{slug(run)}.html"))
    data = surface_data(read_result(report.result_file(run, plane)), most_nodes=MOST_NODES)
    for split in ("train", "test"):
        drawn = page.evaluate(
            "async ([slug, plane, split]) => lossatlas.surfaceFigure((await lossatlas.planes(slug))[plane], split)",
            [slug(run), plane, split],
        )
        assert_same(drawn, surface_figure(data, split))


@pytest.mark.parametrize(
    "values",
    [
        *(
            [[1e-4, 1.0], [None, 0.0]],
            [[1.0, 1.0], [1.0, 1.0]],
            [[None, None], [None, None]],
            [[-1.0, 9.0], [0.0, 300.0]],
            [[-1e-6, 2e-6], [0.0, 1e-6]],
            [[1e-30, 1e-3], [1e-12, 1e9]],
        ),
        *(
            [[0.1, 0.49], [0.2, 0.3]],
            [[0.1, 2.1], [0.2, 0.3]],
            [[0.0025, 0.4], [0.1, 0.1]],
            [[3e-6, 4e-4], [1e-5, 1e-5]],
        ),
    ],
)
def test_scales_agree_on_gaps_zeros_and_constants(report, page, values):
    axis = {"label": "a", "values": [0.0, 1.0]}
    mark = {"style": "end", "name": "end", "alpha": [0.0], "beta": [0.0], "values": {"train": [values[0][0]]}}
    data = {
        "is_loss": True, "quantity": "loss", "alpha": axis, "beta": axis, "values": {"train": values}, "marks": [mark],
    }  # fmt: skip
    page.goto(address(report, "report.html"))
    assert_same(page.evaluate("data => lossatlas.surfaceFigure(data, 'train')", data), surface_figure(data, "train"))


def assert_same(one, other) -> None:
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in other:
            assert_same(one[key], other[key])
    elif isinstance(other, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    else:
        assert one == other


def test_two_runs_side_by_side_have_one_scale_and_turn_together(report, page):
    one, other, third = list(report.study.runs())[:3]
    page.goto(address(report, "assets/compare.html", f"{slug(one)},{slug(other)}"))
    plots = page.locator(".panel .js-plotly-plot")
    for plane, traces in {"Random plane": 2, "Trajectory plane": 4}.items():
        page.get_by_role("button", name=plane).click()
        page.wait_for_function(
            """traces => { const plots = [...document.querySelectorAll(".panel .js-plotly-plot")];
            return plots.length === 2 && plots.every(plot => plot.data.length === traces); }""",
            arg=traces,
        )
        ranges = plots.evaluate_all(
            """plots => plots.map(({data, layout: {scene}}) =>
            [scene.xaxis.range, scene.yaxis.range, scene.zaxis.range, data[0].cmin, data[0].cmax])"""
        )
        assert ranges[0] == ranges[1]
    first, second = plots.all()
    first.evaluate("plot => Plotly.relayout(plot, {'scene.camera.eye': {x: 1, y: 2, z: 0.5}})")
    first.evaluate("plot => plot.emit('plotly_relayout', {'scene.camera': plot.layout.scene.camera})")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot')[1].layout.scene.camera.eye.y === 2")
    assert second.evaluate("plot => plot.layout.scene.camera.eye") == {"x": 1, "y": 2, "z": 0.5}
    page.get_by_label("Second").select_option(slug(third))
    assert page.url.endswith(f"#{slug(one)},{slug(third)}")
    assert page.locator("#compare table tbody tr").count() >= 4


@pytest.mark.parametrize("width", [380, 768, 1400])
def test_nothing_is_wider_than_the_window(report, page, width):
    run = next(iter(report.study.runs()))
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("report.html", f"assets/runs/{slug(run)}.html", "assets/compare.html"):
        page.goto(address(report, path))
        if path == "report.html":  # the page of a run and that of two draw their surfaces at once
            page.locator("figure[data-plane]").first.get_by_role("button").click()
        page.locator(DRAWN).last.wait_for()
        scroll, client = widest(page)
        assert scroll <= client == width, path


def test_light_and_dark_by_the_reader_s_choice(report, page):
    page.emulate_media(color_scheme="dark")
    page.goto(address(report, "report.html"))
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light


def test_without_scripts_everything_can_be_read(report, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address(report, "report.html"))
    assert page.locator("nav.side ol").first.is_visible()
    assert page.locator("figure.table tbody tr").first.is_visible()
    context.close()


def test_the_wall_is_the_reader_s_own_grid_and_opens_what_a_map_shows(report, page):
    page.goto(address(report, "report.html"))
    wall = page.locator("figure.wall")
    maps = wall.locator(".grid button")
    assert maps.count() == 4  # two architectures, two optimizers; the seeds one by one
    wall.get_by_label("Rows").select_option("seed")
    assert wall.locator("th[scope=row]").all_text_contents() == ["0", "1"]
    maps.first.click()
    wall.locator(DRAWN).first.wait_for()
    assert "Training loss" in wall.locator("dl").text_content()
    wall.get_by_role("link", name="Its page").click()
    assert "/assets/runs/" in page.url


def test_the_page_of_a_run_leads_with_surfaces_that_turn(report, page):
    run = next(iter(report.study.runs()))
    page.goto(address(report, f"assets/runs/{slug(run)}.html"))
    page.locator("#surfaces").locator(DRAWN).first.wait_for()
    assert page.locator("main section").first.get_attribute("id") == "surfaces"
