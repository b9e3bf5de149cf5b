"""A report as pages of HTML that work from disk: no server, no network, surfaces that turn on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lossatlas.document.blocks import Document, names
from lossatlas.document.html import Writer
from lossatlas.document.pages import ASSETS, environment, write_assets, write_page, write_script
from lossatlas.numbers import Row
from lossatlas.study.config import Run
from lossatlas.study.records import Records
from lossatlas.study.site import runs as html_runs
from lossatlas.study.site.history import charts
from lossatlas.study.site.planes import write_planes_of
from lossatlas.study.site.site import RunLinks, Site, slug

_RUNS, _COMPARE = "../../", "../"  # from the pages in assets/runs/ and assets/ to the store

_PACKAGE = "lossatlas.study.site"
_TEMPLATES = environment(_PACKAGE)


def write_html(document: Document, records: Records, tables: dict[str, pd.DataFrame]) -> list[Path]:
    """Write `report.html` and what it needs in `assets/`: a page per run, a page for two side by side, surfaces.

    `tables["runs"]` has the numbers of the pages of runs. Returns every file of the report.
    """
    store = records.store
    site = Site(store)
    rows = _rows(site, tables)
    assets = store.root / ASSETS
    written = [
        write_page(store.root / "report.html", _TEMPLATES, "report", "", **_report(site, document)),
        write_page(assets / "compare.html", _TEMPLATES, "compare", _COMPARE, title="Two runs side by side"),
        write_script(assets / "runs.js", "runs", _catalog(site, rows)),
        *write_assets(assets, _PACKAGE),
    ]
    for run, before, after in zip(site.runs, [None, *site.runs], [*site.runs[1:], None], strict=False):
        values = _run(site, records, run, row=rows.get(run, {}), before=before, after=after)
        written.append(write_page(assets / "runs" / f"{slug(run)}.html", _TEMPLATES, "run", _RUNS, **values))
        if data := write_planes_of(site, run):
            written.append(data)
    return written


def _rows(site: Site, tables: dict[str, pd.DataFrame]) -> dict[Run, Row]:
    """The row of runs.csv of each run that has one."""
    if "runs" not in tables:
        return {}
    rows: list[Row] = [{str(key): value for key, value in row.items()} for row in tables["runs"].to_dict("records")]
    return {Run.model_validate({field: row[field] for field in Run.model_fields}): row for row in rows}


def _report(site: Site, document: Document) -> dict[str, Any]:
    writer = Writer(RunLinks.over(site), "", names(document))
    body = "\n".join(line for section in document.sections for line in writer.section(section))
    return {
        "title": document.title,
        "subtitle": document.subtitle,
        "contents": writer.contents(document.sections),
        "body": body,
    }


def _run(site: Site, records: Records, run: Run, *, row: Row, before: Run | None, after: Run | None) -> dict[str, Any]:
    row = row or records.metrics.get(run, {})
    writer = Writer(RunLinks.over(site, run), _RUNS)
    sections = tuple(html_runs.sections(site, records, run, row))
    settings, rest = sections[:2], sections[2:]
    return {
        "title": str(run),
        "slug": slug(run),
        "state": html_runs.state(records, run),
        "neighbors": [
            (direction, slug(other), site.name(other))
            for direction, other in (("previous", before), ("next", after))
            if other
        ],
        "settings": ["\n".join(writer.section(section)) for section in settings],
        "charts": charts(site.store.run_folder(run) / "history.csv"),
        "body": "\n".join(line for section in rest for line in writer.section(section)),
    }


def _catalog(site: Site, rows: dict[Run, Row]) -> list[dict[str, Any]]:
    """What the page of two runs knows of each: its name, its surfaces and its numbers."""
    return [
        {
            "slug": slug(run),
            "group": site.name(run, without=("activation", "optimizer", "weight_decay", "seed")),
            "name": site.name(run, without=("dataset", "architecture")),
            "title": site.name(run),
            "planes": site.planes(run),
            "numbers": [(words, cell.text) for words, cell in html_runs.numbers(rows.get(run, {}))],
        }
        for run in site.runs
    ]
