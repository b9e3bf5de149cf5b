"""The numbers that decide findings: from the tables of a study to a statistic, with the units that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lossatlas.study.analysis.contrasts import Contrast, Level, Matched, Outcome, Sample, average, between, units
from lossatlas.study.analysis.correlations import correlation
from lossatlas.study.analysis.equal_loss import Paths, at_equal_loss
from lossatlas.study.analysis.rules import ROUNDING
from lossatlas.study.analysis.runs import CONFIGURATION
from lossatlas.study.analysis.statistic import Statistic


@dataclass(frozen=True)
class Evidence:
    """What findings are decided from."""

    matrix: Sample
    weight_decays: Sample  # the networks of the matrix and of the regularization study
    measures: pd.DataFrame  # a row per network: its measures beside what it generalizes
    paths: Paths  # what was measured along training


Measure = Callable[[Evidence], Statistic | None]  # None where the study has no networks for it

DATA_SETS: tuple[Level, ...] = ("moons", "circles", "gaussians", "xor")  # those that findings speak of, named there
MLP: tuple[Level, ...] = ("shallow", "deep")
SMOOTH: tuple[Level, ...] = ("relu", "gelu")
OVER_ARCHITECTURES = ("dataset", "activation", "optimizer", "weight_decay")  # held while architectures are averaged


# From a contrast to its number -----------------------------------------------------------------------------------


def mean_of(contrast: Contrast, outcome: Outcome) -> Measure:
    return lambda evidence: units(contrast, evidence.matrix, outcome)


def mean_over_weight_decays(contrast: Contrast, outcome: Outcome) -> Measure:
    return lambda evidence: units(contrast, evidence.weight_decays, outcome)


def equal_loss_mean_of(contrast: Contrast, outcome: str) -> Measure:
    """The mean of a contrast of log10 of an outcome at equal training loss."""
    return lambda evidence: at_equal_loss(Matched.of(contrast, evidence.matrix, pairs=False), evidence.paths, outcome)


def share_above_zero(contrast: Contrast, outcome: Outcome) -> Measure:
    """The share of matched units in which the contrast is positive."""
    return lambda evidence: units(contrast, evidence.matrix, outcome).mapped(
        lambda value: 1.0 * (value > ROUNDING), share=True
    )


def share_of(outcome: str, holds: Callable[[pd.Series], pd.Series], where: Mapping[str, tuple[Level, ...]]) -> Measure:
    """The share of networks of which something holds."""

    def measure(evidence: Evidence) -> Statistic | None:
        if outcome not in evidence.matrix.runs:
            return None
        held = units(average(where), evidence.matrix, lambda runs: _indicator(pd.Series(runs[outcome]), holds))
        return held.mapped(np.positive, share=True)

    return measure


def _indicator(column: pd.Series, holds: Callable[[pd.Series], pd.Series]) -> np.ndarray:
    known = column.notna().to_numpy()
    value = holds(column).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return np.where(known, value, np.nan)


def relative_to(level: Level, contrast: Contrast, outcome: Outcome) -> Measure:
    """The mean contrast as a share of the mean at `level`, over the same units."""
    base = replace(contrast, weights={**dict.fromkeys(contrast.weights, 0.0), (level,): 1.0})

    def measure(evidence: Evidence) -> Statistic:
        change, before = (units(one, evidence.matrix, outcome) for one in (contrast, base))
        top, bottom = change.values, before.values
        assert top is not None
        assert bottom is not None

        def ratio(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return (weights @ top) / (weights @ bottom)

        return replace(change, values=None, function=ratio)

    return measure


# Of single networks ----------------------------------------------------------------------------------------------


def share_of_concentrated_traces(evidence: Evidence) -> Statistic | None:
    """The share of networks whose trace, which can be negative off a minimum, is less than ten top eigenvalues."""
    if "spectrum_trace" not in evidence.matrix.runs:
        return None

    def concentrated(runs: pd.DataFrame) -> np.ndarray:
        return np.where(runs.spectrum_trace.notna(), runs.spectrum_trace < 10 * runs.spectrum_top_eigenvalue, np.nan)

    return units(average(), evidence.matrix, concentrated).mapped(np.positive, share=True)


# Other statistics ------------------------------------------------------------------------------------------------


def tau(measure: str, outcome: str, scope: str, *, partial: bool = False) -> Measure:
    """Kendall's tau-b of a measure and an outcome, `partial` with the training loss held."""
    return lambda evidence: correlation(
        evidence.measures.query("not diverged"), measure, outcome, scope, partial=partial
    )


def accuracy_on_the_hardest_data_set(evidence: Evidence) -> Statistic | None:
    """Mean test accuracy of all multilayer perceptrons on that of `DATA_SETS` where it is lowest; all must be there."""
    found = [
        units(average({"dataset": (name,), "family": MLP}), evidence.matrix, "test_accuracy") for name in DATA_SETS
    ]
    return min(found, key=lambda one: one.estimate) if all(one.n for one in found) else None


def sensitivity_of_xor(evidence: Evidence) -> Statistic | None:
    """Spread of the test accuracy between architectures and activations: xor minus the largest other of `DATA_SETS`.

    The spread of a data set is the standard deviation of the means of each architecture and activation, over draws and
    seeds. What these add to it is the same for all data sets, about, and left in.
    """
    runs = evidence.matrix.runs
    runs = runs.iloc[np.flatnonzero(runs.dataset.isin(DATA_SETS))].reset_index(drop=True)
    if set(runs.dataset) != set(DATA_SETS):
        return None
    kinds = {
        name: pd.get_dummies(runs.architecture + " " + runs.activation).to_numpy(dtype=float)
        * (runs.dataset == name).to_numpy()[:, None]
        for name in DATA_SETS
    }
    accuracy = runs.test_accuracy.to_numpy()

    def difference(weights: np.ndarray) -> np.ndarray:  # (r, n) -> (r,)
        spread = {}
        for name, kind in kinds.items():
            counts = weights @ kind
            with np.errstate(invalid="ignore"):
                means = np.where(counts > 0, ((weights * accuracy) @ kind) / counts, np.nan)
            spread[name] = np.nanstd(means, axis=1)
        return spread.pop("xor") - np.maximum.reduce(list(spread.values()))

    return Statistic(runs[[*CONFIGURATION, "data_seed", "seed"]], tuple(CONFIGURATION), function=difference)


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
