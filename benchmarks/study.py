"""Table 5: the whole moons matrix, without figures, against a plain loop that does the same work."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import plain_study
from benchmarks.networks import moons_study
from benchmarks.setting import Setting
from benchmarks.table import Table, Values
from benchmarks.timing import Outcome, Timed, Tool
from lossatlas.execution.progress import Progress
from lossatlas.hardware import available_cores
from lossatlas.study.config import Study, load_study
from lossatlas.study.datasets import make_task
from lossatlas.study.models import build
from lossatlas.study.run import run_study

OURS, EXACT, PLAIN = "lossatlas run moons", "lossatlas run moons, exact surfaces", "plain loop"


def cases(setting: Setting) -> Sequence[str]:
    return ("moons",)


def study_of(setting: Setting) -> Study:
    study = moons_study()
    if not setting.effort.quick:
        return study
    quick = load_study("smoke")
    return quick.model_copy(
        update={
            "training": study.training.model_copy(update={"epochs": setting.effort.epochs, "seeds": (0, 1, 2)}),
            "model": quick.model.model_copy(update={"architectures": ("1x50",), "activations": ("relu",)}),
            "regularization": study.regularization,
        }
    )


def exactly(study: Study) -> Study:
    """The same study with every node of its surfaces measured."""
    probes = study.probes
    surfaces = ("random_plane", "trajectory_plane", "slice_by_weight_decay")
    exact = {name: replace(getattr(probes, name), exact=True) for name in surfaces}
    return study.model_copy(update={"probes": probes.model_copy(update=exact)})


def of_largest(study: Study) -> Study:
    """The same study of its largest architecture, which stands last, with one activation."""
    one = {"architectures": study.model.architectures[-1:], "activations": study.model.activations[:1]}
    return study.model_copy(update={"model": study.model.model_copy(update=one)})


def tools(case: str, setting: Setting) -> dict[str, Tool]:
    study = study_of(setting)
    part = "once" if setting.effort.whole else "seed 0 of each configuration, scaled up to all, once"
    dense = exactly(study)
    exact = Tool(lambda: ours(dense), "once", rival=False, once=True, weigh=lambda: ours(of_largest(dense)))
    return {
        OURS: Tool(lambda: ours(study), weigh=lambda: ours(of_largest(study))),
        **({} if setting.effort.quick else {EXACT: exact}),
        PLAIN: Tool(lambda: plain(study, setting.effort.whole), part, once=True, weigh=lambda: plain_of_one(study)),
    }


def ours(study: Study) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        account = run_study(
            study,
            Path(folder),
            figures=False,
            workers=available_cores(),
            progress=Progress(Console(file=io.StringIO())),
        )
        return Outcome(account.failures, len(study.all_runs()), memory=account.peak_memory)


def plain(study: Study, whole: bool) -> Outcome:
    """All networks and paths, or those of seed 0: their seconds are then multiplied by how many more there are."""
    task = make_task("moons", study.data, study.data.seeds[0])
    runs = list(study.runs())
    some = runs if whole else [run for run in runs if run.seed == 0]
    start = time.perf_counter()
    found = {run: plain_study.network(run, task, study)["theta"] for run in some}
    middle = time.perf_counter()
    for a, b in plain_study.pairs(some):
        model = build(a.architecture, a.activation, task.dimension)
        plain_study.barrier(model, found[a], found[b], task, study)
    end = time.perf_counter()
    networks, paths = len(runs) / len(some), len(plain_study.pairs(runs)) / len(plain_study.pairs(some))
    return Outcome(None, len(runs), networks * (middle - start) + paths * (end - middle))


def plain_of_one(study: Study) -> Outcome:
    run = list(study.runs())[-1]
    plain_study.network(run, make_task("moons", study.data, run.data_seed), study)
    return Outcome()


def judge(case: str, setting: Setting, timed: Mapping[str, Timed]) -> dict[str, Values]:
    return {name: {} for name in timed}


TABLE = Table(
    name="study",
    title="The whole moons matrix, all probes, without figures",
    text=(
        "`lossatlas run moons --no-figures`, from the command to the tables on the disk, in one worker process per "
        "core, against `benchmarks/plain_study.py`: the same trainings, lines, planes, spectra, perturbations and "
        "paths of both splits with the same sizes, one network after the other with torch's default threads, every "
        "point of a plane measured, the spectra by ARPACK in float64 on a kept graph, nothing written. Memory "
        "of lossatlas is that of the largest process in a study of the largest networks alone, with one activation."
    ),
    columns={},
    cases=cases,
    label=lambda case, setting: f"{len(study_of(setting).all_runs())} networks",
    tools=tools,
    judge=judge,
    warm=False,
)
