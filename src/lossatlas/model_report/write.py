"""The report about one model as Markdown, as PDF, and as a page of HTML whose surfaces turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from lossatlas.document.blocks import Document, Figure, names
from lossatlas.document.html import Links, Writer
from lossatlas.document.markdown import write_markdown
from lossatlas.document.pages import ASSETS, environment, write_assets, write_page, write_planes
from lossatlas.document.pdf import missing_packages, write_pdf
from lossatlas.figures import interactive
from lossatlas.figures.plot import form
from lossatlas.files import write_bytes, write_text
from lossatlas.model_report.content import build_document
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.plan import Plan

MODEL = "model"  # the key of its surfaces


@dataclass(frozen=True)
class _SurfaceLinks(Links):
    """Pictures of these planes can be turned."""

    planes: frozenset[str]

    def surface(self, figure: Figure) -> tuple[str, str] | None:
        shown = figure.run in self.planes and figure.path.endswith(("contour.png", "surface.png"))
        return (MODEL, str(figure.run)) if shown else None


def write_report(folder: Folder, plan: Plan) -> list[Path]:
    """Write report.md, report.html with its assets, and report.pdf, from the folder alone; the same folder gives the
    same bytes.

    Returns the pages that a reader opens. There is no PDF where the packages that set it are not installed.
    """
    results = {one.name: one.read() for one in plan.measurements if one.done}
    document = build_document(folder, plan, results)
    write_text(folder.root / "report.md", write_markdown(document))
    pages = [_write_html(folder, document, results)]
    if not missing_packages():
        write_bytes(folder.root / "report.pdf", write_pdf(document, folder.root))
        pages.append(folder.root / "report.pdf")
    return pages


def _write_html(folder: Folder, document: Document, results: Mapping[str, xr.Dataset]) -> Path:
    assets = folder.root / ASSETS
    planes = {
        name: interactive.surface_data(result, most_nodes=interactive.MOST_NODES)
        for name, result in results.items()
        if form(result) == "plane"
    }
    writer = Writer(_SurfaceLinks(folder.root, frozenset(planes)), "", names(document))
    body = "\n".join(line for section in document.sections for line in writer.section(section))
    write_assets(assets)
    write_planes(assets / "planes" / f"{MODEL}.js", MODEL, planes)
    return write_page(
        folder.root / "report.html", environment(), "document", "",
        title=document.title, subtitle=document.subtitle, contents=writer.contents(document.sections), body=body,
    )  # fmt: skip
