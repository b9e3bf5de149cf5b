"""What is wrong with a command line, as one line: which flag, what was wanted, what came."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, get_type_hints

import tyro
from tyro import _errors as events  # not a public module: pyproject.toml names the versions that fit

from lossatlas.cli.words import suggestion
from lossatlas.errors import SettingError


def rejection(event: events.ParseErrorEvent, args: Sequence[str], commands: Mapping[str, Any]) -> str | None:
    """One line about an event of tyro's, or None for a kind of event that is not known here.

    Args:
        event: what tyro found wrong.
        args: the whole command line, without `lossatlas`.
        commands: the type of each command by its name.
    """
    command = args[0]
    known = flags(commands[command])
    if isinstance(event, events.UnrecognizedArgs):
        return _unknown(event.tokens, command, known)
    if isinstance(event, events.MissingArgs):
        return _missing([one.arg.display_name() for one in event.missing_arguments], args, known)
    if isinstance(event, events.BadValue) and event.reason == "too_few_values":
        name = event.argument.display_name()
        if event.argument.is_positional():
            return _missing([name], args, known)
        return f"{name}: wanted {event.argument.lowered.metavar}, got nothing"
    if isinstance(event, events.InvalidChoice):
        near = suggestion(event.value, event.choices)
        flag, choices = event.argument.display_name(), ", ".join(event.choices)
        return f"{flag}: wanted one of {choices}, got {event.value!r}{near}"
    if isinstance(event, events.InstantiationFailure):
        return _wrong_value(event, known)
    return None


def wrong_setting(error: ValueError, table: str = "") -> str | None:
    """One line about what a table of settings raised, or None where the error says nothing of a setting.

    Args:
        error: what the type of the table raised.
        table: what its flags start with, such as "training" of `--training.epochs`; "" where they start with nothing.
    """
    if isinstance(error, SettingError):
        return f"{_flag(table, error.setting)} {error.problem}"
    if find_spec("pydantic") is None:  # comes with what a study needs
        return None
    from pydantic import ValidationError

    from lossatlas.study.config import explain

    if isinstance(error, ValidationError):
        return explain(error, lambda path: _flag(table, *path) if path else table or "study")
    return None


def flags(kind: Any, prefix: str = "") -> list[str]:
    """Every flag of a command, as its help writes them: `--training.sgd-learning-rate`.

    Args:
        kind: type of the command, or of one of its tables: a dataclass or a pydantic model.
        prefix: name of the table.
    """
    written: list[str] = []
    for name, hint in _fields(kind).items():
        marks = getattr(hint, "__metadata__", ())
        inner = hint.__origin__ if marks else hint
        if tyro.conf.Positional in marks:
            continue
        if _fields(inner):
            nameless = any(getattr(mark, "name", None) == "" for mark in marks)
            written += flags(inner, prefix if nameless else f"{prefix}{name}.")
            continue
        written.append(_flag(prefix + name))
        if inner is bool:
            written.append(_flag(f"{prefix}no_{name}"))
    return written


def _fields(kind: Any) -> dict[str, Any]:
    """The annotation of each field; none of what has no fields."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {name: field.annotation for name, field in getattr(kind, "model_fields", {}).items()}


def _flag(*path: str) -> str:
    return "--" + ".".join(filter(None, path)).replace("_", "-")


def _unknown(tokens: Sequence[str], command: str, known: Sequence[str]) -> str:
    """About words that belong to no option; those behind an unknown option are its values."""
    option = next((token.partition("=")[0] for token in tokens if token.startswith("--")), None)
    if option is None:
        return f"{tokens[0]!r} belongs to no option: see `lossatlas {command} --help`"
    flag = _flag(option[2:])
    ends = [one for one in known if one.endswith(f".{flag[2:]}")]
    near = f" (did you mean {ends[0]}?)" if len(ends) == 1 else suggestion(flag, known)
    return f"there is no option {option}{near}: see `lossatlas {command} --help`"


def _missing(names: Sequence[str], args: Sequence[str], known: Sequence[str]) -> str:
    """About arguments that are missing, or about an option that is unknown, behind which one may stand as its value."""
    options = [word for word in args if word.startswith("--")]
    unknown = [option for option in options if _flag(option.partition("=")[0][2:]) not in known]
    if unknown:
        return _unknown(unknown, args[0], known)
    return f"{', '.join(names)} is missing: see `lossatlas {args[0]} --help`"


def _wrong_value(event: events.InstantiationFailure, known: Sequence[str]) -> str | None:
    """About a value that a flag's type, or the type of a table of settings, did not take."""
    if event.argument is not None:
        return f"{event.argument.display_name()}: wanted {event.argument.lowered.metavar} ({event.message})"
    # tyro calls its hooks while it handles an error that knows the table and has the one raised by the table behind it.
    handled = sys.exc_info()[1]
    raised = handled if isinstance(handled, ValueError) else getattr(handled, "__context__", None)
    if not isinstance(raised, ValueError):
        return None
    return wrong_setting(raised, _table(getattr(handled, "arg", ""), known))


def _table(path: str, known: Sequence[str]) -> str:
    """The end of a path of fields that flags start with: fields without a name of their own stand before it."""
    parts = path.replace("_", "-").split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if any(flag.startswith(f"--{end}.") for flag in known)), "")
