"""The command line: a type for each command, and the exit status of what came of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Union

import tyro
from pydantic import ValidationError
from rich.console import Console

from lossatlas.study import browse
from lossatlas.study.config import Study, explain, load_study, shipped_studies
from lossatlas.study.draw import PNG, Format
from lossatlas.study.errors import InputError
from lossatlas.study.progress import Progress, duration
from lossatlas.study.run import Account, report_study, run_study
from lossatlas.study.workers import WorkersDied, available_cores

FINISHED, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130

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
    fields: Annotated[Study, tyro.conf.arg(name="")] = MOONS

    def __call__(self, console: Console) -> int:
        # Once more, since a field given on the command line may not fit the others.
        study = Study.model_validate(self.fields.model_dump())
        console.print(f"{study.name}: {len(study.all_runs())} networks, results in {self.out}", highlight=False)
        account = run_study(
            study,
            self.out,
            figures=self.figures,
            formats=self.formats,
            workers=self.workers or available_cores(),
            progress=Progress(console),
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
            workers=self.workers or available_cores(),
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


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 something failed, 2 unusable input, 130 interrupted."""
    args = sys.argv[1:] if args is None else list(args)
    # A pipe has no width: tables are not to be cut for one.
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        command = parse(args)
        return command(console)
    except ValidationError as error:
        message, status = explain(error), UNUSABLE
    except InputError as error:
        message, status = str(error), UNUSABLE
    except (WorkersDied, OSError) as error:
        message, status = str(error), FAILED
    except KeyboardInterrupt:
        message, status = "interrupted: run the same command again to go on", INTERRUPTED
    errors.print(f"lossatlas: {message}", highlight=False, markup=False)
    return status


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


def parse(args: Sequence[str]) -> Run | Report | List | Show:
    """The command that the arguments name; InputError when they name none, SystemExit(0) after --help."""
    args = list(args) or ["--help"]
    # The study decides the defaults of every field after it, so it is read before the rest is parsed.
    named = args[1] if args[0] == "run" and len(args) > 1 and not args[1].startswith("-") else Run.study
    commands = Union[  # noqa: UP007
        Annotated[Run, tyro.conf.subcommand("run", default=Run(named, fields=load_study(named)))],
        Annotated[Report, tyro.conf.subcommand("report")],
        Annotated[List, tyro.conf.subcommand("list")],
        Annotated[Show, tyro.conf.subcommand("show")],
    ]
    helping = "-h" in args or "--help" in args
    printed, failed = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(failed), _width(None if helping else 1000):
            command = tyro.cli(commands, prog="lossatlas", description=_description(), args=args)
    except SystemExit as stop:
        if stop.code:
            raise InputError(_one_line(failed.getvalue() + printed.getvalue())) from stop
        sys.stdout.write(printed.getvalue())
        raise
    if isinstance(command, Run) and command.study != named:
        raise InputError(f"the study comes before the options: lossatlas run {command.study} --out ...")
    return command


@contextlib.contextmanager
def _width(columns: int | None) -> Iterator[None]:
    """Let messages be this wide, so that none is broken in the middle of a word."""
    before = os.environ.get("COLUMNS")
    if columns:
        os.environ["COLUMNS"] = str(columns)
    try:
        yield
    finally:
        if columns:
            os.environ.pop("COLUMNS")
        if columns and before is not None:
            os.environ["COLUMNS"] = before


def _description() -> str:
    return f"An atlas of neural-network loss landscapes. Studies that come with it: {', '.join(shipped_studies())}."


_INVALID = re.compile(
    r"Error parsing \S*?fields\.?(?P<path>\S*): \d+ validation errors? for \w+ (?P<field>\S+) (?P<wanted>.*?) "
    r"\[type=\w+, input_value=(?P<got>.*?), input_type="
)
_SUGGESTED = re.compile(r"Perhaps you meant: (--\S+)")


def _one_line(box: str) -> str:
    """What a boxed error message says, as one line: without the box, its title and what repeats the help."""
    bare = re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│]", " ", box)
    title, *parts = [" ".join(part.split()) for part in re.split(r"[─-]{10,}|Argument helptext:|For full help", bare)]
    said = next((part for part in parts if part), title)
    if invalid := _INVALID.search(said):
        field = ".".join(filter(None, (invalid["path"], re.sub(r"\.\d+$", "", invalid["field"]))))
        wanted = invalid["wanted"].removeprefix("Value error, ").replace("Input should be", "wanted")
        said = f"{field}: {wanted}, got {invalid['got']}"
    if suggested := _SUGGESTED.search(" ".join(parts)):
        said += f" (did you mean {suggested[1]}?)"
    return f"{said}; see `lossatlas --help`"
