"""From claim to estimand: what each statement of a report is about, and what would change it."""

from __future__ import annotations

from lossatlas.document.blocks import Block, Items, Paragraph, Section
from lossatlas.numbers import Row, counted
from lossatlas.study.analysis.findings.table import RULES
from lossatlas.study.report import grids
from lossatlas.study.report.material import Material
from lossatlas.study.report.statements import findings


def claims(material: Material) -> Section | None:
    rows = findings(material)
    if not rows:
        return None
    words = (
        "Each statement stands for one quantity, of one population, from one comparison. The table says which. A "
        "statement about this study's configurations says nothing of others."
    )
    rules = Items(tuple((rule,) for rule in RULES))
    blocks: tuple[Block, ...] = (Paragraph((words,)), rules, _table(rows))
    return Section("appendix-claims", "From claim to estimand", blocks, appendix=True)


def _table(rows: list[Row]) -> Block:
    columns = [
        grids.plain("Claim", "statement"),
        grids.plain("Quantity", "quantity"),
        grids.text("Population", population),
        grids.text("Comparison", comparison),
        grids.text("Bound", lambda row: row["rule"]),
        grids.plain("Verdict", "verdict"),
        grids.text("What would change it", lambda row: row["sensitivity"] or "none of what was tried"),
    ]
    return grids.table("claims-table", ("What every claim is about.",), columns, rows)


def population(row: Row) -> str:
    """Of what other networks the statement speaks."""
    cells = counted(row["cells"], "configuration cell")
    if row["over"] == "draws":
        who = f"other draws of the data and seeds, seen in {row['draws']}"
    elif row["over"] == "seeds":
        who = f"other seeds on {counted(row['draws'], 'draw')} of the data"
    else:
        return f"these {row['n']} {'networks' if row['n'] > 1 else 'network'} alone"
    general = row["verdict"] in ("supported", "contradicted") and "this study's configurations" not in row["statement"]
    return f"{who}; {'configurations like these' if general else 'these configurations alone'} ({cells})"


def comparison(row: Row) -> str:
    """What was compared with what, and where."""
    reversed_by = f"; reversed by {row['reversed_by'].replace('_', ' ')}" if row["reversed_by"] else ""
    return f"{row['n']} {row['of']}, at {row['at']}{reversed_by}"
