"""The commands of a study, each a type: run, report, list, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import ValidationError
from rich.console import Console

from lossatlas.errors import FAILED, FINISHED, InputError
from lossatlas.execution.drawing import PNG, Format
from lossatlas.execution.progress import Progress, duration
from lossatlas.hardware import available_cores
from lossatlas.numbers import counted
from lossatlas.study import browse
from lossatlas.study.config import Study, explain, load_study
from lossatlas.study.run import Account, report_study, run_study

MOONS = Study()
Workers = Annotated[int, tyro.conf.arg(help_behavior_hint="(default: one per core)")]


@dataclass(frozen=True)
class Run:
    """Train the networks of a study, probe the landscape around each, draw and tabulate it.

    A run that was interrupted goes on where it stopped. Any field of the study can be given below.
    """

    study: tyro.conf.Positional[str] = "moons"
    """A shipped study or the path of a TOML file."""
    out: Path = Path("reports")
    """Folder of the results."""
    figures: bool = True
    """Draw figures and write the report; without, only measurements and tables."""
    formats: tuple[Format, ...] = PNG
    """Files of each figure; png is among them always, since the report shows it."""
    workers: Workers = 0
    """Processes that work at once, one thread each."""
    repair: bool = False
    """Delete files that are damaged (their checksums tell), and make them anew."""
    fields: Annotated[Study, tyro.conf.arg(name="")] = MOONS

    def __call__(self, console: Console) -> int:
        try:  # once more, since a field given on the command line may not fit the others
            study = Study.model_validate(self.fields.model_dump())
        except ValidationError as error:
            raise InputError(explain(error)) from error
        workers = _processes(self.workers)
        console.print(
            f"{study.name}: {counted(len(study.all_runs()), 'network')}, results in {self.out}", highlight=False
        )
        account = run_study(
            study,
            self.out,
            figures=self.figures,
            formats=self.formats,
            workers=workers,
            progress=Progress(console),
            announce=lambda seconds: _announce(seconds, console),
            repaired=(lambda files: _repaired(files, console)) if self.repair else None,
        )
        return _close(account, console)


@dataclass(frozen=True)
class Report:
    """Write the tables, figures and report of a study again, from its folder alone."""

    folder: tyro.conf.Positional[Path] = Path("reports")
    """The folder that `lossatlas run` wrote."""
    formats: tuple[Format, ...] = PNG
    """Files of each figure; png is among them always, since the report shows it."""
    workers: Workers = 0
    """Processes that work at once, one thread each."""

    def __call__(self, console: Console) -> int:
        account = report_study(
            self.folder,
            formats=self.formats,
            workers=_processes(self.workers),
            progress=Progress(console),
        )
        return _close(account, console)


@dataclass(frozen=True)
class List:
    """List the networks of a study, and how far each is."""

    folder: tyro.conf.Positional[Path] = Path("reports")
    """The folder that `lossatlas run` wrote."""

    def __call__(self, console: Console) -> int:
        browse.list_runs(self.folder, console)
        return FINISHED


@dataclass(frozen=True)
class Show:
    """Show one network: its settings, its numbers, and where its figures are."""

    run: tyro.conf.Positional[str]
    """Its folder, or levels of it that no other run has: arch=4x250/activation=tanh/optimizer=sgd/seed=0."""
    folder: Path = Path("reports")
    """The folder that `lossatlas run` wrote."""

    def __call__(self, console: Console) -> int:
        browse.show_run(self.run, self.folder, console)
        return FINISHED


def commands(args: Sequence[str]) -> tuple[Any, ...]:
    """The types of all four, with the defaults of the study that the arguments name."""
    named = named_study(args)
    return (
        Annotated[Run, tyro.conf.subcommand("run", default=Run(named, fields=load_study(named)))],
        Annotated[Report, tyro.conf.subcommand("report")],
        Annotated[List, tyro.conf.subcommand("list")],
        Annotated[Show, tyro.conf.subcommand("show")],
    )


def named_study(args: Sequence[str]) -> str:
    """The study that decides the defaults of every field after it: it is read before the rest is parsed."""
    return args[1] if args[0] == "run" and len(args) > 1 and not args[1].startswith("-") else Run.study


def _processes(workers: int) -> int:
    """How many work at once; 0 is one per core."""
    if workers < 0:
        raise InputError(f"--workers is {workers}: wanted a number from 1 up, or 0 for one per core")
    return workers or available_cores()


def _repaired(files: Sequence[Path], console: Console) -> None:
    for file in files:
        console.print(f"damaged, and made anew: {file}", highlight=False, markup=False)
    console.print(f"{counted(len(files), 'damaged file')}", highlight=False)


def _announce(stages: Mapping[str, float], console: Console) -> None:
    """About how long the work will take, before it starts."""
    parts = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in stages.items())
    console.print(f"about {duration(sum(stages.values()))} in all: {parts}", highlight=False)


def _close(account: Account, console: Console) -> int:
    """Say what came of the work and what it took; the exit status tells whether something failed."""
    store = account.store
    runs = store.study.all_runs()
    trained = sum(map(store.trained, runs))
    console.print(
        f"{trained} of {len(runs)} networks trained, {len(account.diverged)} of them diverged", highlight=False
    )
    for run in account.diverged:
        console.print(f"  diverged: {run}", highlight=False)
    for folder, failed in account.failures.items():
        for what, why in failed.items():
            console.print(f"  failed: {what} in {folder}: {why}", highlight=False, markup=False)
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in account.wall.items())
    console.print(f"time: {stages}", highlight=False)
    if account.worked:
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in account.worked.most_common())
        console.print(f"workers' time: {parts}", highlight=False)
    console.print(f"peak memory of one process: {account.peak_memory / 2**20:.0f} MiB", highlight=False)
    for page in ("report.html", "report.pdf", "summary.md"):
        if (store.root / page).is_file():
            console.print(f"read {store.root / page}", highlight=False)
    return FAILED if account.failures else FINISHED
