"""How far the work is: a bar with the time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 15.0


class Advance(Protocol):
    """To be called with the cost of what was done since the last call, and how many jobs that finished."""

    def __call__(self, cost: float, jobs: int = 1, /) -> None: ...


class Progress:
    """Shows one stage of the work at a time."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, name: str, jobs: int, cost: float) -> Iterator[Advance]:
        """A stage of so many jobs; call what it yields with the cost of each that is done."""
        show = self._bar if self.console.is_terminal else self._lines
        with show(name, jobs, cost) as advance:
            yield advance

    @contextmanager
    def _bar(self, name: str, jobs: int, cost: float) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        clock = _Clock(cost)
        with RichProgress(*columns, console=self.console) as bar:
            task: TaskID = bar.add_task(name, total=jobs, left="")

            def advance(done: float, finished: int = 1) -> None:
                clock.add(done)
                bar.update(task, advance=finished, left=clock.left())

            yield advance
            bar.update(task, left="")

    @contextmanager
    def _lines(self, name: str, jobs: int, cost: float) -> Iterator[Advance]:
        clock = _Clock(cost)
        finished, last = 0, time.monotonic()
        self.console.print(f"{name}: {jobs} to do")

        def advance(done: float, jobs_done: int = 1) -> None:
            nonlocal finished, last
            clock.add(done)
            finished += jobs_done
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self.console.print(f"{name}: {finished} of {jobs}, {clock.left()}")

        yield advance
        self.console.print(f"{name}: done in {duration(clock.elapsed)}")


class _Clock:
    """Time left, from the share of the cost that is behind."""

    def __init__(self, cost: float) -> None:
        self._cost = cost
        self._done = 0.0
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def add(self, cost: float) -> None:
        self._done += cost

    def left(self) -> str:
        if self._done <= 0:
            return ""
        return f"about {duration(self.elapsed * max(self._cost / self._done - 1, 0))} left"


def duration(seconds: float) -> str:
    """
    >>> duration(7), duration(187)
    ('7 s', '3 min 7 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
