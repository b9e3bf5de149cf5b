"""The measure of the house: a new probe is one file and its lines in PROBES, and everything else follows.

A probe is added to a copy of the package, which is then used as anybody would. Nothing else of the copy is touched.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_report.conftest import PROBLEM

ROOT = Path(__file__).parent.parent

PROBE = '''"""What does the loss do when all weights are scaled?"""

from dataclasses import dataclass

import torch

from lossatlas.parameters.curves import Segment
from lossatlas.probes.probe import Column, Cost, Probe, Settings, Told
from lossatlas.probes.sampling import sample


@dataclass(frozen=True)
class ScaledWeightsSettings(Settings):
    steps: int = 7
    """Points."""


def scaled_weights(losses, theta, *, steps=7):
    """Loss at scales of all weights from 0 to 2."""
    alpha = torch.linspace(0, 2, steps, dtype=torch.float64)
    result = sample(losses, Segment(0 * theta, theta, alpha), {"alpha": alpha.numpy()})
    return result.assign_attrs(probe="scaled_weights")


PROBE = Probe(
    scaled_weights, ScaledWeightsSettings, of="model", title="all weights scaled",
    meaning="Loss when all weights are scaled at once.", misleads="Scales say nothing of directions.",
    cost=lambda subject, settings: Cost(evaluations=settings.steps),
    tell=lambda result, _: Told(f"Scaled, the loss falls to {float(result.loss.min()):.3g}."),
    columns={"lowest": Column("Lowest loss when scaled", lambda part: float(part.loss.min()))},
)
'''

STUDY = """
[data]
train = 64
test = 32
[model]
architectures = ["1x4"]
activations = ["relu"]
[training]
optimizers = ["sgd"]
seeds = [0]
epochs = 2
checkpoints = 1
[probes]
run = ["scaled_weights"]
[probes.scaled_weights]
steps = 5
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The repository's sources, tests and pages with a probe more."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("src", "tests", "docs", "examples"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / file, folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    probes = folder / "src" / "lossatlas" / "probes"
    (probes / "slices" / "scaled_weights.py").write_text(PROBE)
    listed = (probes / "__init__.py").read_text()
    line = "from lossatlas.probes.slices.scaled_weights import scaled_weights as scaled_weights\n"
    listed = listed.replace("\nPROBES", f"{line}\nPROBES", 1).replace(
        "    epsilon_sharpness,\n", "    epsilon_sharpness,\n    scaled_weights,\n", 1
    )
    (probes / "__init__.py").write_text(listed)
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    touched = sorted(file.name for file in after if after[file] != before.get(file))
    assert touched == ["__init__.py", "scaled_weights.py"]
    return folder


def run(copy: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pdf_text(file: Path) -> bytes:
    return file.read_bytes()


def test_it_is_a_function_of_the_package(copy):
    words = "import lossatlas as la; print('scaled_weights' in la.__all__, la.scaled_weights.__doc__)"
    assert run(copy, "-c", words).strip() == "True Loss at scales of all weights from 0 to 2."


def test_it_is_on_the_command_line_in_the_estimate_and_in_both_reports_of_a_model(copy):
    assert "--scaled-weights.steps" in run(copy, "-m", "lossatlas", "probe", "--help")
    (copy / "digits.py").write_text(PROBLEM)
    printed = run(
        copy, "-m", "lossatlas", "probe", "digits.py:problem", "--probes", "scaled_weights", "--out", "landscape",
        "--scaled-weights.steps", "9",
    )  # fmt: skip
    (row,) = [line.split() for line in printed.splitlines() if line.split()[:1] == ["scaled_weights"]]
    assert row[1] == "9"
    out = copy / "landscape"
    assert (out / "results" / "scaled_weights.nc").is_file()
    assert (out / "figures" / "scaled_weights" / "scaled_weights_loss.png").is_file()
    for page in ("report.html", "report.md"):
        text = (out / page).read_text()
        assert "Scaled weights: all weights scaled" in text
        assert "Scaled, the loss falls to" in text
        assert "scaled_weights_loss.png" in text
    assert (out / "report.pdf").stat().st_size > 10_000


def test_it_is_in_a_study_its_tables_and_its_report(copy):
    (copy / "scaled.toml").write_text(STUDY)
    printed = run(copy, "-m", "lossatlas", "run", "scaled.toml", "--out", "study")
    assert "about" in printed
    assert "probes" in printed
    out = copy / "study"
    with (out / "tables" / "runs.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["scaled_weights_lowest"]) > 0
    for page in ("report.html", "report.md"):
        text = (out / page).read_text()
        assert "Scaled weights: all weights scaled" in text
        assert "Lowest loss when scaled" in text
        assert "scaled_weights_loss.png" in text
    (page,) = (out / "assets" / "runs").glob("*.html")
    assert "Lowest loss when scaled" in page.read_text()
    assert "scaled_weights_loss.png" in page.read_text()
    assert (out / "report.pdf").stat().st_size > 10_000


def test_it_is_under_contract(copy):
    collected = run(copy, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "tests/probes/test_contract.py")
    tests = [line for line in collected.splitlines() if "[scaled_weights]" in line]
    assert len(tests) > 15
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/probes/test_contract.py", "-k", "scaled_weights")


def test_it_is_in_the_navigation_and_the_reference_of_the_site(copy):
    run(copy, "docs/build.py")
    assert "probes/scaled_weights.md" in (copy / "dist" / "zensical.toml").read_text()
    assert "scaled_weights" in (copy / "dist" / "docs" / "reference" / "probes.md").read_text()
    page = (copy / "dist" / "docs" / "probes" / "scaled_weights.md").read_text()
    assert "Scales say nothing of directions." in page
    assert "::: lossatlas.scaled_weights" in page
