"""One tiny study, run once to the end for all tests that read its store, in whichever process they run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from lossatlas.execution.progress import Progress
from lossatlas.study.config import Study, load_study
from lossatlas.study.run import run_study
from lossatlas.study.store import Store, open_store

TINY = """
[data]
train = 48
test = 24
[model]
architectures = ["1x5", "2x4"]
activations = ["tanh"]
[training]
optimizers = ["sgd", "adam"]
seeds = [0, 1]
epochs = 4
checkpoints = 2
[probes.interpolate]
steps = 7
[probes.random_line]
steps = 7
[probes.random_plane]
steps = 5
[probes.trajectory_plane]
steps = 5
[probes.spectrum]
k = 3
samples = 4
[probes.epsilon_sharpness]
samples = 6
curve_samples = 2
[probes.linear_connectivity]
steps = 5
[probes.interpolate_by_weight_decay]
steps = 7
[probes.slice_by_weight_decay]
steps = 5
[regularization]
weight_decays = [0.0, 1e-2]
"""


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("study") / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def tiny(tiny_file) -> Study:
    return load_study(str(tiny_file))


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory, worker_id) -> Store:
    """The store of the whole tiny study. Read it, do not write to it."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "finished"  # one for all processes of the tests
    done = root.with_suffix(".done")
    with FileLock(root.with_suffix(".lock")):
        if not done.exists():
            run_study(tiny, root, figures=True, workers=2, progress=quiet())
            done.touch()
    return open_store(root)


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO()))


def contents(root: Path) -> dict[str, bytes]:
    """Every file under a store by its path, but for the lock."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
