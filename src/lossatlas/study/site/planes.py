"""The data of the surfaces that turn: one script per run, since a page from disk may not read anything else."""

from __future__ import annotations

from pathlib import Path

from lossatlas.document.pages import ASSETS, write_planes
from lossatlas.figures import interactive
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.site.site import Site, slug
from lossatlas.study.store import Store


def write_planes_of(site: Site, run: Run) -> Path | None:
    """`assets/planes/<run>.js`, unless it is newer than the results that it shows; none where the run has no plane.

    Reading the results takes about nine tenths of the time that all pages take.
    """
    shown = sources(site, run)
    if not shown:
        return None
    file = planes_file(site.store, run)
    if stale(site, run):
        data = {
            plane: interactive.surface_data(read_result(source), most_nodes=interactive.MOST_NODES)
            for plane, source in shown.items()
        }
        write_planes(file, slug(run), data)
    return file


def stale(site: Site, run: Run) -> bool:
    """Whether the script is missing, or older than what it shows."""
    file, shown = planes_file(site.store, run), sources(site, run)
    if not shown:
        return False
    return not file.is_file() or file.stat().st_mtime_ns < max(one.stat().st_mtime_ns for one in shown.values())


def planes_file(store: Store, run: Run) -> Path:
    return store.root / ASSETS / "planes" / f"{slug(run)}.js"


def sources(site: Site, run: Run) -> dict[str, Path]:
    """The results of `site.planes`, by probe."""
    return {plane: site.store.result_file(run, plane) for plane in site.planes(run)}
