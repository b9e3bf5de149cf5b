"""The data of the surfaces that turn: one script per run, since a page from disk may not read anything else."""

from __future__ import annotations

import json
import time
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
    sources = {plane: site.store.run_folder(run) / PLANES[plane] for plane in site.planes(run)}
    if not sources:
        return None
    file = planes_file(site.store, run)
    if file.is_file() and file.stat().st_mtime_ns >= max(source.stat().st_mtime_ns for source in sources.values()):
        return file
    data = {plane: interactive.surface_data(read_result(source)) for plane, source in sources.items()}
    write_text(file, f"lossatlas.receive({script(slug(run))}, {script(data)});\n")
    return file


def planes_file(store: Store, run: Run) -> Path:
    return store.root / ASSETS / "planes" / f"{slug(run)}.js"


def draw_planes(store: Store, run: Run) -> dict[str, float]:
    """`write_planes` as a job of the drawing stage."""
    start = time.perf_counter()
    with store.recording("surfaces of the report", store.run_folder(run)):
        write_planes(Site(store), run)
    return {"surfaces": time.perf_counter() - start}


def script(value: Any) -> str:
    """A value as JavaScript, safe within a `<script>` too."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
