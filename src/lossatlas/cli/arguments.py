"""What follows a command's word, read into the command's type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from tyro._errors import ParseErrorEvent, on_parse_error

from lossatlas.cli.messages import rejection, wrong_setting
from lossatlas.cli.words import OF_A_STUDY
from lossatlas.errors import InputError
from lossatlas.model_report.commands import Check, Probe


def command_of(args: Sequence[str]) -> Any:
    """The command that the arguments name, whose word is one of those that there are.

    Args:
        args: the word and what follows it.

    Raises:
        InputError: something that follows is none of its options.
        SystemExit: with status 0, after --help.
    """
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
    """The types of the commands of a model, or of those of a study, which take long to import."""
    if args[0] not in OF_A_STUDY:
        return (Annotated[Probe, tyro.conf.subcommand("probe")], Annotated[Check, tyro.conf.subcommand("check")])
    from lossatlas.study.commands import commands

    return commands(args)
