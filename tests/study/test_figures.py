"""The drawing stage: which files it leaves, and when it leaves them alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lossatlas.execution.drawing import Format, stale
from lossatlas.execution.failures import failures
from lossatlas.study import figures as draw
from lossatlas.study.run import report_study
from lossatlas.study.site import planes
from lossatlas.study.site.planes import planes_file
from lossatlas.study.site.site import Site
from lossatlas.study.store import Store
from tests.study.tiny import contents, quiet

VECTORS: tuple[Format, ...] = ("svg", "pdf")


@pytest.fixture
def copy(finished: Store, tmp_path) -> Store:
    shutil.copytree(finished.root, tmp_path / "copy")
    return Store(tmp_path / "copy", finished.study)


def drawn(root: Path) -> dict[str, bytes]:
    return contents(root / "figures")


@pytest.mark.slow
def test_every_figure_is_there_in_the_formats_asked_for(copy: Store):
    before = drawn(copy.root)
    assert {Path(name).suffix for name in before} == {".png"}
    configuration = (copy.root / "study.json").read_bytes()
    assert report_study(copy.root, workers=2, progress=quiet(), formats=VECTORS).worked["figures"] > 0
    after = drawn(copy.root)
    of_results = [name for name in before if Path(name).parent.name not in ("", "dataset=moons")]  # not those of tables
    assert set(after) == set(before) | {
        str(Path(name).with_suffix(kind)) for name in of_results for kind in (".svg", ".pdf")
    }
    assert {name: after[name] for name in before} == before  # as without vectors
    assert all(
        data.startswith({"f": b"%PDF", "g": b"<?xml"}[name[-1]]) for name, data in after.items() if ".png" not in name
    )
    assert (copy.root / "study.json").read_bytes() == configuration
    repeated: list[tuple[Format, ...]] = [VECTORS, ("png",), ("pdf", "png"), ()]
    for formats in repeated:
        assert not report_study(copy.root, workers=1, progress=quiet(), formats=formats).worked


@pytest.mark.slow
def test_vectors_are_the_same_bytes_each_time(copy: Store):
    run = next(copy.study.runs())
    drawings = stale(draw.of_run(copy, run), VECTORS)
    assert [one.probe.name for one in drawings] == [
        "interpolate", "random_line", "random_plane", "trajectory_plane", "trajectory_sharpness", "spectrum",
        "epsilon_sharpness", "example_concentration",
    ]  # fmt: skip
    written = []
    for _ in range(2):
        draw.draw_run(copy, run, drawings, VECTORS)
        written.append(contents(copy.figure_folder(run)))
        shutil.rmtree(copy.figure_folder(run))
    assert written[0] == written[1]
    assert sum(name.endswith(VECTORS) for name in written[0]) == 2 * sum(name.endswith("png") for name in written[0])


def test_figures_and_surfaces_are_drawn_again_when_their_results_are_newer(copy: Store):
    run = next(copy.study.runs())
    file, plane = planes_file(copy, run), copy.result_file(run, "trajectory_plane")
    assert not planes.stale(Site(copy), run)
    later = max(path.stat().st_mtime_ns for path in (file, *copy.figure_folder(run).rglob("*.png"))) + 1
    os.utime(plane, ns=(later, later))
    assert planes.stale(Site(copy), run)
    (drawing,) = stale(draw.of_run(copy, run))
    assert drawing.probe.name == "trajectory_plane"
    assert set(draw.draw_run(copy, run, [drawing])) == {"figures", "surfaces"}
    assert not planes.stale(Site(copy), run)
    assert not stale(draw.of_run(copy, run))


def test_a_failed_surface_is_recorded_beside_the_figures(copy: Store, monkeypatch):
    run = next(copy.study.runs())
    planes_file(copy, run).unlink()

    def fail(*_args):
        raise ArithmeticError("no surface")

    with monkeypatch.context() as patch:
        patch.setattr(draw.planes, "write_planes_of", fail)
        draw.draw_run(copy, run, [])
    assert list(failures(copy.run_folder(run))) == ["surfaces of the report"]
    draw.draw_run(copy, run, [])
    assert not failures(copy.run_folder(run))


def test_runs_of_the_regularization_study_alone_have_numbers_and_no_surfaces(copy: Store):
    matrix = set(copy.study.runs())
    others = [run for run in copy.study.all_runs() if run not in matrix]
    assert others
    assert all(copy.result_file(run, "spectrum").is_file() for run in others)
    assert not any(planes_file(copy, run).is_file() for run in others)
