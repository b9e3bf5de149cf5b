"""The report in every format and the pages beside it, at the root of the store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lossatlas.document.markdown import write_markdown
from lossatlas.document.pdf import write_pdf
from lossatlas.files import write_bytes, write_text
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.report.strips import draw_strips
from lossatlas.study.report.summary import write_pages
from lossatlas.study.report.verdicts import draw_forest
from lossatlas.study.site.write import write_html
from lossatlas.study.store import Store


def write_report(store: Store, tables: dict[str, pd.DataFrame]) -> list[Path]:
    """Write report.md, report.pdf, report.html with its assets, and the pages of the single studies.

    The same store gives the same bytes. Returns every file.
    """
    material = Material(store, tables)
    draw_forest(material)
    draw_strips(material)
    document = build_report(material)
    markdown, pdf = store.root / "report.md", store.root / "report.pdf"
    write_text(markdown, write_markdown(document))
    write_bytes(pdf, write_pdf(document, store.root))
    return [markdown, pdf, *write_html(document, material.records, tables), *write_pages(material)]
