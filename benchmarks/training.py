"""Training the networks of the moons study in groups, as the study does, against one by one, in turn.

    python benchmarks/training.py [repeats]

One by one is an ordinary loop: an `nn.Sequential`, `torch.optim` with its default implementation, one network after the
other, torch's default number of threads. In groups: all seeds and optimizers of an architecture and activation at once,
one group per worker process. Measured twice: with losses on all data after every epoch, which no grouping makes
cheaper, and the training steps alone.
"""

from __future__ import annotations

import io
import sys
import time

import torch
from rich.console import Console
from torch import nn

from lossatlas.progress import Progress
from lossatlas.random_streams import stream
from lossatlas.study.config import Run, Study, load_study, parse_architecture
from lossatlas.study.datasets import Task, make_task
from lossatlas.study.models import build, initialize
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


def _cost(run: Run) -> float:
    _, depth, width = parse_architecture(run.architecture)
    return depth * width**2


def in_groups(runs: list[Run], task: Task, study: Study) -> dict[str, float]:
    train_group(runs, task, study.training)
    return {}


def main(repeats: int) -> None:
    every_epoch = load_study("moons")
    at_the_end = every_epoch.training.model_copy(update={"evaluate_every": every_epoch.training.epochs})
    studies = {
        "with losses on all data after every epoch": every_epoch,
        "training steps alone": every_epoch.model_copy(update={"training": at_the_end}),
    }
    task = make_task("moons", every_epoch.data)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in every_epoch.runs():
        groups.setdefault(run.group, []).append(run)
    cores = available_cores()
    print(f"torch {torch.__version__}; one by one with {torch.get_num_threads()} threads, groups in {cores} workers")
    quiet = Progress(Console(file=io.StringIO()))
    with start_workers(cores) as pool:
        for timed in range(-1, repeats):  # the first time is for warming up
            for name, study in studies.items():
                start = time.perf_counter()
                jobs = [Job(in_groups, (runs, task, study), _cost(runs[0])) for runs in groups.values()]
                run_jobs(pool, jobs, quiet, "groups")
                middle = time.perf_counter()
                one_by_one([run for runs in groups.values() for run in runs], task, study)
                together, alone = middle - start, time.perf_counter() - middle
                if timed >= 0:
                    ratio = f"ratio {alone / together:.2f}"
                    print(
                        f"{name}: 90 networks one by one {alone:.2f} s, in groups {together:.2f} s, {ratio}", flush=True
                    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
