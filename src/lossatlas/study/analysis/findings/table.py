"""The table of findings: every statement with its number, its intervals, its rule and its verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.numbers import between, counted, listed, loss_text, percent_text, round_percent_text
from lossatlas.study.analysis.evidence import Evidence
from lossatlas.study.analysis.findings.finding import Finding
from lossatlas.study.analysis.jackknife import FEWEST
from lossatlas.study.analysis.judgement import FALSE_DISCOVERIES, Judgement, controlled, judge
from lossatlas.study.analysis.rules import adjusted

COLUMNS = [
    "name", "axis", "statement", "quantity", "of", "evidence", "estimate", "low", "high", "over", "configurations_low",
    "configurations_high", "share", "n", "cells", "draws", "reversed_by", "q_value", "sensitivity", "at", "log10",
    "bound_low", "bound_high", "rule", "verdict",
]  # fmt: skip
HERE = "in this study's configurations"

RULES = (  # what each verdict wants, in words
    "Supported: the 95 % interval over draws of the data and seeds lies on the stated side of the bound. So do at "
    "least two thirds of the matched comparisons. No other factor reverses it. The decision stands with at most "
    f"{round_percent_text(FALSE_DISCOVERIES)} false discoveries among all findings.",
    "Contradicted: the same on the other side.",
    "Mixed: the interval decides, and comparisons or levels of another factor disagree.",
    f"Undecided: all else, and what rests on fewer than {FEWEST} draws and {FEWEST} cells.",
)


def finding_table(evidence: Evidence, findings: Sequence[Finding]) -> pd.DataFrame:
    """Every finding with its number, what decides it, and the verdict.

    The sentence gives a ratio as such; `estimate`, the intervals and the bounds are of its log10 where `log10` says so.
    `q_value` is the smallest rate of false discoveries among all findings at which the verdict stands.
    """
    first = [judge(finding.measure(evidence), finding.rule) for finding in findings]
    q_values = adjusted(np.array([one.p_value for one in first]))
    rows = []
    for finding, judgement, q_value in zip(findings, first, q_values, strict=True):
        judged = controlled(judgement, q_value)
        found = judged.found
        rows.append(
            {
                "name": finding.name,
                "axis": finding.axis,
                "statement": statement(finding, judged),
                "quantity": finding.number,
                "of": finding.of,
                "evidence": sentence(finding, judged),
                "estimate": found.mean,
                "low": found.low,
                "high": found.high,
                "over": found.over,
                "configurations_low": found.configurations.low,
                "configurations_high": found.configurations.high,
                "share": judged.share,
                "n": found.n,
                "cells": found.cells,
                "draws": found.draws,
                "reversed_by": judged.reversed_by,
                "q_value": q_value,
                "sensitivity": judged.sensitivity,
                "at": finding.at,
                "log10": finding.log10,
                "bound_low": finding.rule.low,
                "bound_high": finding.rule.high,
                "rule": ("log10 of the ratio " if finding.log10 else "") + finding.rule.words(),
                "verdict": judged.verdict,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "int64", "cells": "int64", "draws": "int64"})


def statement(finding: Finding, judged: Judgement) -> str:
    """What is said; of this study's configurations alone where the interval over configurations does not decide it."""
    words = finding.statement[0].upper() + finding.statement[1:]
    if judged.verdict in ("supported", "contradicted") and not judged.general:
        return f"{words.removesuffix('.')} ({HERE})."
    return words


def sentence(finding: Finding, judged: Judgement) -> str:
    """The evidence for or against a finding, with its numbers, or why there is none."""
    found = judged.found
    if not found.n:
        return f"This study has no {finding.needs}."
    number = f"{finding.number}: {_interval(finding, found.mean, found.low, found.high)}"
    said = [f"{number}{_over(judged)}, n = {found.n} {finding.of} in {counted(found.cells, 'cell')}"]
    if not math.isnan(found.configurations.low):
        ends = _ends(finding, found.configurations.low, found.configurations.high)
        said.append(f"{ends} if the cells were a sample")
    if not math.isnan(judged.share):
        said.append(f"{percent_text(judged.share)} of them on the stated side")
    if judged.levels:
        parts = [f"{one.level} {_interval(finding, one.mean, one.low, one.high)}" for one in judged.levels]
        said.append(f"reversed by {judged.reversed_by.replace('_', ' ')}: {listed(parts)}")
    if found.too_few:
        said.append(f"fewer than {FEWEST} draws and {FEWEST} cells cannot tell")
    return "; ".join(said) + "."


def _over(judged: Judgement) -> str:
    found = judged.found
    if found.over == "draws":
        return f" over {found.draws} draws of the data and their seeds"
    return " over seeds, on this draw of the data" if found.over == "seeds" else ""


def _interval(finding: Finding, mean: float, low: float, high: float) -> str:
    scale = (lambda value: 10.0**value) if finding.log10 else float
    return between(scale(mean), scale(low), scale(high), loss_text)


def _ends(finding: Finding, low: float, high: float) -> str:
    scale = (lambda value: 10.0**value) if finding.log10 else float
    return f"[{loss_text(scale(low))}, {loss_text(scale(high))}]"
