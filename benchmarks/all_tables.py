"""The tables of the benchmark, in the order of the page, and what was measured of them."""

from __future__ import annotations

from typing import Any

from benchmarks import density, eigenvalues, study, surface, training
from benchmarks.setting import Setting
from benchmarks.table import Table

TABLES: dict[str, Table] = {part.TABLE.name: part.TABLE for part in (surface, eigenvalues, density, training, study)}

Key = tuple[str, str]  # table and case
Records = dict[Key, dict[str, Any]]


def all_cases(setting: Setting) -> list[Key]:
    return [(name, case) for name, table in TABLES.items() for case in table.cases(setting)]


def measured(setting: Setting) -> Records:
    """What the folder of this machine has."""
    found = {(name, case): setting.kept(f"{name}/{case}") for name, case in all_cases(setting)}
    return {key: record for key, record in found.items() if record is not None}


def missing(setting: Setting) -> list[str]:
    """The cases that the folder of this machine lacks."""
    there = measured(setting)
    return [" ".join(key) for key in all_cases(setting) if key not in there]
