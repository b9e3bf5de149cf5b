"""Files that are never half there, and one clear line for those that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossatlas.errors import InputError

TEMPORARY = ".partial"
NOT_FINITE = ("nan", "inf", "-inf")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it has its name only when it is complete and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Numbers that JSON does not know are written as "nan", "inf" and "-inf", as `results.to_json` does."""
    write_text(path, json.dumps(known_to_json(value), indent=2, allow_nan=False) + "\n")


def known_to_json(value: Any) -> Any:
    """The value as `read_json` gives it back."""
    if isinstance(value, Mapping):
        return {name: known_to_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [known_to_json(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_json(path: Path) -> Any:
    """InputError, one line, when the file is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the same command again, it makes what is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(damaged(path, str(error))) from error


def damaged(file: Path, why: str, *, delete: Path | None = None) -> str:
    """The line for a file that cannot be read."""
    return f"{file} is damaged ({why}): delete {delete or file} and run again; the rest is kept"
