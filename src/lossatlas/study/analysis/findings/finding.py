"""A statement about loss landscapes with the number and the rule that decide it."""

from __future__ import annotations

from dataclasses import dataclass

from lossatlas.study.analysis.evidence import Measure
from lossatlas.study.analysis.rules import Rule

AXES = (
    "Datasets", "Depth", "Width", "Activation", "Optimizer", "Regularization", "Landscape geometry",
    "ConvNet and residual MLP",
)  # fmt: skip
SEEDS = "pairs of seeds"  # what is counted where the number is one of barriers


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement, the number that decides it, and how.

    Args:
        name: what findings.csv calls it.
        axis: one of `AXES`.
        statement: a sentence. It names the levels that it speaks of, so that a level that is added to the code later
            changes nothing.
        number: says in words what `measure` computes.
        measure: computes the number and its interval.
        rule: decides from the interval.
        needs: completes "This study has no ..." for studies without the networks that the statement is about.
        of: what is counted by n.
        log10: whether the number is the log10 of a ratio; the sentence gives the ratio.
    """

    name: str
    axis: str
    statement: str
    number: str
    measure: Measure
    rule: Rule
    needs: str
    of: str = "matched comparisons"
    log10: bool = False
