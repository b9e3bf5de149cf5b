"""The report about one model in a browser: its planes turn, as a notebook draws them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossatlas.cli import main
from lossatlas.figures.interactive import MOST_NODES, surface_data, surface_figure
from lossatlas.results.storage import read_result

from ..model_report.conftest import COARSE, PROBLEM

PLANES = ("random_plane", "trajectory_plane", "model_plane", "eigenvector_plane")


@pytest.fixture(scope="module")
def folder(browser, tmp_path_factory) -> Path:  # without a browser nothing is measured
    folder = tmp_path_factory.mktemp("model report")
    (folder / "digits_problem.py").write_text(PROBLEM)
    problem = f"{folder / 'digits_problem.py'}:problem"
    probes = ["--probes", *PLANES, "epsilon_sharpness"]
    assert main(["probe", problem, "--out", str(folder / "out"), *COARSE, *probes]) == 0
    return folder / "out"


@pytest.mark.parametrize("plane", PLANES)
def test_planes_turn_with_their_marks(folder, page, plane):
    page.goto((folder / "report.html").resolve().as_uri())
    figure = page.locator(f"figure[data-plane='{plane}']").first
    figure.get_by_role("button", name="Turn the surface").click()
    figure.locator(".js-plotly-plot .gl-container canvas").first.wait_for()
    drawn = page.evaluate(
        "async (plane) => lossatlas.surfaceFigure((await lossatlas.planes('model'))[plane], 'test')", plane
    )
    result = read_result(folder / "results" / f"{plane}.nc")
    expected = surface_figure(surface_data(result, most_nodes=MOST_NODES), "test")
    assert [trace["name"] for trace in drawn["data"][1:]] == [trace["name"] for trace in expected["data"][1:]]
    for mine, theirs in zip(drawn["data"][1:], expected["data"][1:], strict=True):
        assert mine["x"] == theirs["x"]
        assert mine["z"] == pytest.approx(theirs["z"])


def test_what_cannot_turn_is_a_picture(folder, page):
    page.goto((folder / "report.html").resolve().as_uri())
    assert page.locator("#epsilon_sharpness figure.picture").count() == 2
    assert page.locator("#epsilon_sharpness figure[data-plane]").count() == 0


def test_the_page_fits_a_phone(folder, page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto((folder / "report.html").resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
