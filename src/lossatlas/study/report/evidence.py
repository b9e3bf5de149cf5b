"""Findings, contrasts and correlations as blocks: the same words and columns in every part of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lossatlas.study.report import grids
from lossatlas.study.report.blocks import Block, Cell, Paragraph, Reference, Text
from lossatlas.study.report.grids import Column
from lossatlas.study.report.material import Material
from lossatlas.study.report.numbers import (
    MISSING,
    Row,
    between,
    counted,
    listed,
    ratio_text,
    signed_text,
    tau_text,
)

OUTCOMES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "top_eigenvalue": "top eigenvalue",
    "trace": "trace of the Hessian",
    "sharpness": "sharpness",
    "barrier": "barrier between seeds",
    "interpolation_bump": "rise on the path from initial to final weights",
    "interpolation_monotone": "share of monotone paths",
    "slice_width": "width of the random slice",
    "path_minimum": "lowest training loss on that path",
    "generalization_gap": "generalization gap",
}
VERDICTS = ("supported", "contradicted", "undecided")


def outcome_name(name: str) -> str:
    return OUTCOMES.get(name, name.replace("_", " "))


# Findings ------------------------------------------------------------------------------------------------------


def findings(material: Material, *, axes: Sequence[str] = (), words: Sequence[str] = ()) -> list[Row]:
    """The findings of some axes, or whose names have one of the words; only those that the study can speak of."""
    return [
        row
        for row in material.rows("findings")
        if row["n"] and (row["axis"] in axes or any(word in row["name"] for word in words) or not (axes or words))
    ]


def findings_table(label: str, caption: Text, rows: Sequence[Row], *, axes: bool = False) -> list[Block]:
    """Statement, evidence, verdict; nothing when there are no findings."""
    columns = [
        grids.plain("Statement", "statement"),
        grids.plain("Evidence", "evidence"),
        grids.plain("Verdict", "verdict"),
    ]
    if axes:
        columns.insert(0, grids.plain("Axis", "axis"))
    return [grids.table(label, caption, columns, rows)] if rows else []


def verdicts(rows: Sequence[Row]) -> str:
    """
    >>> verdicts([{"verdict": "supported"}, {"verdict": "undecided"}, {"verdict": "supported"}])
    '2 are supported, 0 contradicted and 1 undecided'
    """
    count = Counter(row["verdict"] for row in rows)
    return listed([f"{count[verdict]} {'are ' * (i == 0)}{verdict}" for i, verdict in enumerate(VERDICTS)])


# Contrasts -----------------------------------------------------------------------------------------------------


def contrasts(material: Material, *, factor: str = "", outcome: str = "", dataset: str = "all") -> list[Row]:
    """Differences between two levels, one row for the difference and the ratio together (`ratio`, `ratio_low`, ...)."""
    rows = [
        row
        for row in material.rows("contrasts")
        if row["dataset"] == dataset and factor in ("", row["factor"]) and outcome in ("", row["outcome"])
    ]
    ratios = {_key(row): row for row in rows if row["scale"] == "log10"}
    return [{**row, "log10": ratios.get(_key(row))} for row in rows if row["scale"] == "linear"]


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("factor", "level_a", "level_b", "outcome", "dataset"))


def contrast_table(label: str, caption: Text, rows: Sequence[Row], *, factor: bool = False) -> list[Block]:
    """Level b minus level a, and how many times as large it is where that can be said."""
    columns = [
        *([grids.text("Factor", lambda row: row["factor"].replace("_", " "))] if factor else []),
        grids.text("Compared", lambda row: f"{level(row['level_b'])} against {level(row['level_a'])}"),
        *([] if factor else [grids.text("Measure", lambda row: outcome_name(row["outcome"]))]),
        grids.count("n", "n"),
        grids.estimate("Difference", "estimate", signed_text),
        Column("Ratio", _ratio, numeric=True),
    ]
    return [grids.table(label, caption, columns, rows)] if rows else []


def _ratio(row: Row) -> Cell:
    found = row["log10"]
    if found is None:
        return Cell(MISSING)
    return Cell(between(found["estimate"], found["low"], found["high"], ratio_text), value=found["estimate"])


def level(value: object) -> str:
    return format(value, "g") if isinstance(value, float) else str(value)


def sides(row: Row) -> str:
    """Whether an interval lies on one side of 0, in words."""
    if math.isnan(row["low"]):
        return "has no interval"
    if row["low"] > 0:
        return "is larger"
    return "is smaller" if row["high"] < 0 else "cannot be told apart"


def contrast_sentences(rows: Sequence[Row]) -> list[Text]:
    """A sentence for each contrast: which level has more, by how much, from how many matched networks."""
    return [(_sentence(row),) for row in rows]


def _sentence(row: Row) -> str:
    a, b = level(row["level_a"]), level(row["level_b"])
    outcome = outcome_name(row["outcome"])
    units = "matched pairs of seeds" if row["outcome"] == "barrier" else "matched pairs of networks"
    number = f"{between(row['estimate'], row['low'], row['high'], signed_text)}, n = {row['n']} {units}"
    match sides(row):
        case "is larger":
            return f"The {outcome} is higher with {b} than with {a}: {number}."
        case "is smaller":
            return f"The {outcome} is lower with {b} than with {a}: {number}."
        case "cannot be told apart":
            return f"The {outcome} with {b} minus that with {a} is {number}: the interval holds zero."
    return f"The {outcome} with {b} minus that with {a} is {number}: too few seeds for an interval."


def matched(words: str, rows: Sequence[Row]) -> Text:
    """A caption of contrasts, and where to read how they are made."""
    resampled = {row.get("resampled") for row in rows}
    if "configurations" in resampled:
        words += " Where a configuration has too few seeds, configurations were resampled in place of seeds."
    return (f"{words} Matched pairs, see ", Reference("comparisons"), ".")


# Correlations --------------------------------------------------------------------------------------------------


def correlation_table(material: Material, label: str) -> list[Block]:
    """Rank correlations of geometry with generalization, over all runs, within data sets where there are several."""
    rows = material.rows("correlations")
    scopes = [row["scope"] for row in rows]
    scope = "within data sets" if "within data sets" in scopes else "all"
    rows = [row for row in rows if row["scope"] == scope and row["n"]]
    if not rows:
        return []
    columns = [
        grids.text("Measure", lambda row: outcome_name(row["measure"])),
        grids.text("With", lambda row: outcome_name(row["outcome"])),
        grids.count("n", "n"),
        grids.estimate("Kendall's tau-b", "tau", tau_text),
    ]
    caption = (
        "Rank correlation of geometry with generalization over the runs that did not diverge"
        f"{', compared within their data set only' if scope != 'all' else ''}. 1: the same order; -1: the opposite "
        "order; 0: none. The bracket is a 95 % bootstrap interval over seeds."
    )
    clear = [row for row in rows if not math.isnan(row["low"]) and (row["low"] > 0 or row["high"] < 0)]
    words = (
        "Does a measure of the landscape order the networks as their test loss does, or as their generalization gap "
        f"(test minus training loss)? The interval leaves out zero for {len(clear)} of "
        f"{counted(len(rows), 'correlation')}. No correlation says what causes what: a network that is trained further "
        "has another loss and another landscape."
    )
    return [Paragraph((words,)), grids.table(label, (caption,), columns, rows)]
