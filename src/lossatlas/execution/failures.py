"""What failed, recorded beside what it failed for: `failures.json` in a folder, by the name of what was done."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lossatlas.errors import InputError
from lossatlas.files import read_json, write_json

FILE = "failures.json"


@contextmanager
def recording(what: str, *folders: Path) -> Iterator[None]:
    """Let work fail alone: the failure is recorded in the folders, and a success forgets it.

    What stops all work passes through: input that cannot be used, and a full disk.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # one of many: the others may well work
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        for folder in folders:
            _write(folder, {**failures(folder), what: message})
    else:
        for folder in folders:
            if what in (known := failures(folder)):
                _write(folder, {name: text for name, text in known.items() if name != what})


def failures(folder: Path) -> dict[str, str]:
    """What failed in a folder, and why."""
    file = folder / FILE
    return read_json(file) if file.is_file() else {}


def all_failures(root: Path) -> dict[Path, dict[str, str]]:
    """Every recorded failure below a folder, by the folder that it is recorded in."""
    return {folder: failures(folder) for folder in sorted(file.parent for file in root.rglob(FILE))}


def _write(folder: Path, failed: dict[str, str]) -> None:
    if failed:
        write_json(folder / FILE, failed)
    else:
        (folder / FILE).unlink(missing_ok=True)
