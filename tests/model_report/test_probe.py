"""`lossatlas probe` as a user meets it: what it prints, what it leaves, and how it goes on."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

from lossatlas.cli import main
from lossatlas.execution import measuring
from lossatlas.execution.failures import failures
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.plan import Plan
from lossatlas.model_report.problem import load_problem
from lossatlas.model_report.settings import OF_ONE_MODEL, Shared, default_settings, settings_by_probe
from lossatlas.probes.probe import Probe, Subject
from lossatlas.results.storage import read_result

from .conftest import COARSE, PROBLEM


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    """The folder of a whole report, made once."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "digits_problem.py").write_text(PROBLEM)
    assert main(["probe", f"{folder / 'digits_problem.py'}:problem", "--out", str(folder / "out"), *COARSE]) == 0
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_every_probe_leaves_a_result_a_figure_and_a_section(done):
    out = done / "out"
    names = {file.stem for file in (out / "results").iterdir()}
    others = {"linear_connectivity_seed_1", "linear_connectivity_seed_2"}
    assert names == (set(OF_ONE_MODEL) - {"linear_connectivity"}) | others
    text = (out / "report.md").read_text()
    page = (out / "report.html").read_text()
    for name in names:
        figures = list((out / "figures" / name).glob("*.png"))
        assert figures, name
        for figure in figures:
            assert figure.relative_to(out).as_posix() in text
            assert figure.relative_to(out).as_posix() in page
    assert not (out / "failures.json").exists()


def test_the_first_line_says_what_theta_holds(done, tmp_path, capsys):
    whole = "all 610 parameters"
    assert (done / "out" / "report.md").read_text().splitlines()[2] == f"Its loss landscape over {whole}"
    assert f'<p class="subtitle">Its loss landscape over {whole}</p>' in (done / "out" / "report.html").read_text()
    frozen = PROBLEM.replace("    return la.Problem(", "    model[0].requires_grad_(False)\n    return la.Problem(")
    (tmp_path / "frozen.py").write_text(re.sub(r"checkpoints=path, solutions=\{[^}]*\}, ", "", frozen))
    part = "90 of 610 parameters (frozen: 520 in '0')"
    asked = ["--out", str(tmp_path / "out"), "--probes", "interpolate", "random_line", "--steps", "5"]
    assert main(["probe", f"{tmp_path / 'frozen.py'}:problem", *asked]) == 0
    assert f"Digits: {part}, 200 train examples" in " ".join(capsys.readouterr().out.split())
    assert part in (tmp_path / "out" / "report.md").read_text().replace("\\", "").splitlines()[2]
    assert read_result(tmp_path / "out" / "results" / "random_line.nc").attrs["parameters"] == "90 of 610"


def test_the_report_says_what_the_results_say(done):
    text = (done / "out" / "report.md").read_text()
    spectrum = read_result(done / "out" / "results" / "spectrum.json").sel(split="train")
    assert f"largest eigenvalue {float(spectrum.eigenvalues[0]):.4g}"[:26] in text
    barrier = float(read_result(done / "out" / "results" / "linear_connectivity_seed_1.nc").barrier.sel(split="train"))
    assert f"The straight path to seed_1 has a barrier of {barrier:#.3g}".rstrip(".") in text.replace("\\", "")


def test_the_numbers_are_those_of_the_library(done):
    """The plane of the report against the probe called by hand."""
    problem = load_problem(f"{done / 'digits_problem.py'}:problem")
    losses = problem.losses()
    theta = losses["train"].theta
    plane = read_result(done / "out" / "results" / "random_plane.nc")
    assert np.isclose(float(plane.loss.sel(split="test", alpha=0, beta=0)), float(losses["test"](theta)))
    line = read_result(done / "out" / "results" / "linear_connectivity_seed_2.nc")
    other = problem.others(losses["train"])["seed 2"]
    assert np.isclose(float(line.loss.sel(split="train").isel(alpha=-1)), float(losses["train"](other)))


def test_what_is_there_is_not_measured_again(done, capsys):
    before = files(done / "out")
    assert main(["probe", f"{done / 'digits_problem.py'}:problem", "--out", str(done / "out"), *COARSE]) == 0
    assert "nothing is left to measure" in capsys.readouterr().out
    assert files(done / "out") == before


def test_a_lost_result_is_made_again_byte_for_byte(done, tmp_path):
    shutil.copytree(done / "out", tmp_path / "out")
    before = files(tmp_path / "out")
    for name in ("results/spectrum.json", "figures/epsilon_sharpness/epsilon_sharpness_hist.png"):
        (tmp_path / "out" / name).unlink()
    assert main(["probe", f"{done / 'digits_problem.py'}:problem", "--out", str(tmp_path / "out"), *COARSE]) == 0
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed", "0.02", "0.03"), "holds a report with weights"),
        (("data", "[:200], labels[:200]", "[:150], labels[:150]"), "holds a report with"),
        (("settings", "", ""), "holds a report with settings"),
    ],
)
def test_results_of_two_problems_are_never_mixed(done, tmp_path, change, message, capsys):
    what, old, new = change
    (tmp_path / "other.py").write_text(PROBLEM.replace(old, new) if old else PROBLEM)
    more = ["--seed", "1"] if what == "settings" else []
    before = files(done / "out")
    assert main(["probe", f"{tmp_path / 'other.py'}:problem", "--out", str(done / "out"), *COARSE, *more]) == 2
    assert message in capsys.readouterr().err
    assert files(done / "out") == before


