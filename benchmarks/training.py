"""Training the networks of the moons study in groups, as the study does, against one by one, in turn.

    python benchmarks/training.py [repeats]

One by one is an ordinary loop: an `nn.Sequential`, `torch.optim` with its default implementation, one network after the
other, torch's default number of threads. In groups: all seeds and optimizers of an architecture and activation at once,
one group per worker process. Both evaluate train and test loss after every epoch.
"""

from __future__ import annotations

import io
import sys
import time

import torch
from rich.console import Console
from torch import nn

from lossatlas.study.config import Run, Study, load_study
from lossatlas.study.datasets import Task, make_task
from lossatlas.study.models import build, initialize
from lossatlas.study.progress import Progress
from lossatlas.study.random_streams import stream
from lossatlas.study.trainer import train_group
from lossatlas.study.workers import Job, available_cores, run_jobs, start_workers


def one_by_one(runs: list[Run], task: Task, study: Study) -> None:
    settings = study.training
    for run in runs:
        model = build(run.architecture, run.activation, task.dimension)
        initialize(model, run.activation, stream(run.seed, "initialization"))
        if run.optimizer == "adam":
            optimizer = torch.optim.Adam(model.parameters(), settings.adam_learning_rate, weight_decay=run.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                model.parameters(), settings.sgd_learning_rate, settings.momentum, weight_decay=run.weight_decay
            )
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.decay_factor)
        order = stream(run.seed, "batches")
        for _ in range(settings.epochs):
            for batch in torch.randperm(len(task.train[0]), generator=order).split(settings.batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(task.train[0][batch]), task.train[1][batch]).backward()
                optimizer.step()
            schedule.step()
            with torch.no_grad():
                for inputs, targets in (task.train, task.test):
                    logits = model(inputs)
                    nn.functional.cross_entropy(logits, targets)
                    (logits.argmax(-1) == targets).float().mean()


def in_groups(runs: list[Run], task: Task, study: Study) -> dict[str, float]:
    train_group(runs, task, study.training)
    return {}


def main(repeats: int) -> None:
    study = load_study("moons")
    task = make_task("moons", study.data)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in study.runs():
        groups.setdefault(run.group, []).append(run)
    cores = available_cores()
    print(f"torch {torch.__version__}; one by one with {torch.get_num_threads()} threads, groups in {cores} workers")
    quiet = Progress(Console(file=io.StringIO()))
    with start_workers(cores) as pool:
        for timed in range(-1, repeats):  # the first time is for warming up
            seconds: dict[str, list[float]] = {}
            for architecture in study.model.grid():
                mine = [runs for (_, name, _), runs in groups.items() if name == architecture]
                start = time.perf_counter()
                run_jobs(pool, [Job(in_groups, (runs, task, study), 1.0) for runs in mine], quiet, architecture)
                middle = time.perf_counter()
                one_by_one([run for runs in mine for run in runs], task, study)
                seconds[architecture] = [time.perf_counter() - middle, middle - start]
            if timed >= 0:
                total = [sum(column) for column in zip(*seconds.values(), strict=True)]
                for name, (alone, together) in {**seconds, "all": total}.items():
                    ratio = f"ratio {alone / together:.2f}"
                    print(f"{name:>6}: one by one {alone:6.2f} s, in groups {together:6.2f} s, {ratio}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
