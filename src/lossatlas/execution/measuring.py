"""Measuring what is missing: one probe of one subject is one file, and what has its file is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from lossatlas.execution.failures import recording
from lossatlas.probes.probe import Probe, Settings, Subject
from lossatlas.random_streams import stream
from lossatlas.results.storage import read_result, write_result


@dataclass(frozen=True)
class Measurement:
    """One probe of one subject, whose result is one file."""

    probe: Probe
    settings: Settings
    file: Path  # of the result
    key: tuple[object, ...]  # of its stream of random numbers
    folder: Path  # where a failure is recorded
    other: str = ""  # of a pair: the other solution's name

    @property
    def name(self) -> str:
        return f"{self.probe.name}_{self.other}" if self.other else self.probe.name

    @property
    def done(self) -> bool:
        """A file has its name only when it is complete: this is how work goes on after it was stopped."""
        return self.file.is_file()

    def ask(self, subject: Subject) -> xr.Dataset:
        return self.probe.measure(subject, self.settings, stream(*self.key))

    def read(self) -> xr.Dataset:
        """Raises InputError, one line, when the file is missing or damaged."""
        return read_result(self.file)


def missing(wanted: Iterable[Measurement]) -> list[Measurement]:
    """What is still to be measured."""
    return [measurement for measurement in wanted if not measurement.done]


def unfinished(wanted: Iterable[Measurement]) -> list[Measurement]:
    """Of what is measured, results that ended before they were done, by a budget."""
    return [measurement for measurement in wanted if measurement.done and "stopped" in measurement.read().attrs]


def measure(wanted: Iterable[Measurement], answer: Callable[[Measurement], xr.Dataset]) -> dict[str, float]:
    """Measure what is missing; returns seconds by the name of the probe.

    A failure is recorded in the measurement's folder, and the others go on.

    Args:
        wanted: what is asked for, done or not.
        answer: the result of one of them, such as `lambda one: one.ask(subject)`.
    """
    seconds: dict[str, float] = {}
    for measurement in missing(wanted):
        start = time.perf_counter()
        with recording(measurement.name, measurement.folder):
            write_result(measurement.file, answer(measurement))
        name = measurement.probe.name
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    return seconds
