"""Findings, contrasts and correlations as blocks: the same words and columns in every part of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lossatlas.document.blocks import Block, Cell, Paragraph, Reference, Text
from lossatlas.numbers import MISSING, Row, between, counted, general_text, listed, ratio_text, signed_text, tau_text
from lossatlas.study.analysis.correlations import LEAST_CONFIGURATIONS, SCOPES
from lossatlas.study.report import grids
from lossatlas.study.report.grids import Column
from lossatlas.study.report.material import Material

OUTCOMES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "spectrum_top_eigenvalue": "top eigenvalue",
    "spectrum_trace": "trace of the Hessian",
    "epsilon_sharpness_mean": "average sharpness",
    "epsilon_sharpness_adaptive_mean": "adaptive sharpness",
    "epsilon_sharpness_maximum": "largest increase nearby",
    "linear_connectivity_barrier": "barrier between seeds",
    "interpolate_rise": "rise on the path from initial to final weights",
    "interpolate_monotone": "share of monotone paths",
    "random_line_width": "width of the random slice",
    "interpolate_by_weight_decay_minimum": "lowest training loss on that path",
    "generalization_gap": "generalization gap",
}
VERDICTS = ("supported", "contradicted", "mixed", "undecided")
FACTORS = ("dataset", "depth", "width", "activation", "optimizer", "weight_decay")  # an architecture is depth and width


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
    '2 are supported, 0 contradicted, 0 mixed and 1 undecided'
    """
    count = Counter(row["verdict"] for row in rows)
    return listed([f"{count[verdict]} {'are ' * (i == 0)}{verdict}" for i, verdict in enumerate(VERDICTS)])


# Contrasts -----------------------------------------------------------------------------------------------------


def contrasts(material: Material, *, factor: str = "", outcome: str = "", dataset: str = "all") -> list[Row]:
    """Differences between two levels, one row for the difference and the ratio together (`ratio`, `ratio_low`, ...)."""
    rows = [
        row
        for row in material.rows("contrasts")
        if row["dataset"] == dataset
        and factor in ("", row["factor"])
        and outcome in ("", row["outcome"])
        and row["at"] == "end"
    ]
    ratios = {_key(row): row for row in rows if row["scale"] == "log10"}
    return [{**row, "log10": ratios.get(_key(row))} for row in rows if row["scale"] == "linear"]


def factor_table(material: Material, label: str, what: str, outcome: str) -> list[Block]:
    """What every factor does to one measure; nothing when no two networks agree in all factors but one."""
    rows = [row for factor in FACTORS for row in contrasts(material, factor=factor, outcome=outcome)]
    return contrast_table(label, matched(f"{what}: every two levels of each factor.", rows), rows, factor=True)


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("factor", "level_a", "level_b", "outcome", "dataset"))


def contrast_table(label: str, caption: Text, rows: Sequence[Row], *, factor: bool = False) -> list[Block]:
    """Level b minus level a, and how many times as large it is where that can be said."""
    columns = [
        *([grids.text("Factor", lambda row: row["factor"].replace("_", " "))] if factor else []),
        grids.text("Compared", lambda row: f"{general_text(row['level_b'])} against {general_text(row['level_a'])}"),
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
    factor = {"dataset": "data set"}.get(row["factor"], row["factor"].replace("_", " "))
    a, b = f"{factor} {general_text(row['level_a'])}", f"{factor} {general_text(row['level_b'])}"
    outcome = outcome_name(row["outcome"])
    units = "matched pairs of seeds" if row["outcome"] == "linear_connectivity_barrier" else "matched pairs of networks"
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
    if any(row["over"] == "seeds" for row in rows):
        words += " Intervals are over seeds, on the draws of the data that there are."
    return (f"{words} Matched pairs, see ", Reference("comparisons"), ".")


# Correlations --------------------------------------------------------------------------------------------------


def correlation_table(material: Material, label: str) -> list[Block]:
    """Rank correlations of geometry with generalization, over all runs and among runs that are alike, side by side."""
    rows = [row for row in material.rows("correlations") if row["n"]]
    several = len(material.study.data.datasets) > 1
    wanted = [scope for scope, shared in SCOPES.items() if several or shared != ("dataset",)]
    scopes = [scope for scope in wanted if any(row["scope"] == scope for row in rows)]
    if not scopes:
        return []
    found = {(row["measure"], row["outcome"], row["scope"]): row for row in rows}

    def tau(scope: str, *, held: bool) -> Column:
        names = ("partial", "partial_low", "partial_high") if held else ("tau", "low", "high")

        def cell(row: Row) -> Cell:
            one = found.get((row["measure"], row["outcome"], scope))
            if one is None or math.isnan(one[names[0]]):
                return Cell(MISSING)
            value, low, high = (one[name] for name in names)
            return Cell(between(value, low, high, tau_text), value=float(value))

        heading = "All" if scope == "all" else scope.capitalize()
        return Column(f"{heading}, training loss held" if held else heading, cell, numeric=True)

    columns = [
        grids.text("Measure", lambda row: outcome_name(row["measure"])),
        grids.text("With", lambda row: outcome_name(row["outcome"])),
        grids.count("n", "n"),
        *(tau(scope, held=held) for scope in scopes for held in (False, True)),
    ]
    caption = (
        "Rank correlation (Kendall's tau-b) of geometry with generalization over configurations, each by its mean: of "
        "any two, and only of those that share their data set, or that and their optimizer. 1: the same order; -1: the "
        "opposite order; 0: none. Brackets are 95 % intervals over draws and seeds; fewer than "
        f"{LEAST_CONFIGURATIONS} configurations have none. With the training loss held: what is left when both go "
        "along with it."
    )
    words = (
        "Does a measure of the landscape order the configurations as their test loss does, or as their generalization "
        f"gap (test minus training loss)? The interval leaves out zero for {_clear(rows, scopes)}. With the training "
        f"loss held it does so for {_clear(rows, scopes, held=True)}. No correlation says what causes what. A network "
        "that is trained further has another loss and another landscape."
    )
    shown = [row for row in rows if row["scope"] == scopes[0]]
    return [Paragraph((words,)), grids.table(label, (caption,), columns, shown)]


def _clear(rows: Sequence[Row], scopes: Sequence[str], *, held: bool = False) -> str:
    parts, kind = [], "partial_" if held else ""
    for scope in scopes:
        inside = [row for row in rows if row["scope"] == scope]
        clear = sum(row[f"{kind}low"] > 0 or row[f"{kind}high"] < 0 for row in inside)
        where = "over all configurations" if scope == "all" else scope
        parts.append(f"{clear} of {counted(len(inside), 'correlation')} {where}")
    return listed(parts)
