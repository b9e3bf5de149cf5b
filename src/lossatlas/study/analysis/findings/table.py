"""The table of findings: every statement with its number, its rule and its verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from lossatlas.numbers import loss_text
from lossatlas.study.analysis.contrasts import Estimate
from lossatlas.study.analysis.evidence import Evidence
from lossatlas.study.analysis.findings.finding import Finding
from lossatlas.study.analysis.rules import FEWEST, FEWEST_CELLS, too_few

COLUMNS = ["name", "axis", "statement", "evidence", "estimate", "low", "high", "n", "rule", "verdict"]


def finding_table(evidence: Evidence, findings: Sequence[Finding]) -> pd.DataFrame:
    """Every finding with its number, its rule, and the verdict that the rule gives.

    The sentence gives a ratio as such; `estimate`, `low`, `high` and the rule are of its log10.
    """
    rows = []
    for finding in findings:
        found = finding.measure(evidence)
        rows.append(
            {
                "name": finding.name,
                "axis": finding.axis,
                "statement": finding.statement[0].upper() + finding.statement[1:],
                "evidence": sentence(finding, found),
                "estimate": found.mean,
                "low": found.low,
                "high": found.high,
                "n": found.n,
                "rule": ("log10 of the ratio: " if finding.log10 else "") + finding.rule.words(),
                "verdict": finding.rule.decide(found),
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "int64", **dict.fromkeys(("estimate", "low", "high"), "float64")})


def sentence(finding: Finding, found: Estimate) -> str:
    """The evidence for or against a finding, with its numbers, or why there is none."""
    if not found.n:
        return f"This study has no {finding.needs}."
    scale = (lambda value: 10.0**value) if finding.log10 else float
    mean, low, high = (loss_text(scale(value)) for value in (found.mean, found.low, found.high))
    over = " over configurations" if found.resampled == "configurations" else ""
    few = f"; fewer than {FEWEST} or {FEWEST_CELLS} cells decide nothing" if too_few(found) else ""
    counted = f"n = {found.n} {finding.of}{_cells(found)}"
    if math.isnan(found.low):
        return f"{finding.number}: {mean}, {counted}; no interval, too few seeds{few}."
    return f"{finding.number}: {mean} [{low}, {high}]{over}, {counted}{few}."


def _cells(found: Estimate) -> str:
    if found.cells is None:
        return ""
    single = f", {found.single} of them with too few seeds for the interval" if found.single else ""
    return f" in {found.cells} {'cell' if found.cells == 1 else 'cells'}{single}"
