"""The numbers that decide findings: functions from the results of a study to a mean with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lossatlas.study.analysis.bootstrap import generator_of, percentiles, resampling_counts
from lossatlas.study.analysis.contrasts import (
    NOTHING,
    Contrast,
    Estimate,
    Level,
    Outcome,
    Sample,
    Units,
    average,
    between,
    log10,
    units,
)
from lossatlas.study.analysis.rules import ROUNDING
from lossatlas.study.analysis.runs import CONFIGURATION


@dataclass(frozen=True)
class Evidence:
    """What findings are decided from."""

    matrix: Sample
    weight_decays: Sample  # the networks of the matrix and of the regularization study
    correlations: pd.DataFrame


Measure = Callable[[Evidence], Estimate]

DATA_SETS: tuple[Level, ...] = ("moons", "circles", "gaussians", "xor")  # those that findings speak of, named there
MLP: tuple[Level, ...] = ("shallow", "deep")
SMOOTH: tuple[Level, ...] = ("relu", "gelu")
OVER_ARCHITECTURES = ("dataset", "activation", "optimizer", "weight_decay")  # held while architectures are averaged


# From a contrast to its number -----------------------------------------------------------------------------------


def mean_of(contrast: Contrast, outcome: Outcome) -> Measure:
    return lambda evidence: units(contrast, evidence.matrix, outcome)[0].mean()


def mean_over_weight_decays(contrast: Contrast, outcome: Outcome) -> Measure:
    return lambda evidence: units(contrast, evidence.weight_decays, outcome)[0].mean()


def share_above_zero(contrast: Contrast, outcome: Outcome) -> Measure:
    """The share of matched cells and seeds in which the contrast is positive."""
    return lambda evidence: units(contrast, evidence.matrix, outcome)[0].mean(lambda value: 1.0 * (value > ROUNDING))


def relative_to(level: Level, contrast: Contrast, outcome: Outcome) -> Measure:
    """The mean contrast as a share of the mean at `level`, over the same units."""
    weights = {**dict.fromkeys(contrast.weights, 0.0), (level,): 1.0}
    base = replace(contrast, weights=weights)

    def measure(evidence: Evidence) -> Estimate:
        change, before = (units(one, evidence.matrix, outcome)[0] for one in (contrast, base))
        return _ratio(change, before)

    return measure


def _ratio(top: Units, bottom: Units) -> Estimate:
    """The ratio of two means over the same units, resampled together."""
    if not len(top.values) or not bottom.values.mean():
        return top.estimate(math.nan, math.nan, math.nan)
    estimate = float(top.values.mean() / bottom.values.mean())
    if top.resamples.weights is None:
        return top.estimate(estimate, math.nan, math.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (top.resamples.weights @ top.values) / (top.resamples.weights @ bottom.values)
    return top.estimate(estimate, *percentiles(draws))


# Of single networks ----------------------------------------------------------------------------------------------


def is_at_least(outcome: str, value: float) -> Outcome:
    return lambda runs: (runs[outcome] >= value).to_numpy(dtype=float)


def is_at_most(outcome: str, value: float) -> Outcome:
    return lambda runs: (runs[outcome] <= value).to_numpy(dtype=float)


def log10_trace_over_top(runs: pd.DataFrame) -> np.ndarray:
    if "spectrum_trace" not in runs:
        return np.full(len(runs), np.nan)
    return log10(runs.spectrum_trace / runs.spectrum_top_eigenvalue)


# Other statistics ------------------------------------------------------------------------------------------------


def tau(measure: str, outcome: str, scope: str) -> Measure:
    """Kendall's tau-b from the table of correlations."""

    def read(evidence: Evidence) -> Estimate:
        table = evidence.correlations
        asked = (measure, outcome, scope)
        for *name, n, value, low, high in table.itertuples(index=False, name=None):
            if tuple(name) == asked:
                return Estimate(n=n, mean=value, low=low, high=high, resampled="" if math.isnan(low) else "seeds")
        return NOTHING

    return read


def accuracy_on_the_hardest_data_set(evidence: Evidence) -> Estimate:
    """Mean test accuracy of all multilayer perceptrons on that of `DATA_SETS` where it is lowest; all must be there."""
    found = [
        units(average({"dataset": (name,), "family": MLP}), evidence.matrix, "test_accuracy")[0].mean()
        for name in DATA_SETS
    ]
    return min(found, key=lambda one: one.mean if one.n else -math.inf)


