"""Every comparison of two levels of a factor, as a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lossatlas.study.analysis.contrasts import BARRIERS, Contrast, Level, Matched, Sample, between
from lossatlas.study.analysis.equal_loss import ALONG, Paths, at_equal_loss
from lossatlas.study.analysis.runs import MEASURES
from lossatlas.study.analysis.statistic import Statistic

FACTORS = ("dataset", "depth", "width", "architecture", "activation", "optimizer", "weight_decay")
OUTCOMES = ("train_loss", "test_loss", "test_accuracy", *MEASURES, "interpolate_by_weight_decay_minimum")
POSITIVE_SKEWED = (
    "train_loss",
    "test_loss",
    "spectrum_top_eigenvalue",
    "spectrum_trace",
    "epsilon_sharpness_mean",
    "epsilon_sharpness_adaptive_mean",
    "epsilon_sharpness_maximum",
    "interpolate_by_weight_decay_minimum",
)
COLUMNS = [
    "factor", "level_a", "level_b", "outcome", "scale", "at", "dataset", "n", "cells", "draws", "estimate", "low",
    "high", "over", "configurations_low", "configurations_high", "share",
]  # fmt: skip


def contrast_table(matrix: Sample, weight_decays: Sample, paths: Paths) -> pd.DataFrame:
    """Every two levels of every factor, level b minus level a, matched on all other factors, draw and seed.

    A row needs at least one matched unit; `n` counts them. `low`, `high` are over draws of the data and seeds, or over
    seeds alone where `over` says so; `configurations_low` and `_high` if the cells were a sample; `share` is that of
    the units with the sign of the estimate. With several data sets there is a row for all of them and one for each.
    What is positive and skewed has a row of scale log10 too; for curvature and sharpness there is another one at equal
    training loss (`at`), on the units whose training passed through one loss.

    Args:
        matrix: the networks of the study's matrix.
        weight_decays: those and the networks of the regularization study.
        paths: what was measured along training (`equal_loss.training_paths`).
    """
    rows = []
    for factor in FACTORS:
        sample = weight_decays if factor == "weight_decay" else matrix
        datasets = list(dict.fromkeys(sample.runs.dataset))
        scopes = [None, *datasets] if factor != "dataset" and len(datasets) > 1 else [None]
        for a, b in _pairs_of_levels(sample.runs[factor].dropna().tolist()):
            for scope in scopes:
                contrast = between(factor, a, b, where={"dataset": (scope,)} if scope else None)
                name = {"factor": factor, "level_a": a, "level_b": b, "dataset": scope or "all"}
                for outcome, scale, at, found in _outcomes(contrast, sample, paths):
                    if found.n:
                        rows.append({**name, "outcome": outcome, "scale": scale, "at": at, **_measured(found)})
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ("estimate", "low", "high", "configurations_low", "configurations_high", "share")
    return table.astype({"n": "int64", "cells": "int64", "draws": "int64", **dict.fromkeys(numbers, "float64")})


def _measured(found: Statistic) -> dict[str, float | str]:
    summary = found.summary()
    assert found.values is not None
    agreeing = np.sign(found.values) == np.sign(summary.mean)
    return {
        "n": summary.n,
        "cells": summary.cells,
        "draws": summary.draws,
        "estimate": summary.mean,
        "low": summary.low,
        "high": summary.high,
        "over": summary.over,
        "configurations_low": summary.configurations.low,
        "configurations_high": summary.configurations.high,
        "share": float(agreeing.mean()),
    }


def _outcomes(contrast: Contrast, sample: Sample, paths: Paths) -> Iterator[tuple[str, str, str, Statistic]]:
    networks, pairs = (Matched.of(contrast, sample, pairs=flag) for flag in (False, True))
    for outcome in OUTCOMES:
        matched = pairs if outcome in BARRIERS.values() else networks
        if outcome in matched.frame:
            yield outcome, "linear", "end", matched.mean(matched.column(outcome))
            if outcome in POSITIVE_SKEWED:
                yield outcome, "log10", "end", matched.mean(matched.column(f"log10 {outcome}"))
    for outcome in ALONG:
        yield outcome, "log10", "equal loss", at_equal_loss(networks, paths, outcome)


def _pairs_of_levels(column: list[Level]) -> list[tuple[Level, Level]]:
    """Numbers ascend; names stand as in the study."""
    levels = list(dict.fromkeys(column))
    if not any(isinstance(level, str) for level in levels):
        levels = sorted(levels)
    return [(a, b) for i, a in enumerate(levels) for b in levels[i + 1 :]]
