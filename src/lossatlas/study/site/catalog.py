"""What the page of two side by side knows: every run, and every configuration by the means over its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lossatlas.numbers import Row, measure_text
from lossatlas.study.config import Run
from lossatlas.study.site import runs as pages
from lossatlas.study.site.site import Site, slug

WITHIN_CONFIGURATION = ("data_seed", "seed")


def catalog(site: Site, rows: Mapping[Run, Row]) -> list[dict[str, Any]]:
    """An entry for each: its name, whose surfaces it shows, and its numbers.

    Args:
        site: the pages.
        rows: of runs.csv.
    """
    return [*_configurations(site, rows), *(_run(site, run, rows.get(run, {})) for run in site.runs)]


def _run(site: Site, run: Run, row: Row) -> dict[str, Any]:
    return {
        "slug": slug(run),
        "shown": slug(run),
        "group": site.name(run, without=("activation", "optimizer", "weight_decay", *WITHIN_CONFIGURATION)),
        "name": site.name(run, without=("dataset", "architecture")),
        "title": site.name(run),
        "planes": site.planes(run),
        "numbers": [(words, cell.text) for words, cell in pages.numbers(row)],
    }


def _configurations(site: Site, rows: Mapping[Run, Row]) -> list[dict[str, Any]]:
    """One for each configuration of several runs, with the surfaces of its first."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in site.runs:
        groups.setdefault(run.configuration, []).append(run)
    return [
        {
            **_run(site, runs[0], {}),
            "slug": f"mean-{slug(runs[0])}",
            "group": "Configurations: means over their runs",
            "name": site.name(runs[0], without=WITHIN_CONFIGURATION),
            "title": f"{site.name(runs[0], without=WITHIN_CONFIGURATION)}, mean of {len(known)} runs",
            "numbers": _means([rows[run] for run in known]),
        }
        for runs in groups.values()
        if len(known := [run for run in runs if run in rows]) > 1
    ]


def _means(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Means of what the rows have, with the smallest and the largest."""
    found = []
    for name, words in pages.NUMBERS.items():
        cells = [pages.number(row[name]) for row in rows if name in row]
        values = [cell.value for cell in cells if cell.value is not None and math.isfinite(cell.value)]
        if values:
            low, mean, high = min(values), sum(values) / len(values), max(values)
            found.append((words, f"{measure_text(mean)} ({measure_text(low)} to {measure_text(high)})"))
    return found
