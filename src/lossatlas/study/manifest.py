"""Checksums of what a study has measured: whether a file is still what was written."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from lossatlas.errors import InputError
from lossatlas.execution.failures import FILE as FAILURES
from lossatlas.files import damaged, write_text
from lossatlas.study.store import Store

# What training writes of a network: one of these is trained again with its whole group, which wants its metrics gone.
OF_TRAINING = ("metrics.json", "config.json", "history.csv")

NAMED = 3  # damaged files that a message names


def manifest_file(root: Path) -> Path:
    """Where the manifest of the store at `root` is."""
    return root / "experiments" / "manifest.csv"


def write_manifest(root: Path) -> None:
    """Write down every file of the experiments, when all of them are done: path, bytes and CRC-32.

    A store whose work was stopped has no entries yet for what is new. Files that are not in it are read as they are.
    """
    folder = root / "experiments"
    lines = ["path,bytes,crc32"]
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file != manifest_file(root) and file.name != FAILURES:
            content = file.read_bytes()
            lines.append(f"{file.relative_to(folder).as_posix()},{len(content)},{zlib.crc32(content):08x}")
    text = "\n".join(lines) + "\n"
    text += f"end,{len(lines) - 1},{zlib.crc32(text.encode()):08x}\n"
    if not manifest_file(root).is_file() or manifest_file(root).read_bytes() != text.encode():
        write_text(manifest_file(root), text)


def damaged_files(root: Path) -> list[Path]:
    """Files that are not what the manifest says; those that are missing are simply made again.

    Raises InputError where the manifest itself is damaged.
    """
    path = manifest_file(root)
    if not path.is_file():
        return []
    whole = path.read_bytes()
    body, _, end = whole.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    lines = body.decode(errors="replace").splitlines()
    if end != f"end,{len(lines) - 1},{zlib.crc32(body):08x}".encode():
        raise InputError(damaged(path, "its own checksum differs"))
    found = []
    for line in lines[1:]:
        name, size, checksum = line.rsplit(",", 2)
        file = path.parent / name
        if file.is_file():
            content = file.read_bytes()
            if len(content) != int(size) or f"{zlib.crc32(content):08x}" != checksum:
                found.append(file)
    return found


def check_manifest(root: Path) -> None:
    """Raise InputError, one line, where files of the store at `root` are damaged."""
    if found := damaged_files(root):
        names = ", ".join(str(file) for file in found[:NAMED])
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise InputError(
            f"{names}{more}: not what was written (checksum): run again with --repair, which deletes what is damaged "
            "and makes it anew; the rest is kept"
        )


def repair(store: Store) -> Sequence[Path]:
    """Delete what is damaged in the store, and what has it trained again; returns what was damaged.

    A manifest that is damaged is deleted alone: nothing can be said of the files then.
    """
    try:
        found = damaged_files(store.root)
    except InputError:
        manifest_file(store.root).unlink()
        return [manifest_file(store.root)]
    for file in found:
        file.unlink(missing_ok=True)
        for folder in (file.parent, file.parent.parent):
            if file.name in OF_TRAINING or file.parent.name == "checkpoints":
                (folder / "metrics.json").unlink(missing_ok=True)
    return found
