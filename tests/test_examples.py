"""Every example script runs as it is, within forty lines, and makes pictures that show something."""

from __future__ import annotations

import ast
import importlib.util
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.image import imread

from lossatlas import cli

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
PROBLEM = "digits_problem.py"  # for the command line

# What a script says about itself on purpose, and what other packages say about their own dependencies.
SAID = {
    "lstm.py": "ignore:Reader cannot be vectorised:UserWarning",
    "own_loss.py": "ignore:Oscillator cannot be vectorised:UserWarning",
    "lightning_callback.py": "ignore::FutureWarning",
}
# And what other programs read.
EXPORTED = {"export.py": ["surface.html", "surface.nc", "surface.npz", "surface.obj", "surface.stl", "surface.vti"]}
RUN = [
    pytest.param(script, id=script.stem, marks=[pytest.mark.filterwarnings(SAID.get(script.name, "error"))])
    for script in SCRIPTS
    if script.name != PROBLEM
]


@pytest.fixture(autouse=True)
def _surroundings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Scripts seed torch and leave figures open; they may write where they are told to and into temporary folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    backend = mpl.get_backend()
    mpl.use("Agg")
    with torch.random.fork_rng():
        yield
    plt.close("all")
    mpl.use(backend)


@pytest.mark.parametrize("script", RUN)
def test_a_script_runs_and_draws(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [str(script), "pictures"])
    runpy.run_path(str(script), run_name="__main__")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    made = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert set(EXPORTED.get(script.name, [])) <= set(made)
    pictures = [name for name in made if name.endswith(".png")]
    assert pictures or script.name in EXPORTED
    for name in pictures:
        image = imread(tmp_path / "pictures" / name)[..., :3]  # (height, width, 3)
        assert min(image.shape[:2]) > 200
        assert 0.01 < (image.min(-1) < 0.9).mean() < 0.95, f"{name} shows nothing"


def test_the_problem_is_measured_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    address = f"{FOLDER / PROBLEM}:problem"
    probes = ["interpolate", "trajectory_plane", "linear_connectivity", "epsilon_sharpness"]
    try:
        status = cli.main(["probe", address, "--out", "landscape", "--steps", "7", "--probes", *probes])
    finally:
        sys.modules.pop(Path(PROBLEM).stem, None)
        sys.path[:] = [place for place in sys.path if Path(place) != FOLDER]
    assert status == 0, capsys.readouterr()
    assert "An MLP on digits" in (tmp_path / "landscape" / "report.md").read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_can_be_read_at_a_glance(script: Path):
    text = script.read_text()
    docstring = ast.parse(text).body[0]
    assert isinstance(docstring, ast.Expr)
    lines = "\n".join(text.splitlines()[docstring.end_lineno :]).strip().splitlines()
    assert 20 <= len(lines) <= 40


def test_the_problem_can_be_imported_without_training():
    """The command line imports the file first; a long training belongs into the function."""
    spec = importlib.util.spec_from_file_location("problem_file", FOLDER / PROBLEM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = torch.random.get_rng_state()
    spec.loader.exec_module(module)
    assert torch.equal(before, torch.random.get_rng_state())
    assert callable(module.problem)