def test_a_folder_of_something_else_is_left_alone(problem_file, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    assert main(["probe", f"{problem_file}:problem", "--out", str(tmp_path / "full")]) == 2
    assert "is not empty and holds no report" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_probe_that_fails_is_recorded_and_the_others_go_on(problem_file, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no room")

    arguments = [
        "probe", f"{problem_file}:problem", "--out", str(tmp_path / "out"), *COARSE,
        "--probes", "epsilon_sharpness", "random_line",
    ]  # fmt: skip
    own = Probe.measure
    with monkeypatch.context() as patch:
        patch.setattr(
            Probe, "measure", lambda self, *given: (fail if self.name == "epsilon_sharpness" else own)(self, *given)
        )
        assert main(arguments) == 1
    assert "failed: epsilon_sharpness: RuntimeError: no room" in capsys.readouterr().out
    (failed,) = failures(tmp_path / "out").items()
    assert failed[0] == "epsilon_sharpness"
    assert failed[1].startswith("RuntimeError: no room (test_probe.py, line ")
    assert (tmp_path / "out" / "results" / "random_line.nc").is_file()
    assert "no room" in (tmp_path / "out" / "report.md").read_text()
    assert main(arguments) == 0
    assert not (tmp_path / "out" / "failures.json").exists()
    assert (tmp_path / "out" / "results" / "epsilon_sharpness.json").is_file()


def test_without_checkpoints_and_solutions_the_rest_is_measured(tmp_path, capsys):
    text = PROBLEM.split("checkpoints=path")[0].rstrip() + "\n    )\n"
    (tmp_path / "bare.py").write_text(text)
    out = tmp_path / "out"
    arguments = ["probe", f"{tmp_path / 'bare.py'}:problem", "--out", str(out), *COARSE]
    assert main([*arguments, "--probes", "interpolate", "trajectory_plane", "model_plane", "random_line"]) == 0
    printed = capsys.readouterr().out
    for probe in ("interpolate", "trajectory_plane", "model_plane"):
        assert f"left out: {probe} wants" in printed
    assert [file.stem for file in (out / "results").glob("*.nc")] == ["random_line"]
    assert "trajectory_plane" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "6", "steps is 6: wanted an odd number"),
        ("--random-line.draws", "0", "draws is 0: wanted at least 1"),
        ("--spectrum.k", "0", "k is 0: wanted at least 1"),
        ("--block-spectrum.samples", "1", "samples is 1: wanted at least 2"),
        ("--random-plane.radius", "0", "radius is 0.0: wanted a number above 0"),
        ("--spectrum.tol", "-1", "tol is -1.0: wanted a number above 0"),
    ],
)
def test_a_setting_that_no_probe_can_use_is_refused_before_any_work(
    option, value, message, problem_file, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main(["probe", f"{problem_file}:problem", "--out", str(out), option, value]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_file_is_no_folder(problem_file, capsys):
    assert main(["probe", f"{problem_file}:problem", "--out", str(problem_file)]) == 2
    assert "is a file: --out wants a folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("default:the module.s weights")
def test_a_model_that_diverged_is_reported_and_gone_on_with(tmp_path, capsys):
    text = PROBLEM.replace(
        "    return la.Problem(", "    model[0].weight.data[0, 0] = float('nan')\n    return la.Problem("
    )
    (tmp_path / "diverged.py").write_text(text)
    out = tmp_path / "out"
    arguments = [
        "probe", f"{tmp_path / 'diverged.py'}:problem", "--out", str(out), *COARSE,
        "--probes", "random_line", "epsilon_sharpness",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "The train loss is not finite at the final weights" in (out / "report.md").read_text()
    before = files(out)
    assert main(arguments) == 0
    assert "nothing is left to measure" in capsys.readouterr().out
    assert files(out) == before


def test_solutions_whose_names_differ_in_signs_alone_have_a_file_each(tmp_path):
    (tmp_path / "alike.py").write_text(PROBLEM.replace('"seed 2"', '"seed/1"'))
    out = tmp_path / "out"
    assert main(
        ["probe", f"{tmp_path / 'alike.py'}:problem", "--out", str(out), *COARSE, "--probes", "linear_connectivity"]
    ) == 0  # fmt: skip
    found = {file.stem for file in (out / "results").glob("*.nc")}
    assert found == {"linear_connectivity_seed_1", "linear_connectivity_seed_1_2"}


def test_the_report_says_how_far_a_filled_surface_may_be_off(done, tmp_path):
    """In the folder of coarse planes every node is measured; with more steps few are."""
    text = (done / "out" / "report.md").read_text()
    assert "Loss on the grid, every node measured." in text
    arguments = [
        "probe", f"{done / 'digits_problem.py'}:problem", "--out", str(tmp_path / "out"), "--steps", "31",
        "--probes", "random_plane",
    ]  # fmt: skip
    assert main(arguments) == 0
    plane = read_result(tmp_path / "out" / "results" / "random_plane.nc")
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"splines through {int(plane.measured.sum())} of 961 nodes" in text
    for error in plane.loss_error.max(("alpha", "beta")).values:
        assert f"{float(error):#.3g}".rstrip(".") in text
    train = plane.sel(split="train")
    lowest = np.argsort(train.loss.values, axis=None)[:97]  # a tenth
    basin = (train.loss_error.values.flat[lowest] / train.loss.values.flat[lowest]).max()
    assert f"in the basin by {100 * basin:.1f} % of itself" in text
    assert text.index("random_plane_contour.png") < text.index("random_plane_accuracy.png")


def test_the_estimate_counts_what_is_evaluated(problem_file):
    """The number of evaluations in the table is what the probes ask for, but for what they refine; none where none."""
    problem = load_problem(f"{problem_file}:problem")
    counted: Counter[str] = Counter()

    def count_for(split: str) -> Callable[[int], None]:
        return lambda points: counted.update({split: points})

    losses = {split: loss.watched(count_for(split)) for split, loss in problem.losses().items()}
    first = losses["train"]
    settings = settings_by_probe(Shared(steps=5), default_settings())
    subject = Subject(losses, first.theta, problem.trajectory(first), problem.others(first))
    plan = Plan.of(subject, Folder(problem_file.parent), probes=list(OF_ONE_MODEL), settings=settings, seed=0)
    assert not plan.lacking
    for measurement in plan.measurements:
        cost = plan.cost(measurement)
        counted.clear()
        measurement.ask(plan.subjects[measurement.name])
        each = max(counted.values(), default=0)  # some ask the first loss alone
        assert cost.evaluations / 2 <= each <= 2 * cost.evaluations, measurement.name
        assert torch.equal(first.theta, losses["train"].theta)


def test_a_failing_disk_ends_the_work_with_one_line(problem_file, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measuring, "write_result", full)
    arguments = ["probe", f"{problem_file}:problem", "--out", str(tmp_path / "out"), *COARSE, "--probes", "random_line"]
    assert main(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(Folder(tmp_path / "out").root.rglob("*.nc"))


def test_the_report_says_whose_batch_statistics_a_path_has(tmp_path):
    text = PROBLEM.replace("nn.Linear(64, 8), ", "nn.Linear(64, 8), nn.BatchNorm1d(8), ")
    for name, body in (
        ("stored", text),
        ("anew", text.replace('name="Digits"', 'options={"buffers": "re-estimated"}')),
    ):
        (tmp_path / f"{name}.py").write_text(body)
        out = tmp_path / name
        wanted = ["--probes", "interpolate", "epsilon_sharpness"]
        assert main(["probe", f"{tmp_path / name}.py:problem", "--out", str(out), *COARSE, *wanted]) == 0
        report = (out / "report.md").read_text()
        assert ("every model has its own, and between models they are linear" in report) == (name == "stored")
        assert ("buffers stored" if name == "stored" else "buffers re-estimated") in report


@pytest.mark.filterwarnings("default:the first checkpoint is measured")
def test_the_report_says_that_a_plane_has_the_statistics_of_the_last_model(tmp_path, capsys):
    text = PROBLEM.replace("nn.Linear(64, 8), ", "nn.Linear(64, 8), nn.BatchNorm1d(8), ")
    (tmp_path / "own.py").write_text(text)
    out = tmp_path / "out"
    arguments = ["--out", str(out), *COARSE, "--probes", "trajectory_plane"]
    assert main(["probe", f"{tmp_path / 'own.py'}:problem", *arguments]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "note: the first checkpoint is measured with buffers that training wrote for other weights" in said
    assert "losses of checkpoints are not those that they had with their own" in (out / "report.md").read_text()


def test_without_the_packages_of_a_pdf_the_other_pages_are_written(problem_file, tmp_path, monkeypatch, capsys):
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "typst" else find(name, *more))
    out = tmp_path / "out"
    arguments = ["probe", f"{problem_file}:problem", "--out", str(out), *COARSE, "--probes", "random_line"]
    assert main(arguments) == 0
    assert "no report.pdf: it needs typst, pip install 'lossatlas[study]'" in capsys.readouterr().out
    assert (out / "report.html").is_file()
    assert not (out / "report.pdf").exists()


def test_a_spectrum_says_of_which_matrix_it_is(problem_file, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "probe", f"{problem_file}:problem", "--out", str(out), *COARSE, "--probes", "spectrum",
        "--spectrum.matrix", "fisher",
    ]  # fmt: skip
    assert main(arguments) == 0
    text = (out / "report.md").read_text()
    assert "Empirical Fisher matrix. train: largest eigenvalue" in text
    assert "‖Fv − λv‖" in text
    assert "Hessian. train" not in text