def sensitivity_of_xor(evidence: Evidence) -> Estimate:
    """Spread of the test accuracy between architectures and activations: xor minus the largest other of `DATA_SETS`.

    The spread of a data set is the standard deviation of the means of each architecture and activation, less what
    the seeds add to it: their variance within each configuration, over their number. Resampling the seeds adds as
    much again, so it is taken from resamples twice.
    """
    runs = evidence.matrix.runs
    runs = runs.iloc[np.flatnonzero(runs.dataset.isin(DATA_SETS))]
    if set(runs.dataset) != set(DATA_SETS):
        return NOTHING
    cells = runs.groupby(CONFIGURATION, sort=True)
    noise = cells.test_accuracy.transform("var").fillna(0.0).to_numpy()  # unbiased; a single seed shows none

    def difference(count: np.ndarray, added: int) -> np.ndarray:  # (resamples, runs) -> (resamples,)
        spread = {}
        for name in DATA_SETS:
            rows = (runs.dataset == name).to_numpy()
            kind = pd.get_dummies(runs[rows].architecture + " " + runs[rows].activation).to_numpy(dtype=float)
            means = (count[:, rows] * runs[rows].test_accuracy.to_numpy()) @ kind / (count[:, rows] @ kind)
            of_means = (noise[rows] @ kind / kind.sum(axis=0) ** 2).mean() * (1 - 1 / kind.shape[1])
            spread[name] = np.sqrt(np.maximum(means.var(axis=1) - added * of_means, 0))
        return spread.pop("xor") - np.maximum.reduce(list(spread.values()))

    (estimate,) = difference(np.ones((1, len(runs))), 1)
    cell = cells.ngroup().to_numpy(dtype=int)
    counts = resampling_counts(cell, rng=generator_of(runs.reindex(columns=[*CONFIGURATION, "seed"])))
    low, high = (math.nan, math.nan) if counts is None else percentiles(difference(counts, 2))
    sizes = np.bincount(cell)
    resampled = "" if math.isnan(low) else "seeds"
    return Estimate(
        n=len(runs),
        mean=float(estimate),
        low=low,
        high=high,
        resampled=resampled,
        cells=len(sizes),
        single=int((sizes < 2).sum()),
    )


# Contrasts that several findings share ---------------------------------------------------------------------------

_OF_BOTH = ("dataset", "architecture", "weight_decay")  # held while activation and optimizer are compared together
SMOOTH_ADAM: Mapping[str, tuple[Level, ...]] = {"activation": SMOOTH, "optimizer": ("adam",)}
FOUR_LAYERS: Mapping[str, tuple[Level, ...]] = {"depth": (4,)}

DEEPER = between("family", "shallow", "deep")
DEEPER_ARCHITECTURES = between("family", "shallow", "deep", held=OVER_ARCHITECTURES)
MODERATE_ARCHITECTURES = between("architecture", ("1x50", "1x500"), ("2x100", "4x100"), held=OVER_ARCHITECTURES)
TANH = between("activation", SMOOTH, "tanh")
DEEP_TANH = between("activation", SMOOTH, "tanh", where=FOUR_LAYERS)
DEEP_TANH_ADAM = between("activation", SMOOTH, "tanh", where={**FOUR_LAYERS, "optimizer": ("adam",)})
DEEP_TANH_AGAINST_SMOOTH_ADAM = Contrast(
    factors=("activation", "optimizer"),
    weights={("tanh", "sgd"): 0.5, ("tanh", "adam"): 0.5, ("relu", "adam"): -0.5, ("gelu", "adam"): -0.5},
    held=_OF_BOTH,
    where=FOUR_LAYERS,
)
DEEP_TANH_SGD_AGAINST_SMOOTH_ADAM = Contrast(
    factors=("activation", "optimizer"),
    weights={("tanh", "sgd"): 1.0, ("relu", "adam"): -0.5, ("gelu", "adam"): -0.5},
    held=_OF_BOTH,
    where=FOUR_LAYERS,
)
ADAM = between("optimizer", "sgd", "adam")
SGD = between("optimizer", "adam", "sgd")
ADAM_MORE_UNDER_TANH = Contrast(
    factors=("optimizer", "activation"),
    weights={
        ("adam", "tanh"): 1.0, ("sgd", "tanh"): -1.0,
        ("adam", "relu"): -0.5, ("sgd", "relu"): 0.5, ("adam", "gelu"): -0.5, ("sgd", "gelu"): 0.5,
    },
    held=_OF_BOTH,
    where={},
)  # fmt: skip
DECAY = between("weight_decay", 0.0, 1e-3)
ALIGNED = Contrast(factors=("aligned",), weights={(True,): 1.0, (False,): -1.0}, held=tuple(CONFIGURATION), where={})
EASY_DATA = between("dataset", ("moons", "xor"), ("circles", "gaussians"))
XOR = between("dataset", ("moons", "circles", "gaussians"), "xor")
CONVNETS = between("family", "deep", "conv", held=OVER_ARCHITECTURES)
RESIDUAL_MLPS = between("family", "deep", "res", held=OVER_ARCHITECTURES)
