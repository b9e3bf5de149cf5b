"""The findings of a study at a glance: a forest plot, and the table behind it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

from lossatlas.document.blocks import Block, Figure, Items, Link, Paragraph, Reference, Section, Text
from lossatlas.execution.drawing import save
from lossatlas.figures.forest import ForestRow, fits, forest
from lossatlas.numbers import Row, between, counted, loss_text, percent_text
from lossatlas.study.analysis.findings.table import RULES
from lossatlas.study.report import grids
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import findings, verdicts
from lossatlas.study.store import Store

DPI = 150
PAGE = 14  # statements in one figure: a page of paper, or three screens of a phone


def verdicts_section(material: Material) -> Section:
    """The forest plot, what was counted, and every statement with what it rests on."""
    rows, every = findings(material), material.rows("findings")
    if not every:
        return Section("findings", "What was found", (Paragraph(("No findings have been evaluated.",)),))
    figures: list[Block] = [
        Figure(
            f"forest-{page}",
            ("Findings: estimate, interval over draws and seeds, interval over configurations, bound and verdict.",)
            if not page
            else ("Findings, continued.",),
            material.target(file),
            narrow=material.target(narrow) if narrow.is_file() else None,
        )
        for page, (file, narrow) in enumerate(_drawn(material.store))
    ]
    absent = len(every) - len(rows)
    words = f"Of {counted(len(rows), 'statement')} that this study can speak of, {verdicts(rows)}."
    if absent:
        words += f" {counted(absent, 'more statement')} would need networks or measurements that it lacks."
    sources: Text = (
        "What each speaks of is in ", Reference("appendix-claims"), ". All digits are in ",
        Link("tables/findings.csv", "tables/findings.csv"), ".",
    )  # fmt: skip
    rules = Items(tuple((rule,) for rule in RULES))
    table = [_table(rows)] if rows else []
    return Section("findings", "What was found", (*figures, Paragraph((words,)), rules, *table, Paragraph(sources)))


def _table(rows: list[Row]) -> Block:
    columns = [
        grids.plain("Axis", "axis"),
        grids.plain("Statement", "statement"),
        grids.text("Verdict", lambda row: row["verdict"]),
        grids.text("Number", number),
        grids.text("Agreeing", lambda row: "–" if math.isnan(row["share"]) else percent_text(row["share"])),
        grids.text("What would change it", lambda row: row["sensitivity"] or "none of what was tried"),
    ]
    return grids.table("key-findings", ("Every statement with its number and its verdict.",), columns, rows)


def number(row: Row) -> str:
    """The estimate with its interval over draws and seeds; a ratio as such."""
    scale = (lambda value: 10.0**value) if row["log10"] else float
    return between(scale(row["estimate"]), scale(row["low"]), scale(row["high"]), loss_text)


# The plot --------------------------------------------------------------------------------------------------------


def _place(store: Store, page: int, *, narrow: bool) -> Path:
    return store.root / "figures" / f"findings_{page}{'_narrow' if narrow else ''}.png"


def _drawn(store: Store) -> list[tuple[Path, Path]]:
    """The pages of the plot for a wide screen, each with one for a narrow screen, as far as they were drawn."""
    pages = []
    while (file := _place(store, len(pages), narrow=False)).is_file():
        pages.append((file, _place(store, len(pages), narrow=True)))
    return pages


def draw_forest(material: Material) -> None:
    """Draw the findings that the study can speak of, for wide and for narrow screens; what was there before is gone."""
    for old in material.store.root.glob("figures/findings_*.png"):
        old.unlink()
    pages = list(_pages([_forest_row(row) for row in findings(material)]))
    for page, rows in enumerate(pages):
        title = f"What was found ({page + 1} of {len(pages)})"
        for narrow in (False, True):
            (figure,) = forest(rows, title, narrow=narrow)
            save(figure, _place(material.store, page, narrow=narrow), dpi=DPI)


def _pages(rows: list[ForestRow]) -> Iterator[list[ForestRow]]:
    """Rows that make one figure, wide and narrow: whole axes as far as they fit, a longer axis is cut."""
    page: list[ForestRow] = []
    for _, group in itertools.groupby(rows, key=lambda row: row.group):
        axis = list(group)
        if page and not _fits([*page, *axis]):
            yield page
            page = []
        for row in axis:
            if not _fits([*page, row]):
                yield page
                page = []
            page.append(row)
    if page:
        yield page


def _fits(rows: list[ForestRow]) -> bool:
    return len(rows) <= PAGE and all(fits(rows, narrow=narrow) for narrow in (False, True))


def _forest_row(row: Row) -> ForestRow:
    return ForestRow(
        statement=row["statement"],
        group=row["axis"],
        estimate=row["estimate"],
        low=row["low"],
        high=row["high"],
        configurations_low=row["configurations_low"],
        configurations_high=row["configurations_high"],
        bound=(row["bound_low"], row["bound_high"]),
        verdict=row["verdict"],
        number=number(row),
    )
