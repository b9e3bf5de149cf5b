"""What every probe takes beside its own keywords: progress, a budget of time, a folder that keeps what is measured."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from torch import Tensor

from lossatlas.errors import SettingError
from lossatlas.loss.loss import Loss
from lossatlas.results.storage import load, write_result
from lossatlas.work import Journal, Stopped, Work, bytes_of, current, working

KEYWORDS = ("progress", "budget", "folder")

DOCUMENTED = """        progress: whether a bar shows what is done; None: on a terminal and in a notebook.
        budget: seconds, or text such as "5 min", after which what there is is returned, with its larger error; Ctrl-C
            does the same at once. Without a result by then TimeoutError is raised.
        folder: where what is measured is kept: the same call goes on there, and is answered from there once it is done.
"""

UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}

# Numbers of the data by which a folder knows them again; of more, so many at even distances.
HASHED_NUMBERS = 2**22


def with_keywords(probe: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """The `probe` with `progress=`, `budget=` and `folder=`, which are documented behind its own keywords."""

    @functools.wraps(probe)
    def call(
        *args: Any, progress: bool | None = None, budget: float | str | None = None, folder: str | Path | None = None,
        **knobs: Any,
    ) -> xr.Dataset:  # fmt: skip
        if current() is not None:  # a command, or another probe, bounds and shows its work itself
            return probe(*args, **knobs)
        seconds = None if budget is None else seconds_of(budget)
        kept = None if folder is None else Path(folder) / f"{probe.__name__}.nc"
        about = b"" if folder is None else digest((probe.__name__, args, knobs))
        if kept is not None and (done := _kept(kept, about)) is not None:
            return done
        journal = None if kept is None else Journal(kept.with_suffix(".journal"), about)
        work = Work(None if seconds is None else time.monotonic() + seconds, journal, interruptible=True)
        try:
            with _shown(work, probe.__name__, progress), _interruptible(work), working(work):
                result = probe(*args, **knobs)
        except Stopped:
            where = "" if folder is None else f"; what was measured is kept in {folder}: the same call goes on there"
            done = f"{work.evaluations:,} evaluations and {work.products:,} products"
            if work.interrupted:
                raise KeyboardInterrupt(f"stopped after {done}, without a result{where}") from None
            raise TimeoutError(
                f"a budget of {seconds:g} s was over after {done}, without a result: wanted more time, or less to "
                f"measure{where}"
            ) from None
        finally:
            if journal is not None:
                journal.close()
        if work.cut_short:
            return result.assign_attrs(stopped="by Ctrl-C" if work.interrupted else f"by its budget of {seconds:g} s")
        if kept is not None:
            write_result(kept, result.assign_attrs(call=about.hex()))
        return result

    signature = inspect.signature(probe)
    added = [
        inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="bool | None"),
        inspect.Parameter("budget", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="float | str | None"),
        inspect.Parameter("folder", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="str | Path | None"),
    ]
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    call.__doc__ = _documented(probe.__doc__ or "")
    return call


def _kept(file: Path, about: bytes) -> xr.Dataset | None:
    """The result of the same call, where `file` has it whole."""
    if not file.is_file():
        return None
    try:
        done = load(file)
    except ValueError:  # damaged: it is made again from the journal
        return None
    return done if done.attrs.pop("call", None) == about.hex() else None


def _documented(text: str) -> str:
    """A docstring with the three keywords behind the others."""
    start = text.index("    Args:\n") + len("    Args:\n")
    blank = re.search(r"\n\s*\n", text[start:])
    end = len(text) if blank is None else start + blank.end()
    args = text[start:end].rstrip()
    return f"{text[:start]}{args}\n{DOCUMENTED}\n{text[end:]}"


def seconds_of(budget: float | str) -> float:
    """A `budget` in seconds.

    Raises:
        ValueError: no time above 0.

    >>> seconds_of("5 min"), seconds_of("1.5h"), seconds_of(20)
    (300.0, 5400.0, 20.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", str(budget))
    if found is None or found[2] not in UNITS or not float(found[1]) > 0:
        raise SettingError("budget", f"is {budget!r}: wanted seconds, or a text such as '30 s', '5 min' or '2 h'")
    return float(found[1]) * UNITS[found[2]]


@contextmanager
def _interruptible(work: Work) -> Iterator[None]:
    """The first Ctrl-C ends the work with what there is, the second ends it as always."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(*_: Any) -> None:
        if work.interrupted:
            raise KeyboardInterrupt
        work.interrupted = True

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _shown(work: Work, name: str, wanted: bool | None) -> Iterator[None]:
    """A line with what is done so far, and the time."""
    console = Console(stderr=True)
    show = (console.is_terminal or console.is_jupyter) if wanted is None else wanted
    if not show:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=wanted is None) as bar:
        task = bar.add_task(name)

        def advance(*_: int) -> None:
            said = [f"{count:,} {what}" for count, what in
                    ((work.evaluations, "evaluations"), (work.products, "products")) if count]  # fmt: skip
            left = "" if work.deadline is None else f", {work.seconds_left:.0f} s left"
            bar.update(task, description=f"{name}: {', '.join(said)}{left}")

        work.advance = advance
        yield
        sys.stderr.flush()


def digest(value: Any) -> bytes:
    """What tells a call from others: of tensors the numbers, of losses what they are made of."""
    known = hashlib.blake2b(digest_size=16)
    _feed(known.update, value)
    return known.digest()


def _feed(take: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, Tensor):
        take(f"{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().flatten()
        take(bytes_of(flat[:: max(1, len(flat) // HASHED_NUMBERS)]))
    elif isinstance(value, torch.Generator):
        take(bytes_of(value.get_state()))
    elif isinstance(value, Loss):
        _feed(take, (repr(value), dict(value.attrs), value.theta, value.fingerprint()))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            take(str(key).encode())
            _feed(take, part)
    elif isinstance(value, (tuple, list)):
        take(b"(%d" % len(value))
        for part in value:
            _feed(take, part)
    else:
        take(f"{type(value).__name__}{value!r}".encode())
