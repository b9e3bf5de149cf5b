"""The data of the surfaces that turn: one script per run, since a page from disk may not read anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lossatlas.figures import interactive
from lossatlas.study.config import Run
from lossatlas.study.report.html_site import ASSETS, PLANES, Site, slug
from lossatlas.study.store import Store, read_result, write_text


def write_planes(site: Site, run: Run) -> Path | None:
    """`assets/planes/<run>.js`, unless it is newer than the results that it shows; none where the run has no plane.

    Reading the results takes about nine tenths of the time that all pages take.
    """
    shown = sources(site, run)
    if not shown:
        return None
    file = planes_file(site.store, run)
    if file.is_file() and file.stat().st_mtime_ns >= max(source.stat().st_mtime_ns for source in shown):
        return file
    data = {
        plane: interactive.surface_data(read_result(source))
        for plane, source in zip(site.planes(run), shown, strict=True)
    }
    write_text(file, f"lossatlas.receive({script(slug(run))}, {script(data)});\n")
    return file


def planes_file(store: Store, run: Run) -> Path:
    return store.root / ASSETS / "planes" / f"{slug(run)}.js"


def sources(site: Site, run: Run) -> list[Path]:
    """The results that there are of `site.planes`."""
    return [site.store.run_folder(run) / PLANES[plane] for plane in site.planes(run)]


def script(value: Any) -> str:
    """A value as JavaScript, safe within a `<script>` too."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
