"""What a call may take, and what is kept of it: asked by what evaluates losses and what multiplies with matrices.

A call has one `Work` while it lasts. Without one nothing is bounded, watched or kept.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

# Bytes of one answer, above which it is not kept: vectors of large models fill a disk sooner than they save time.
LARGEST_KEPT = 2**26

KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool)
HEAD = struct.Struct("<4s16sBBQI")  # mark, key, kind, dimensions, bytes, checksum
MARK = b"kept"


class Stopped(Exception):
    """The time is up, or somebody wants it to end, and there is no result yet."""


class Journal:
    """Answers on disk, in the order in which they were found: the same questions get them again.

    A record that is not whole, as after a kill, is as if it was not there, and so is all that follows it.

    Args:
        path: of the file; what leads to it is made.
        about: what tells this call from others.
    """

    def __init__(self, path: Path, about: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._about, self._number = about, 0
        self._places: dict[bytes, int] = {}
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        self._end = self._read_places()
        self._file.truncate(self._end)

    def answer(self, question: Tensor, find: Callable[[], Tensor]) -> Tensor:
        """What was kept of a `question`, or what `find` gives, which is kept.

        Args:
            question: all that the answer depends on beside the call and the number of questions before.
            find: gives the answer.
        """
        self._number += 1
        key = hashlib.blake2b(
            bytes_of(question), digest_size=16, key=hashlib.blake2b(self._about + b"%d" % self._number).digest()
        ).digest()
        if key in self._places:
            return self._read(self._places[key])
        found = find()
        if found.nbytes <= LARGEST_KEPT:
            self._write(key, found.detach().cpu())
        return found

    def close(self) -> None:
        self._file.close()

    def _read_places(self) -> int:
        self._file.seek(0)
        while True:
            start = self._file.tell()
            head = self._file.read(HEAD.size)
            if len(head) < HEAD.size:
                return start
            mark, key, _, dimensions, size, checksum = HEAD.unpack(head)
            body = self._file.read(8 * dimensions + size) if mark == MARK and size <= LARGEST_KEPT else b""
            if len(body) < 8 * dimensions + size or mark != MARK or zlib.crc32(body) != checksum:
                return start
            self._places[key] = start

    def _read(self, place: int) -> Tensor:
        self._file.seek(place)
        _, _, kind, dimensions, size, _ = HEAD.unpack(self._file.read(HEAD.size))
        shape = struct.unpack(f"<{dimensions}Q", self._file.read(8 * dimensions))
        raw = self._file.read(size)
        return torch.frombuffer(bytearray(raw), dtype=KINDS[kind]).reshape(shape) if raw else torch.empty(shape)

    def _write(self, key: bytes, answer: Tensor) -> None:
        body = struct.pack(f"<{answer.ndim}Q", *answer.shape) + bytes_of(answer)
        size = len(body) - 8 * answer.ndim
        self._file.seek(self._end)
        self._file.write(HEAD.pack(MARK, key, KINDS.index(answer.dtype), answer.ndim, size, zlib.crc32(body)) + body)
        self._file.flush()
        self._places[key] = self._end
        self._end = self._file.tell()


def bytes_of(tensor: Tensor) -> bytes:
    """The numbers of a `tensor` as they are in memory, in order."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@dataclass
class Work:
    """One call.

    Args:
        deadline: when it is to end, by `time.monotonic`; None: when it is done.
        journal: where answers are kept; None: nowhere.
        advance: told of evaluations and products when they are done.
        interruptible: whether somebody may end it.
        interrupted: whether somebody did.
        cut_short: whether a part of it gave what it had.
    """

    deadline: float | None = None
    journal: Journal | None = None
    advance: Callable[[int, int], None] = lambda evaluations, products: None
    interruptible: bool = False
    interrupted: bool = False
    cut_short: bool = False
    in_grace: bool = field(default=False, init=False)
    evaluations: int = field(default=0, init=False)
    products: int = field(default=0, init=False)

    @property
    def over(self) -> bool:
        """Whether it is to end."""
        return self.interrupted or (self.deadline is not None and time.monotonic() >= self.deadline)

    @property
    def seconds_left(self) -> float:
        return math.inf if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def add(self, evaluations: int = 0, products: int = 0) -> None:
        self.evaluations += evaluations
        self.products += products
        self.advance(evaluations, products)


_CURRENT: ContextVar[Work | None] = ContextVar("work", default=None)


def current() -> Work | None:
    """The call that is made just now."""
    return _CURRENT.get()


@contextmanager
def working(work: Work | None) -> Iterator[None]:
    """While it lasts, `work` is the call that is made."""
    token = _CURRENT.set(work)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def over() -> bool:
    """Whether the call that is made just now is to end."""
    work = current()
    return work is not None and work.over


def seconds_left() -> float:
    """Of the call that is made just now."""
    work = current()
    return math.inf if work is None else work.seconds_left


def bounded() -> bool:
    """Whether the call that is made just now may end before it is done."""
    work = current()
    return work is not None and (work.interruptible or work.deadline is not None or work.journal is not None)


def cut_short() -> None:
    """Say that a part of the call gives what it has, since the call is to end."""
    if (work := current()) is not None:
        work.cut_short = True


@contextmanager
def grace() -> Iterator[None]:
    """While it lasts the call goes on though it is to end: for the little that makes a result of what there is."""
    work = current()
    if work is None:
        yield
        return
    before, work.in_grace = work.in_grace, True
    try:
        yield
    finally:
        work.in_grace = before


def answered(question: Tensor, find: Callable[[], Tensor], *, evaluations: int = 0, products: int = 0) -> Tensor:
    """What `find` gives, or was kept of it, counted for who watches.

    Args:
        question: all that the answer depends on beside the call and what was asked before.
        find: gives the answer.
        evaluations, products: that the answer takes.

    Raises:
        Stopped: the call is to end.
    """
    work = current()
    if work is None:
        return find()
    if work.over and not work.in_grace:
        raise Stopped
    found = find() if work.journal is None else work.journal.answer(question, find)
    work.add(evaluations, products)
    return found
