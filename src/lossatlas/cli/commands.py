"""The command line: what the first word asks for, and the exit status of what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from lossatlas.cli import words
from lossatlas.errors import FAILED, INTERRUPTED, UNUSABLE, InputError, WorkersDied


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
    """The command that the arguments name; InputError when they name none, SystemExit(0) after --help and --version."""
    word = args[0] if args else words.HELP[0]
    if word in words.HELP or word == words.VERSION:
        print(words.version_text() if word == words.VERSION else words.help_text())
        raise SystemExit(0)
    if word in words.OF_A_STUDY and (lacking := words.lacking_packages()):
        raise InputError(
            f"lossatlas {word} needs {', '.join(lacking)}, which are not installed: pip install 'lossatlas[study]'"
        )
    if word not in words.available():
        raise InputError(words.unknown_word(word))
    from lossatlas.cli.arguments import command_of  # torch takes seconds to import

    return command_of(list(args))
