"""Where training ended: whether the points that were measured are stationary ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lossatlas.document.blocks import Block, Paragraph, Section
from lossatlas.numbers import Row, counted, listed, loss_text, percent_text, round_percent_text
from lossatlas.probes.stationarity import RULE
from lossatlas.study.analysis.runs import RECENT, STILL
from lossatlas.study.report import grids
from lossatlas.study.report.grids import Column
from lossatlas.study.report.material import Material
from lossatlas.study.report.strips import strip_figure


def standing(material: Material) -> Section | None:
    """None where no gradient was measured."""
    rows = [row for row in material.rows("runs") if row["gradient_norm"] == row["gradient_norm"]]
    if not rows:
        return None
    still = sum(str(row["stationary"]) == "True" for row in rows)
    falls = sorted(row["recent_decrease"] for row in rows if row["recent_decrease"] == row["recent_decrease"])
    words = (
        f"{still} of {counted(len(rows), 'network')} ended at a stationary point. The others ended on a slope, and "
        "their curvature and sharpness are those of a point there."
    )
    if falls:
        words += (
            f" Over the last {RECENT} epochs the training loss fell by {percent_text(statistics.median(falls))} in the "
            f"median, by {percent_text(falls[-1])} at most."
        )
    rule = f"{RULE} Of a run it is asked besides that its training loss fell by at most {round_percent_text(STILL)} "
    rule += f"over the last {RECENT} epochs."
    pictures = [strip_figure(material, name) for name in ("recent_decrease", "gradient_norm")]
    blocks: list[Block] = [picture for picture in pictures if picture]
    return Section("standing", "Where training ended", (*blocks, Paragraph((words,)), _table(rows), Paragraph((rule,))))


def standing_words(rows: Sequence[Row]) -> str:
    """What a reader of numbers of curvature must know of the networks that they are of."""
    known = [row for row in rows if str(row.get("stationary")) in ("True", "False")]
    moving = sum(not row["stationary"] for row in known)
    if not known or not moving:
        return ""
    return f" {moving} of these {counted(len(known), 'network')} had not ended at a stationary point."


def _table(rows: Sequence[Row]) -> Block:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["activation"], row["optimizer"]), []).append(row)
    lines = [
        {
            "activation": activation,
            "optimizer": optimizer,
            "n": len(some),
            "still": sum(str(row["stationary"]) == "True" for row in some),
            **{name: _median(some, name) for name in ("gradient_norm", "gradient_norm_relative", "recent_decrease")},
        }
        for (activation, optimizer), some in groups.items()
    ]
    columns: list[Column] = [
        grids.plain("Activation", "activation"),
        grids.plain("Optimizer", "optimizer"),
        grids.count("n", "n"),
        grids.count("Stationary", "still"),
        grids.number("Gradient norm", "gradient_norm", loss_text),
        grids.number("Over that of one example", "gradient_norm_relative", loss_text),
        grids.number(f"Fall over {RECENT} epochs", "recent_decrease", percent_text),
    ]
    caption = (f"Where networks of each {listed(['activation', 'optimizer'])} ended: medians.",)
    return grids.table("standing-table", caption, columns, lines)


def _median(rows: Sequence[Row], name: str) -> float:
    values = [row[name] for row in rows if row[name] == row[name]]
    return statistics.median(values) if values else float("nan")
