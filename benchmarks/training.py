"""Table 4: training networks in a group, as the study does, against one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import torch
from rich.console import Console
from torch import nn

from benchmarks import machine
from benchmarks.networks import moons_study
from benchmarks.plain_study import begin
from benchmarks.setting import Setting
from benchmarks.table import Table, Values
from benchmarks.timing import Outcome, Timed, Tool
from lossatlas.execution.jobs import Job, run_jobs
from lossatlas.execution.processes import start_workers
from lossatlas.execution.progress import Progress
from lossatlas.hardware import available_cores
from lossatlas.random_streams import stream
from lossatlas.study.config import Run, Study
from lossatlas.study.datasets import Task, draws
from lossatlas.study.models import parse_architecture
from lossatlas.study.training.ensemble import train_group

GROUP, WORKERS, ONE_BY_ONE = "lossatlas, one group", "lossatlas, groups in workers", "one by one"
MOONS = "all 90 of moons"


def cases(setting: Setting) -> Sequence[str]:
    return ("1x50",) if setting.effort.quick else ("1x50", "2x100", "4x250", MOONS)


def study_of(case: str, setting: Setting) -> Study:
    """A group of one architecture, with losses on all data at the end alone; or the matrix of moons, as it is."""
    study, effort = moons_study(), setting.effort
    if case == MOONS:
        return study
    return study.model_copy(
        update={
            "data": study.data.model_copy(update={"train": effort.examples or study.data.train}),
            "model": study.model.model_copy(update={"architectures": (case,), "activations": ("relu",)}),
            "training": study.training.model_copy(
                update={
                    "seeds": tuple(range(effort.members // 2)),
                    "epochs": effort.epochs,
                    "evaluate_every": effort.epochs,
                }
            ),
        }
    )


def tools(case: str, setting: Setting) -> dict[str, Tool]:
    study = study_of(case, setting)
    runs, tasks = list(study.runs()), draws("moons", study.data)

    def together() -> Outcome:
        train_group(runs, tasks, study.training)
        return Outcome(count=len(runs))

    def in_workers() -> Outcome:
        groups: dict[tuple[str, ...], list[Run]] = {}
        for run in runs:
            groups.setdefault(run.group, []).append(run)
        with start_workers(available_cores()) as pool:
            jobs = [Job(_train, (group, tasks, study), _cost(group[0])) for group in groups.values()]
            run_jobs(pool, jobs, Progress(Console(file=io.StringIO())), "groups")
        return Outcome(count=len(runs))

    def alone() -> Outcome:
        for run in runs:
            train_alone(run, tasks[run.data_seed], study)
        return Outcome(count=len(runs))

    ours = (
        {WORKERS: Tool(in_workers, weigh=together_memory(study, tasks))} if case == MOONS else {GROUP: Tool(together)}
    )
    return {**ours, ONE_BY_ONE: Tool(alone)}


def train_alone(run: Run, task: Task, study: Study) -> nn.Module:
    """An ordinary loop with `torch.optim` as it comes, and losses on all data where the study has them."""
    settings = study.training
    model, optimizer, schedule = begin(run, task, study)
    order = stream(run.data_seed, run.seed, "batches")
    for epoch in range(settings.epochs):
        for batch in torch.randperm(len(task.train[0]), generator=order).split(settings.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(task.train[0][batch]), task.train[1][batch]).backward()
            optimizer.step()
        schedule.step()
        if (epoch + 1) % settings.evaluate_every:
            continue
        with torch.no_grad():
            for inputs, targets in (task.train, task.test):
                logits = model(inputs)
                nn.functional.cross_entropy(logits, targets)
                (logits.argmax(-1) == targets).float().mean()
    return model


def together_memory(study: Study, tasks: Mapping[int, Task]) -> Callable[[], Outcome]:
    """The largest group of the matrix, in this process."""
    runs = list(study.runs())
    largest = max((run.group for run in runs), key=lambda group: _cost(next(r for r in runs if r.group == group)))

    def call() -> Outcome:
        train_group([run for run in runs if run.group == largest], tasks, study.training)
        return Outcome()

    return call


def _train(runs: list[Run], tasks: Mapping[int, Task], study: Study) -> dict[str, float]:
    train_group(runs, tasks, study.training)
    return {}


def _cost(run: Run) -> float:
    _, depth, width = parse_architecture(run.architecture)
    return depth * width**2


def operations(architecture: str, examples: int, inputs: int = 2, outputs: int = 2) -> float:
    """Multiplications and additions of the matrix products of one pass over the examples: forward, and backward by the
    weights and by the inputs of all layers but the first.

    >>> operations("1x50", 1)
    1000.0
    """
    _, depth, width = parse_architecture(architecture)
    first, rest = inputs * width, (depth - 1) * width**2 + width * outputs
    return float(examples * (4 * first + 6 * rest))


def judge(case: str, setting: Setting, timed: Mapping[str, Timed]) -> dict[str, Values]:
    """GFLOP/s of the matrix products, and their share of what one large product reaches with all threads."""
    study = study_of(case, setting)
    runs = list(study.runs())
    total = study.training.epochs * sum(operations(run.architecture, study.data.train) for run in runs) / 1e9
    peak = setting.remembered("machine/gemm", machine.peaks)
    return {
        name: {"rate": total / min(tool.seconds), "share": total / min(tool.seconds) / peak["all"]}
        for name, tool in timed.items()
    }


def label(case: str, setting: Setting) -> str:
    study = study_of(case, setting)
    return f"{case}: {len(list(study.runs()))} networks" if case != MOONS else "1x50 to 4x250: 90 networks, 15 groups"


TABLE = Table(
    name="training",
    title="Training a group of networks",
    text=(
        "{epochs} epochs of 1,024 examples in batches of 64, half of the networks with SGD and half with Adam. One by "
        "one is an ordinary loop over `nn.Module` and `torch.optim`. The training steps alone, with losses on all data "
        "only at the end; in the last row the whole matrix of the study as it is, with losses on all data after every "
        "epoch, and groups in one worker process per core. Recording the gradient is included. GFLOP/s are those "
        "of the matrix products, against one float32 product of 2,048x2,048 matrices."
    ),
    columns={"rate": "GFLOP/s", "share": "of the GEMM peak"},
    cases=cases,
    label=label,
    tools=tools,
    judge=judge,
    warm=False,
)
