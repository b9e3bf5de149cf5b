"""The command line: which command the arguments name, and the exit status of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Union

import tyro
from rich.console import Console
from tyro._errors import ParseErrorEvent, on_parse_error

from lossatlas.cli.messages import rejection, wrong_setting
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
    kinds = _commands(args)
    by_name = {kind.__metadata__[0].name: kind.__origin__ for kind in kinds}
    commands: Any = Union[kinds]  # noqa: UP007

    def refuse(event: ParseErrorEvent) -> None:
        if said := rejection(event, args, by_name):
            raise InputError(said)  # else tyro prints what it has to say, and exits with status 2

    try:
        with on_parse_error(refuse):
            command = tyro.cli(
                commands, prog="lossatlas", description="An atlas of neural-network loss landscapes.", args=args
            )
    except ValueError as error:  # tyro lets pass what a table without a name of its own raises
        if said := wrong_setting(error):
            raise InputError(said) from error
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
