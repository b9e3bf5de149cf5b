"""The benchmark measures what it says: calls in turn, ratios by round, errors against what is known, a whole page."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from benchmarks import all_tables, density, figure, growth, machine, page, run, surface, timing, training
from benchmarks.all_tables import TABLES
from benchmarks.networks import RECIPES, load
from benchmarks.peers import Nodes
from benchmarks.setting import QUICK, Setting
from benchmarks.timing import Outcome, Tool, in_turn
from lossatlas.files import write_json
from tests.networks import plain_loss


@pytest.mark.parametrize(
    "module", [density, growth, machine, page, timing, training], ids=lambda module: module.__name__
)
def test_the_examples_of_its_functions_hold(module: Any):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_tools_are_called_in_turn_and_a_short_first_round_does_not_count():
    calls: list[str] = []

    def tool(name: str, **options: Any) -> Tool:
        return Tool(lambda: Outcome(calls.append(name)), **options)

    found = in_turn({"a": tool("a"), "b": tool("b"), "long": tool("long", once=True)}, 3)
    assert calls == ["a", "b", "long", "a", "b", "a", "b", "a", "b"]
    assert [len(timed.seconds) for timed in found.values()] == [3, 3, 1]
    calls.clear()
    found = in_turn({"a": tool("a"), "b": tool("b")}, 2, warm_up=0)
    assert calls == ["a", "b", "a", "b"]
    assert [len(timed.seconds) for timed in found.values()] == [2, 2]


def test_seconds_that_a_tool_scales_up_stand_for_those_of_the_clock():
    found = in_turn({"part": Tool(lambda: Outcome("answer", 7, seconds=1234.0))}, 2)
    assert found["part"].seconds == [1234.0, 1234.0]
    assert found["part"].outcome.value == "answer"


def test_peak_memory_grows_by_what_is_held():
    """In a process of its own, as it is used: one that has held more, and may not forget it, shows nothing."""
    code = (
        "import numpy as np; from benchmarks.memory import held, peak; before = held(); "
        "array = np.ones(64 * 2**20 // 8); print(peak() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) > 48 * 2**20


@pytest.mark.parametrize("case", ["1x50", "ResNet"])
def test_a_network_is_trained_once_and_its_surface_is_that_of_a_plain_loop(case: str, tmp_path: Path):
    problem = load(case, tmp_path, epochs=1, examples=64)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    again = load(case, tmp_path, epochs=1, examples=64)
    assert file.stat().st_mtime_ns == before
    theta = again.loss().theta
    assert torch.equal(problem.loss().theta, theta)
    generator = torch.Generator().manual_seed(0)
    directions, axis = 0.1 * torch.randn(2, len(theta), generator=generator), torch.tensor([-1.0, 0.5])
    values = surface.dense_plane(problem, directions, axis)
    expected = [
        [plain_loss(problem.model, theta + a * directions[0] + b * directions[1], *problem.data) for b in axis]
        for a in axis
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_the_ten_million_parameters_are_there():
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in RECIPES["10M"].make().parameters())
    assert 10e6 < parameters < 10.5e6


def test_errors_are_relative_to_the_range():
    truth = np.array([[1.0, 3.0], [2.0, 5.0]])
    assert surface.relative(truth + np.array([[0.0, 0.0], [-1.0, 0.5]]), truth) == 0.25


def test_the_cheapest_draws_that_reach_an_error_are_found():
    """Draws that are each one of five eigenvalues at random: the error falls with their number, as for dice."""
    exact = torch.linspace(0, 1, 5)
    truths = {scale: density.Truth(exact, scale) for scale in ("log", "linear")}
    drawn = torch.from_numpy(np.random.default_rng(0).permutation(exact.repeat(80).numpy()))

    pools = []

    def run(draws: int, steps: int) -> Outcome:
        pools.append((draws, steps))
        return Outcome(Nodes(drawn[:draws, None], torch.ones(draws, 1)), 5 + draws * steps)

    found = [density.equal_error(run, (3, 1), truths, wanted, 400) for wanted in (0.6, 0.25)]
    assert [entry["reached"] for entry in found] == [True, True]
    assert [entry["steps"] for entry in found] == [1, 1]
    assert [entry["products"] for entry in found] == [5 + entry["draws"] for entry in found]
    # The mean of Σ |share − 1/5| over n throws is about 5 √(2 · 0.16 / πn) = 1.6 / √n: 7 for 0.6, 41 for 0.25.
    assert 3 <= found[0]["draws"] < 15 < found[1]["draws"] < 90
    hopeless = density.equal_error(run, (1,), truths, -1.0, 20)
    assert not hopeless["reached"]
    pools.clear()
    cheap = density.equal_error(run, (1, 3), truths, 0.6, 400)
    assert cheap["steps"] == 1
    assert pools == [(400, 1), (2 * (cheap["products"] // 3), 3)]  # twice as many as could be cheaper


def test_the_density_of_a_convolutional_network_is_that_of_its_first_256_examples(tmp_path: Path):
    setting = Setting(replace(QUICK, examples=300, epochs=1), tmp_path, tmp_path)
    whole, part = setting.problem("ResNet"), density.problem_of("ResNet", setting)
    assert torch.equal(part.inputs, whole.inputs[:256])
    assert torch.equal(part.targets, whole.targets[:256])
    assert density.problem_of("1x50", setting).inputs.shape == setting.problem("1x50").inputs.shape == (300, 2)


def test_a_density_far_off_has_an_error_of_two():
    truth = density.Truth(torch.linspace(0, 1, 5), "linear")
    away = Nodes(torch.full((3, 1), 100.0), torch.ones(3, 1))
    assert truth.error(away) == pytest.approx(1.0, abs=1e-6)  # the estimate lies off the axis
    opposite = Nodes(torch.full((3, 1), 0.125), torch.ones(3, 1))  # between two of the eigenvalues
    assert truth.error(opposite) == pytest.approx(2.0, abs=0.01)


def row(tool: str, seconds: list[float], **more: Any) -> dict[str, Any]:
    return {
        "tool": tool, "seconds": seconds, "count": 100, "memory": 12.3, "values": {}, "note": "", "rival": True, **more
    }  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Setting:
    """A folder with made-up results of one case of every table."""
    setting = Setting(QUICK, tmp_path / "results" / "some-machine", tmp_path / "networks")
    write_json(setting.folder / "machine" / "described.json", machine.describe() | {"name": "Some Machine"})
    for name, table in TABLES.items():
        (case,) = table.cases(setting)
        rows = [
            row("lossatlas", [1.0, 2.0, 1.0], rival=False, values=dict.fromkeys(table.columns, 0.0042)),
            row("hasty", [0.5], rival=False),
            row("slow", [50.0, 60.0, 70.0]),
            row("swift", [10.0, 30.0, 40.0]),
        ]
        write_json(setting.folder / name / f"{case}.json", {"table": name, "case": case, "label": case, "rows": rows})
    return setting


def test_the_fastest_other_tool_is_one_whose_answer_is_good_enough(measured: Setting):
    record = measured.kept("surface/1x50")
    rival = figure.fastest_rival(record)
    assert rival is not None
    assert rival["tool"] == "swift"
    assert figure.fastest_rival({**record, "rows": record["rows"][:2]}) is None


def test_the_pages_show_every_result_and_say_what_is_missing(measured: Setting, tmp_path: Path):
    docs = tmp_path / "docs"
    page.write_pages(measured, docs)
    file = docs / "benchmarks" / "some-machine.md"
    short, text = (docs / "benchmarks.md").read_text(), file.read_text()
    assert short.count("| swift | 15 (10 to 40) |") == len(TABLES)
    assert "[Some Machine](benchmarks/some-machine.md)" in short
    assert "Not measured here" not in text
    for table in TABLES.values():
        assert f"## {table.title}" in text
        assert "{" not in table.text.format(**vars(measured.effort))
    assert text.count("| swift | 15 (10 to 40) |") == len(TABLES)
    assert text.count("| hasty | 0.50 (0.25 to 0.50) |") == len(TABLES)
    assert "0.0042" in text
    lines = [line for line in (short + text).splitlines() if not line.startswith("|")]
    assert max(map(len, lines)) <= 120
    picture = docs / "images" / "benchmarks.png"
    image = imread(picture)[..., :3]
    assert 0.02 < (image.min(-1) < 0.9).mean() < 0.9
    assert picture.stat().st_size < 80_000
    nothing = Setting(QUICK, tmp_path / "empty" / "machine", tmp_path)
    page.write_pages(nothing, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (measured.folder / "study" / "moons.json").unlink()
    page.write_pages(measured, docs)
    assert "Not measured here: study moons." in file.read_text()


def test_machines_stand_side_by_side(measured: Setting, tmp_path: Path):
    """The second has one case less, and another tool is the fastest of one."""
    other = replace(measured, folder=measured.folder.parent / "slow-machine")
    write_json(other.folder / "machine" / "described.json", machine.describe() | {"name": "Slow Machine"})
    rows = [row("lossatlas", [1.0, 1.0, 1.0], rival=False), row("lucky", [3.0, 3.0, 3.0])]
    write_json(other.folder / "surface" / "1x50.json", {"table": "surface", "case": "1x50", "label": "1", "rows": rows})
    page.write_pages(measured, tmp_path)
    lines = (tmp_path / "benchmarks.md").read_text().splitlines()
    assert "| work | network | fastest other tool | Some Machine | Slow Machine |" in lines
    assert "| A surface of the training loss | 1x50 |  | 15 (10 to 40), swift | 3.0 (3.0 to 3.0), lucky |" in lines
    assert "| The ten largest eigenvalues of the Hessian | 1x50 | swift | 15 (10 to 40) |  |" in lines
    compared = all_tables.all_cases(measured)
    found = {"Slow Machine": all_tables.measured(other), "Some Machine": all_tables.measured(measured)}
    drawn = figure.draw(compared, found)
    (ax,) = drawn.axes
    assert len(ax.patches) == len(TABLES) + 1
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[:2] == ["surface, 1x50", "eigenvalues, 1x50: swift"]
    assert len(labels) == len(TABLES)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["Slow Machine", "Some Machine"]
    drawn.canvas.draw()
    assert min(label.get_window_extent().x0 for label in ax.get_yticklabels()) > 0


def test_the_page_tells_how_cost_grows(measured: Setting, tmp_path: Path):
    work = [{"name": "a surface", "seconds": [1.0, 2.0], "slope": 0.5, "upper": None}]
    sweep = {"sweep": "grid", "unit": "points", "sizes": [100, 1600], "work": work}
    write_json(measured.folder / "growth.json", [sweep])
    page.write_pages(measured, tmp_path)
    assert "| points: 100 to 1,600 | a surface | 0.50 |  |" in (tmp_path / "benchmarks/some-machine.md").read_text()


def test_what_was_found_is_not_looked_for_again(tmp_path: Path):
    setting = Setting(QUICK, tmp_path, tmp_path)
    assert setting.kept("some/thing") is None
    assert setting.remembered("some/thing", lambda: {"x": 1.5}) == {"x": 1.5}
    assert setting.remembered("some/thing", lambda: pytest.fail("measured again")) == {"x": 1.5}
    assert setting.kept("some/thing") == {"x": 1.5}


def test_results_go_to_the_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    """The command itself, with a table that takes no time; the page says that the other tables are missing."""
    calls: list[str] = []

    def measure(table: Any, case: str, setting: Setting) -> dict[str, Any]:
        calls.append(case)
        rows = [row("lossatlas", [1.0], rival=False), row("other", [4.0])]
        return {"table": table.name, "case": case, "label": case, "rows": rows}

    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(machine, "name", lambda: "Some (Fine) Machine")
    for _ in range(2):
        run.main(["--quick", "--only", "density"])
    assert calls == ["1x50"]
    out = tmp_path / "dist" / "benchmarks"
    assert (out / "results" / "some-fine-machine" / "density" / "1x50.json").is_file()
    assert "4.0 (4.0 to 4.0)" in (out / "benchmarks" / "some-fine-machine.md").read_text()
    assert "not measured yet: surface 1x50, eigenvalues 1x50, training 1x50, study moons" in capsys.readouterr().out
    run.main(["--quick", "--only", "density", "--again"])
    assert calls == ["1x50", "1x50"]


def test_the_operations_of_training_are_those_of_its_matrix_products():
    """Against torch's own count of a step's forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    from lossatlas.study.models import build

    model = build("4x25", "relu", 2)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(model(torch.rand(8, 2)), torch.zeros(8, dtype=torch.long)).backward()
    assert training.operations("4x25", 8) == counter.get_total_flops()
    assert math.isclose(growth.slope([1, 10, 100], [2, 20, 200]), 1)
