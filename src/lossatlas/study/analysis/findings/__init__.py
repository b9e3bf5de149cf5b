"""What is said about loss landscapes of small networks, each statement with the number and the rule that decide it.

To add a finding, add an entry to the file of its axis. Every number is matched: it compares networks that are alike in
data set, architecture, activation, optimizer, weight decay and seed except for what the statement is about, or says
otherwise.
"""

from __future__ import annotations

from lossatlas.study.analysis.findings import (
    activation,
    data_sets,
    geometry,
    optimizer,
    other_networks,
    shape,
    weight_decay,
)
from lossatlas.study.analysis.findings.finding import AXES, Finding
from lossatlas.study.analysis.findings.table import COLUMNS, finding_table, sentence

__all__ = ["AXES", "COLUMNS", "FINDINGS", "Finding", "finding_table", "sentence"]

FINDINGS: tuple[Finding, ...] = (
    *data_sets.FINDINGS,
    *shape.FINDINGS,
    *activation.FINDINGS,
    *optimizer.FINDINGS,
    *weight_decay.FINDINGS,
    *geometry.FINDINGS,
    *other_networks.FINDINGS,
)
