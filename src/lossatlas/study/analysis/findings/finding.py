"""A statement about loss landscapes with the number and the rule that decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lossatlas.study.analysis.evidence import Measure
from lossatlas.study.analysis.rules import Rule

AXES = (
    "Datasets", "Depth", "Width", "Activation", "Optimizer", "Regularization", "Landscape geometry",
    "ConvNet and residual MLP",
)  # fmt: skip
SEEDS = "pairs of seeds"  # what is counted where the number is one of barriers
END, EQUAL_LOSS = "the end of training", "equal training loss"  # where networks are compared

# The smallest differences that matter: bounds are moved by them, to see whether a verdict hangs on them. Set by hand.
ACCURACY = 0.002  # two of the 1,024 test examples
RATIO = math.log10(1.1)  # a tenth more, where the number is the log10 of a ratio
NATS = 0.01  # of a barrier or a rise; guessing has a loss of 0.69
SHARE = 0.05
TAU = 0.05
WIDTH = 0.02  # a hundredth of the range of a slice


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement, the number that decides it, and how.

    Args:
        name: what findings.csv calls it.
        axis: one of `AXES`.
        statement: a sentence. It names the levels that it speaks of, so that a level that is added to the code later
            changes nothing.
        number: says in words what `measure` computes.
        measure: computes the number from its units.
        rule: on which side of a bound the number is stated to lie.
        needs: completes "This study has no ..." for studies without the networks that the statement is about.
        of: what is counted by n.
        log10: whether the number is the log10 of a ratio; sentences give the ratio.
        at: where the networks are compared: at the end of training, or at equal training loss.
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
    at: str = END
