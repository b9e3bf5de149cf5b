"""The report about one model as Markdown and as a page of HTML whose surfaces turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lossatlas.document.blocks import Document, Figure, names
from lossatlas.document.html import Links, Writer
from lossatlas.document.markdown import write_markdown
from lossatlas.document.pages import ASSETS, environment, write_assets, write_page, write_planes
from lossatlas.figures import interactive
from lossatlas.files import write_text
from lossatlas.model_report.content import build_document
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.measurements import Measurement
from lossatlas.results.storage import read_result

MODEL = "model"  # the key of its surfaces
NOT_THE_LOSS = ("_accuracy", "_quadratic")


@dataclass(frozen=True)
class _SurfaceLinks(Links):
    """Pictures of these planes can be turned."""

    planes: frozenset[str]

    def surface(self, figure: Figure) -> tuple[str, str] | None:
        shown = figure.run in self.planes and figure.path.endswith(("contour.png", "surface.png"))
        return (MODEL, str(figure.run)) if shown else None


def write_report(folder: Folder, made: list[Measurement], lacking: Mapping[str, str]) -> list[Path]:
    """Write report.md and report.html with its assets, from the folder alone; the same folder gives the same bytes."""
    document = build_document(folder, made, lacking)
    markdown = folder.root / "report.md"
    write_text(markdown, write_markdown(document))
    return [markdown, *_write_html(folder, document, made)]


def _write_html(folder: Folder, document: Document, made: list[Measurement]) -> list[Path]:
    assets = folder.root / ASSETS
    planes = {}
    for measurement in made:
        if folder.result(measurement.name).is_file():
            result = read_result(folder.result(measurement.name))
            if {"alpha", "beta"} <= set(result.loss.dims if "loss" in result else ()):
                planes[measurement.name] = interactive.surface_data(result, most_nodes=interactive.MOST_NODES)
    writer = Writer(_SurfaceLinks(folder.root, frozenset(planes)), "", names(document))
    body = "\n".join(line for section in document.sections for line in writer.section(section))
    page = write_page(
        folder.root / "report.html", environment(), "document", "",
        title=document.title, subtitle=document.subtitle, contents=writer.contents(document.sections), body=body,
    )  # fmt: skip
    return [page, *write_assets(assets), write_planes(assets / "planes" / f"{MODEL}.js", MODEL, planes)]
