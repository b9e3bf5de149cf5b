"""How much is done, and where what was found is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.networks import Problem, load
from lossatlas.files import read_json, write_json


@dataclass(frozen=True)
class Effort:
    """The size of everything. The defaults are those of the page."""

    repeats: int = 3
    steps: int = 51  # of a surface, along each axis
    examples: int | None = None  # of every data set; None: as many as the case says
    epochs: int = 30
    largest: int = 10  # eigenvalues
    pool: int = 40  # draws from which the error of a spectral density is known
    members: int = 18  # of a group of networks
    part: int = 121  # of a surface's points, where a peer would take minutes
    whole: bool = False  # the plain pipeline for all networks instead of a third
    sweep: int = 5  # sizes in a sweep
    quick: bool = False


QUICK = Effort(
    repeats=1, steps=15, examples=96, epochs=2, largest=3, pool=4, members=4, part=25, sweep=2, quick=True
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    effort: Effort
    folder: Path  # of this machine's results, beside those of others
    networks: Path  # trained ones, too large to be kept with the results

    def problem(self, case: str) -> Problem:
        """The trained network of a case, from the folder once it is there."""
        return load(case, self.networks, epochs=self.effort.epochs, examples=self.effort.examples)

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, from the folder once it is there."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            write_json(file, make())
        return read_json(file)

    def kept(self, name: str) -> Any:
        """What the folder has of that name; None where it has nothing."""
        file = self.folder / f"{name}.json"
        return read_json(file) if file.is_file() else None
