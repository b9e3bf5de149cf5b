"""The commands for a model of one's own: probe and check."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from lossatlas.check import describe, run_checks
from lossatlas.errors import FAILED, FINISHED
from lossatlas.model_report.problem import load_problem
from lossatlas.model_report.problem_checks import CHECKS, check_problem
from lossatlas.model_report.settings import OF_ONE_MODEL, Name, ProbeSettings, Shared, default_settings

DEFAULTS, EACH = Shared(), default_settings()
Device = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="(default: where the model is)")]


@dataclass(frozen=True)
class Probe:
    """Measure the loss landscape of a model of your own, draw it, and write a report about it.

    What was interrupted goes on where it stopped.
    """

    problem: tyro.conf.Positional[str]
    """module:object or path/to/file.py:object. The object is a lossatlas.Problem, or a function that gives one, or a
    tuple (module, data, criterion[, checkpoints])."""
    out: Path = Path("landscape")
    """Folder of the results."""
    probes: tuple[Name, ...] = tuple(OF_ONE_MODEL)
    """What to measure; what a probe lacks (checkpoints, other solutions) is said and left out."""
    device: Device = None
    """Where to compute, such as cuda."""
    shared: Annotated[Shared, tyro.conf.arg(name="")] = DEFAULTS
    own: Annotated[ProbeSettings, tyro.conf.arg(name="")] = EACH

    def __call__(self, console: Console) -> int:
        from lossatlas.model_report.run import probe  # matplotlib and plotly take a second to import

        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.print(f"note: {message}", highlight=False, markup=False)
            done = probe(
                self.problem, self.out, self.probes, shared=self.shared, own=self.own, device=self.device,
                console=console,
            )  # fmt: skip
            return FINISHED if done else FAILED


@dataclass(frozen=True)
class Check:
    """Check that this installation computes correctly, or with a problem that its numbers are right: every line is a
    number with its limit, and passes or fails.
    """

    problem: Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="(default: none)")] = None
    """A model of your own, as for probe: module:object or path/to/file.py:object."""
    device: Device = None
    """Where to compute, such as cuda."""
    dtype: Literal["float32", "float64"] = "float64"
    """Of the models that are checked; a problem has its own."""

    def __call__(self, console: Console) -> int:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.print(f"note: {message}", highlight=False, markup=False)
            return self._check(console)

    def _check(self, console: Console) -> int:
        if self.problem is None:
            checks, width = run_checks(self.device or "cpu", self.dtype), None
        else:
            checks = check_problem(load_problem(self.problem), self.device)
            width = max(len(what) for what, _ in CHECKS.values())
        failed = total = 0
        for check in checks:
            console.print(describe(check, width), highlight=False, markup=False)
            failed += not check.passed
            total += 1
        console.print(f"{total - failed} of {total} passed", highlight=False)
        return FAILED if failed else FINISHED
