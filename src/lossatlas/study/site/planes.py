"""The data of the surfaces that turn: one script per run, since a page from disk may not read anything else."""

from __future__ import annotations

from pathlib import Path

from lossatlas.document.pages import ASSETS, write_planes
from lossatlas.figures import interactive
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.site.site import PLANES, Site, slug
from lossatlas.study.store import Store


def write_planes_of(site: Site, run: Run) -> Path | None:
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
        plane: interactive.surface_data(read_result(source), most_nodes=interactive.MOST_NODES)
        for plane, source in zip(site.planes(run), shown, strict=True)
    }
    return write_planes(file, slug(run), data)


def planes_file(store: Store, run: Run) -> Path:
    return store.root / ASSETS / "planes" / f"{slug(run)}.js"


def sources(site: Site, run: Run) -> list[Path]:
    """The results that there are of `site.planes`."""
    return [site.store.run_folder(run) / PLANES[plane] for plane in site.planes(run)]
