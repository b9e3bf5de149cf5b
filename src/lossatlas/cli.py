"""The command line: which command the arguments name, and the exit status of what came of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from lossatlas.errors import FAILED, INTERRUPTED, UNUSABLE, InputError, WorkersDied
from lossatlas.model_report.commands import Check, Probe

OF_A_STUDY = ("run", "report", "list", "show")
STUDY_NEEDS = ("filelock", "PIL", "pydantic", "sklearn", "threadpoolctl", "typst")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 something failed, 2 unusable input, 130 interrupted."""
    args = sys.argv[1:] if args is None else list(args)
    # A pipe has no width: tables are not to be cut for one.
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        command = parse(args)
        return command(console)
    except InputError as error:
        message, status = str(error), UNUSABLE
    except (WorkersDied, OSError) as error:
        message, status = str(error), FAILED
    except KeyboardInterrupt:
        message, status = "interrupted: run the same command again to go on", INTERRUPTED
    errors.print(f"lossatlas: {message}", highlight=False, markup=False)
    return status


def parse(args: Sequence[str]) -> Any:
    """The command that the arguments name; InputError when they name none, SystemExit(0) after --help."""
    args = list(args) or ["--help"]
    commands: Any = Union[_commands(args)]  # noqa: UP007
    helping = "-h" in args or "--help" in args
    printed, failed = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(failed), _width(None if helping else 1000):
            command = tyro.cli(
                commands, prog="lossatlas", description="An atlas of neural-network loss landscapes.", args=args
            )
    except SystemExit as stop:
        if stop.code:
            raise InputError(_one_line(failed.getvalue() + printed.getvalue())) from stop
        sys.stdout.write(printed.getvalue())
        raise
    if args[0] == "run":
        from lossatlas.study.commands import named_study

        if command.study != named_study(args):
            raise InputError(f"the study comes before the options: lossatlas run {command.study} --out ...")
    return command


def _commands(args: Sequence[str]) -> tuple[Any, ...]:
    """The types of the commands; those of a study only where they may be wanted, since they take long to import."""
    own = (Annotated[Probe, tyro.conf.subcommand("probe")], Annotated[Check, tyro.conf.subcommand("check")])
    missing = [package for package in STUDY_NEEDS if find_spec(package) is None]
    if missing and args[0] in OF_A_STUDY:
        raise InputError(
            f"lossatlas {args[0]} needs {', '.join(missing)}, which are not installed: pip install 'lossatlas[study]'"
        )
    if missing or args[0] in ("probe", "check"):
        return own
    from lossatlas.study.commands import commands

    return (*commands(args), *own)


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
