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
from lossatlas.study.site.catalog import catalog
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
        write_page(assets / "compare.html", _TEMPLATES, "compare", _COMPARE, title="Two side by side"),
        write_script(assets / "runs.js", "runs", catalog(site, rows)),
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
    sections = {section.label: section for section in html_runs.sections(site, records, run, row)}
    first = [sections.pop(label) for label in ("surfaces",) if label in sections]
    beside = [sections.pop(label) for label in ("numbers", "settings")]
    return {
        "title": str(run),
        "slug": slug(run),
        "state": html_runs.state(records, run, row),
        "neighbors": [
            (direction, slug(other), site.name(other))
            for direction, other in (("previous", before), ("next", after))
            if other
        ],
        "surfaces": "\n".join(line for section in first for line in writer.section(section)),
        "settings": ["\n".join(writer.section(section)) for section in beside],
        "charts": charts(site.store.run_folder(run) / "history.csv"),
        "body": "\n".join(line for section in sections.values() for line in writer.section(section)),
    }
