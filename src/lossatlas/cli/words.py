"""The commands by their words, for whoever asks what there is: nothing here takes long to import."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec

# What each does, in the words of its type.
OF_A_STUDY = {
    "run": "Train the networks of a study, probe the landscape around each, draw and tabulate it.",
    "report": "Write the tables, figures and report of a study again, from its folder alone.",
    "list": "List the networks of a study, and how far each is.",
    "show": "Show one network: its settings, its numbers, and where its figures are.",
}
OF_A_MODEL = {
    "probe": "Measure the loss landscape of a model of your own, draw it, and write a report about it.",
    "check": "Check that this installation computes correctly, or with a problem that its numbers are right.",
}
STUDY_NEEDS = ("filelock", "PIL", "pydantic", "sklearn", "threadpoolctl", "typst")

HELP, VERSION = ("-h", "--help"), "--version"

CLOSE = 0.7  # difflib's ratio, 0 to 1, from which a name is suggested; lower, and unrelated flags are


def lacking_packages() -> list[str]:
    """What the commands of a study need and is not installed."""
    return [package for package in STUDY_NEEDS if find_spec(package) is None]


def available() -> dict[str, str]:
    """The commands that can be given here, and what each does."""
    return OF_A_MODEL if lacking_packages() else OF_A_STUDY | OF_A_MODEL


def help_text() -> str:
    """What `lossatlas --help` prints."""
    width = max(map(len, available()))
    lines = [
        textwrap.fill(text, 100, initial_indent=f"  {word:<{width}}  ", subsequent_indent=" " * (width + 4))
        for word, text in available().items()
    ]
    return "\n".join(
        [
            "usage: lossatlas COMMAND [OPTIONS]",
            "",
            "An atlas of neural-network loss landscapes.",
            "",
            *lines,
            "",
            "lossatlas COMMAND --help says what a command takes, lossatlas --version which version this is.",
        ]
    )


def version_text() -> str:
    return f"lossatlas {version('lossatlas')}"


def unknown_word(word: str) -> str:
    """One line about a word that is no command."""
    return f"there is no command {word!r}{suggestion(word, available())}: wanted one of {', '.join(available())}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)" where one of the known is close, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=CLOSE)
    return f" (did you mean {close[0]}?)" if close else ""
