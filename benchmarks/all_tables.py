"""The tables of the benchmark, in the order of the page."""

from __future__ import annotations

from benchmarks import density, eigenvalues, study, surface, training
from benchmarks.table import Table

TABLES: dict[str, Table] = {part.TABLE.name: part.TABLE for part in (surface, eigenvalues, density, training, study)}
