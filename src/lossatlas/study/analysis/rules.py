"""How a number with its interval decides a statement: supported, contradicted or undecided, by a rule in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from lossatlas.numbers import general_text
from lossatlas.study.analysis.contrasts import Estimate

Verdict = Literal["supported", "contradicted", "undecided"]
FEWEST = 6  # matched values; a percentile interval of fewer hardly differs from their range
FEWEST_CELLS = 3  # matched cells that show a spread; what holds in two may hold in these alone
ROUNDING = 1e-9  # a number this close to a limit is on neither side of it


class Rule(Protocol):
    def decide(self, found: Estimate) -> Verdict: ...

    def words(self) -> str: ...


@dataclass(frozen=True)
class Above:
    """The number is stated to be above `value`."""

    value: float = 0.0

    def decide(self, found: Estimate) -> Verdict:
        if not _decidable(found):
            return "undecided"
        if found.low > self.value + ROUNDING:
            return "supported"
        return "contradicted" if found.high < self.value - ROUNDING else "undecided"

    def words(self) -> str:
        return _words(f"is above {general_text(self.value)}", f"is below {general_text(self.value)}")


@dataclass(frozen=True)
class Below:
    """The number is stated to be below `value`."""

    value: float = 0.0

    def decide(self, found: Estimate) -> Verdict:
        if not _decidable(found):
            return "undecided"
        if found.high < self.value - ROUNDING:
            return "supported"
        return "contradicted" if found.low > self.value + ROUNDING else "undecided"

    def words(self) -> str:
        return _words(f"is below {general_text(self.value)}", f"is above {general_text(self.value)}")


@dataclass(frozen=True)
class Within:
    """The number is stated to be so close to 0 that it does not matter: an equivalence test."""

    margin: float

    def decide(self, found: Estimate) -> Verdict:
        if not _decidable(found):
            return "undecided"
        if -self.margin < found.low and found.high < self.margin:
            return "supported"
        return "contradicted" if found.low > self.margin or found.high < -self.margin else "undecided"

    def words(self) -> str:
        inside = f"between {general_text(-self.margin)} and {general_text(self.margin)}"
        return _words(f"lies {inside}", f"lies on one side of the range {inside}")


def _words(supports: str, contradicts: str) -> str:
    return (
        f"supported if the whole 95 % interval {supports}, contradicted if it {contradicts}; otherwise, and with fewer "
        f"than {FEWEST} values or {FEWEST_CELLS} cells, undecided"
    )


def _decidable(found: Estimate) -> bool:
    return not too_few(found) and math.isfinite(found.low) and math.isfinite(found.high)


def too_few(found: Estimate) -> bool:
    """Whether a number rests on too little to decide anything, whatever its interval."""
    return found.n < FEWEST or (found.cells is not None and found.cells - found.single < FEWEST_CELLS)
