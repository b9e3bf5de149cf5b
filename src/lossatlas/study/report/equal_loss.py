"""Curvature and sharpness of two levels at equal training loss, beside the same at the end of training."""

from __future__ import annotations

from lossatlas.document.blocks import Paragraph, Section
from lossatlas.numbers import Row, between, general_text, ratio_text
from lossatlas.study.report import grids
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import outcome_name

KEY = ("factor", "level_a", "level_b", "outcome", "dataset")


def equal_loss(material: Material) -> Section | None:
    """None where nothing was measured along training."""
    rows = [row for row in material.rows("contrasts") if row["dataset"] == "all" and row["scale"] == "log10"]
    ends = {tuple(row[name] for name in KEY): row for row in rows if row["at"] == "end"}
    matched = [
        {**row, "end": ends.get(tuple(row[name] for name in KEY))}
        for row in rows
        if row["at"] == "equal loss" and row["factor"] != "architecture"
    ]
    if not matched:
        return None
    words = (
        "A network that was trained further has another curvature for that reason alone. Here every network is taken "
        "where it had the training loss at which the other one of its pair ended, between two of its checkpoints. n "
        "counts the pairs that had a loss in common, out of those at the end of training."
    )
    columns = [
        grids.text("Factor", lambda row: row["factor"].replace("_", " ")),
        grids.text("Compared", lambda row: f"{general_text(row['level_b'])} over {general_text(row['level_a'])}"),
        grids.text("Measure", lambda row: outcome_name(row["outcome"])),
        grids.text("Ratio at the end", lambda row: _ratio(row["end"])),
        grids.text("Ratio at equal loss", _ratio),
        grids.text("n", lambda row: f"{row['n']} of {row['end']['n'] if row['end'] else 0}"),
    ]
    caption = ("Ratios at the end of training, and at equal training loss.",)
    table = grids.table("equal-loss-table", caption, columns, matched)
    return Section("equal-loss", "At equal training loss", (table, Paragraph((words,))))


def _ratio(row: Row | None) -> str:
    return "–" if row is None else between(row["estimate"], row["low"], row["high"], ratio_text)
