"""How few examples a loss and a curvature rest on."""

from __future__ import annotations

import statistics

from lossatlas.document.blocks import Paragraph, Section
from lossatlas.numbers import Row, percent_text
from lossatlas.study.report import grids
from lossatlas.study.report.material import Material

COLUMNS = {
    "example_concentration_largest_share": "Largest example, of the training loss",
    "example_concentration_loss_share": "Ten largest, of the training loss",
    "example_concentration_test_largest_share": "Largest example, of the test loss",
    "example_concentration_trace_share": "Ten largest, of the trace",
}


def influence(material: Material) -> Section | None:
    """None where it was not measured."""
    rows = material.rows("runs")
    known = [name for name in COLUMNS if any(row.get(name, float("nan")) == row.get(name) for row in rows)]
    if not known:
        return None
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["activation"], row["optimizer"]), []).append(row)
    lines = [
        {"activation": activation, "optimizer": optimizer, **{name: _median(some, name) for name in known}}
        for (activation, optimizer), some in groups.items()
    ]
    columns = [
        grids.plain("Activation", "activation"),
        grids.plain("Optimizer", "optimizer"),
        *(grids.number(COLUMNS[name], name, percent_text) for name in known),
    ]
    words = (
        "A mean over examples can rest on a few of them. Where ten examples hold most of a trace, it speaks of these "
        "ten, and another draw of the data has another one."
    )
    caption = ("What the largest examples hold: medians over networks.",)
    table = grids.table("influence-table", caption, columns, lines)
    return Section("influence", "How few examples it rests on", (table, Paragraph((words,))))


def _median(rows: list[Row], name: str) -> float:
    values = [row[name] for row in rows if row[name] == row[name]]
    return statistics.median(values) if values else float("nan")
