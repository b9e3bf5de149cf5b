"""The study `seed` beside the tables of the earlier report whose settings it has."""

from __future__ import annotations

from lossatlas.document.blocks import Paragraph, Section
from lossatlas.numbers import Form, Row, accuracy_text, between, loss_text, yes_or_no
from lossatlas.study.report import grids
from lossatlas.study.report.material import Material


def earlier(material: Material) -> Section | None:
    """None for any other study."""
    rows = material.rows("earlier")
    if not rows:
        return None
    inside = sum(str(row["inside"]) == "True" for row in rows)
    words = (
        f"An earlier report has means of one draw of two moons. {inside} of its {len(rows)} numbers lie where 95 % of "
        "single draws are expected. One draw says little: the means of a level differ that much from draw to draw."
    )
    columns = [
        grids.text("Factor", lambda row: row["factor"]),
        grids.text("Level", lambda row: str(row["level"])),
        grids.text("Mean of", lambda row: row["outcome"].replace("_", " ")),
        grids.text("Earlier", lambda row: _form(row)(row["earlier"])),
        grids.text("Here", lambda row: between(row["mean"], row["low"], row["high"], _form(row))),
        grids.text("One draw", lambda row: f"{_form(row)(row['one_draw_low'])} to {_form(row)(row['one_draw_high'])}"),
        grids.text("Inside", lambda row: yes_or_no(row["inside"])),
    ]
    caption = ("Means of the earlier report, of one draw; means here with their interval over draws.",)
    table = grids.table("earlier-table", caption, columns, rows)
    return Section("earlier", "Beside an earlier report", (table, Paragraph((words,))))


def _form(row: Row) -> Form:
    return accuracy_text if row["outcome"] == "test_accuracy" else loss_text
