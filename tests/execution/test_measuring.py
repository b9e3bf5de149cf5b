"""What is missing, what is stale, what fails: decided in one place, for one model as for a study."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from lossatlas.errors import InputError
from lossatlas.execution import drawing as drawing_module
from lossatlas.execution.drawing import Drawing, draw, stale
from lossatlas.execution.estimate import Times, measure_times
from lossatlas.execution.failures import all_failures, failures, recording
from lossatlas.execution.jobs import EvaluatedPoints, Job, ThisProcess, run_jobs
from lossatlas.execution.measuring import Measurement, measure, missing
from lossatlas.loss import toys
from lossatlas.probes import BY_NAME
from lossatlas.probes.probe import Cost, Subject
from tests.study.tiny import quiet


@pytest.fixture
def subject() -> Subject:
    loss = toys.bowl(3)
    return Subject({"train": loss}, torch.ones(3), trajectory=torch.tensor([[2.0] * 3, [1.0] * 3]))


def asked(folder: Path, probe: str, **settings) -> Measurement:
    declared = BY_NAME[probe]
    return Measurement(
        probe=declared, settings=declared.settings(**settings), file=folder / declared.file, key=(0, probe),
        folder=folder,
    )  # fmt: skip


def test_what_has_its_file_is_not_measured_again(subject, tmp_path):
    one = asked(tmp_path, "interpolate", steps=5)
    asks = []

    def answer(measurement):
        asks.append(measurement.name)
        return measurement.ask(subject)

    assert missing([one]) == [one]
    assert set(measure([one], answer)) == {"interpolate"}
    assert missing([one]) == []
    assert measure([one], answer) == {}
    assert asks == ["interpolate"]
    assert one.read().loss.values.tolist() == [[6.0, 4.59375, 3.375, 2.34375, 1.5]]


def test_what_fails_is_recorded_beside_it_and_forgotten_when_it_works(subject, tmp_path):
    one, other = asked(tmp_path, "interpolate", steps=5), asked(tmp_path, "epsilon_sharpness", samples=3)

    def answer(measurement):
        if measurement is one:
            raise RuntimeError("no room")
        return measurement.ask(subject)

    measure([one, other], answer)
    assert list(failures(tmp_path)) == ["interpolate"]
    assert failures(tmp_path)["interpolate"].startswith("RuntimeError: no room (test_measuring.py, line ")
    assert other.done
    assert not one.done
    measure([one, other], lambda measurement: measurement.ask(subject))
    assert failures(tmp_path) == {}
    assert not (tmp_path / "failures.json").exists()


@pytest.mark.parametrize("error", [InputError("damaged"), OSError(28, "No space left on device")])
def test_what_stops_all_work_passes_through(error, tmp_path):
    with pytest.raises(type(error)), recording("work", tmp_path):
        raise error
    assert all_failures(tmp_path) == {}


def drawn(measurement: Measurement) -> Drawing:
    folder = measurement.file.parent / "figures"
    return Drawing(
        probe=measurement.probe, sources={"": measurement.file}, folder=folder, title="A bowl", failures=folder, dpi=50
    )


def test_figures_are_drawn_when_they_are_missing_incomplete_or_older_than_what_they_show(subject, tmp_path):
    one = asked(tmp_path, "random_plane", steps=5, normalize="none")
    drawing = drawn(one)
    assert stale([drawing]) == []  # there is nothing to draw from
    measure([one], lambda measurement: measurement.ask(subject))
    assert stale([drawing]) == [drawing]
    draw([drawing])
    names = {"random_plane_contour.png", "random_plane_surface.png"}
    assert {file.name for file in drawing.folder.iterdir()} == names
    assert stale([drawing]) == []
    assert stale([drawing], ["svg"]) == [drawing]
    (drawing.folder / "random_plane_surface.png").unlink()
    assert stale([drawing]) == [drawing]
    draw([drawing])
    later = one.file.stat().st_mtime_ns + 10**12
    os.utime(one.file, ns=(later, later))
    assert stale([drawing]) == [drawing]


def test_a_figure_that_fails_is_recorded_and_the_next_one_drawn(subject, tmp_path, monkeypatch):
    one, other = asked(tmp_path, "interpolate", steps=5), asked(tmp_path, "epsilon_sharpness", samples=3)
    measure([one, other], lambda measurement: measurement.ask(subject))
    pages = drawing_module.plot.pages

    def failing(result, title):
        if "alpha" in result.dims:
            raise RuntimeError("no ink")
        return pages(result, title)

    monkeypatch.setattr(drawing_module.plot, "pages", failing)
    draw([drawn(one), drawn(other)])
    assert list(failures(tmp_path / "figures")) == ["figures of interpolate"]
    assert (tmp_path / "figures" / "epsilon_sharpness_hist.png").is_file()


def test_only_what_is_wanted_is_timed(subject):
    times = measure_times(subject, [Cost(evaluations=10)])
    assert times.evaluation > 0
    assert times.product == 0
    assert Times(2.0, 3.0).seconds(Cost(evaluations=5, products=7)) == 31.0


def test_points_that_are_evaluated_are_progress_within_a_job():
    points, ticks = EvaluatedPoints(), []
    loss = toys.bowl(2).watched(points)

    def work():
        loss.evaluate(torch.zeros(4, 2))
        return {"work": 1.0}

    backend = ThisProcess(points, 0.5)
    done = list(backend.run([Job(work, (), 3.0)], ticks.append))
    assert sum(ticks) == 2.0  # 4 points of half a second
    assert [took for _, took in done] == [{"work": 1.0}]
    assert run_jobs(backend, [Job(work, (), 1.0)], quiet(), "work") == {"work": 1.0}


def test_no_more_progress_than_the_job_was_thought_to_cost():
    points, ticks = EvaluatedPoints(), []
    loss = toys.bowl(2).watched(points)
    jobs = [Job(lambda: dict.fromkeys(loss.evaluate(torch.zeros(40, 2)), 1.0), (), 3.0)]
    list(ThisProcess(points, 1.0).run(jobs, ticks.append))
    assert sum(ticks) == 3.0


def test_a_result_with_a_name_is_drawn_with_it(subject, tmp_path):
    """A path as trained says so in the legend, also where there is no other beside it."""
    one = asked(tmp_path, "interpolate", steps=5)
    measure([one], lambda measurement: measurement.ask(subject))
    named = dataclasses.replace(drawn(one), sources={"as trained": one.file})
    assert list(named.read()) == ["as trained"]
    assert drawn(one).read().identical(one.read())
    draw([drawn(one)])
    plain = (tmp_path / "figures" / "interpolate_loss.png").read_bytes()
    draw([named])
    assert (tmp_path / "figures" / "interpolate_loss.png").read_bytes() != plain
