"""Do measures of the landscape go along with generalization? Rank correlations over the configurations of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.study.analysis.runs import CONFIGURATION, MEASURES
from lossatlas.study.analysis.statistic import NOTHING, Estimate, Statistic

GENERALIZATION = ("test_loss", "generalization_gap")
HELD = "train_loss"
SCOPES: Mapping[str, tuple[str, ...]] = {  # what two configurations share that are compared
    "all": (),
    "within data sets": ("dataset",),
    "within data sets and optimizers": ("dataset", "optimizer"),
}
# Configurations below which a tau has no interval: with three, that of 95 % covers 60 % (docs/design/statistics.md).
LEAST_CONFIGURATIONS = 5
INTERVALS = ("low", "high", "configurations_low", "configurations_high")
COLUMNS = [
    "measure", "outcome", "scope", "n", "configurations", "tau", *INTERVALS, "partial",
    *(f"partial_{name}" for name in INTERVALS),
]  # fmt: skip


def correlation_table(measures: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b of every measure with test loss and generalization gap, and the same with the training loss held.

    A configuration counts once, by its means over draws and seeds: networks that differ in their seed alone tell little
    of what goes along with what. Scope "all" compares any two configurations, "within data sets" those of one data
    set, and "within data sets and optimizers" those of one optimizer as well. With several data sets there is a row for
    each. Runs that diverged or lack the measure are left out.

    `partial` is the partial tau: what is left when both go along with the training loss, as a network that was trained
    further has another loss and another landscape. Intervals are over draws and seeds (`low`, `high`) and if
    the configurations were a sample; of fewer than `LEAST_CONFIGURATIONS` there is none.
    """
    runs = measures.query("not diverged")
    datasets = list(dict.fromkeys(runs.dataset))
    scopes = [*SCOPES, *datasets] if len(datasets) > 1 else list(SCOPES)
    rows = []
    for measure in MEASURES:
        for scope in scopes if measure in runs and bool(runs[measure].notna().sum()) else []:
            for outcome in GENERALIZATION:
                plain, partial = (
                    _summary(correlation(runs, measure, outcome, scope, partial=held)) for held in (False, True)
                )
                name = [measure, outcome, scope, plain.n, plain.cells]
                rows.append([*name, plain.mean, *_ends(plain), partial.mean, *_ends(partial)])
    table = pd.DataFrame(rows, columns=COLUMNS)
    counts = {"n": "int64", "configurations": "int64"}
    return table.astype({**counts, **{name: "float64" for name in COLUMNS[5:]}})


def correlation(runs: pd.DataFrame, measure: str, outcome: str, scope: str, *, partial: bool) -> Statistic | None:
    """Kendall's tau-b over the means of configurations, as a function of how much each run counts; None without runs.

    Args:
        runs: of a study, with the measure and the outcome.
        measure, outcome: columns.
        scope: one of `SCOPES`, or the name of a data set.
        partial: whether the training loss is held.
    """
    if measure not in runs:
        return None
    inside = runs.loc[np.full(len(runs), True) if scope in SCOPES else (runs.dataset == scope).to_numpy()]
    known = inside.dropna(subset=[measure, outcome, HELD]).reset_index(drop=True)
    if not len(known):
        return None
    columns = known[[measure, outcome, HELD]].to_numpy(dtype="float64")  # (n, 3)
    cell = known.groupby(CONFIGURATION, sort=False).ngroup().to_numpy()
    shared = list(SCOPES.get(scope, ()))
    first = known.drop_duplicates(CONFIGURATION)
    block = first.groupby(shared, sort=False).ngroup().to_numpy() if shared else np.zeros(len(first), dtype=int)

    def of(weights: np.ndarray) -> np.ndarray:
        return np.array([_tau_of_means(columns, cell, block, row, partial=partial) for row in weights])

    names = known[[*CONFIGURATION, "data_seed", "seed"]]
    return Statistic(names, tuple(CONFIGURATION), function=of, bounds=(-1.0, 1.0))


def _summary(found: Statistic | None) -> Estimate:
    return NOTHING if found is None else found.summary()


def _ends(found: Estimate) -> list[float]:
    if found.cells < LEAST_CONFIGURATIONS:
        return [math.nan] * len(INTERVALS)
    return [found.low, found.high, found.configurations.low, found.configurations.high]


def _tau_of_means(
    columns: np.ndarray, cell: np.ndarray, block: np.ndarray, weight: np.ndarray, *, partial: bool
) -> float:
    counting = weight > 0  # nothing of the others, were they infinite
    columns, cell, weight = columns[counting], cell[counting], weight[counting]
    counts = np.bincount(cell, weight, minlength=len(block))
    kept = counts > 0
    x, y, z = (np.bincount(cell, weight * column, minlength=len(block))[kept] / counts[kept] for column in columns.T)
    tau = kendall_tau(x, y, block[kept])
    return partial_tau(tau, kendall_tau(x, z, block[kept]), kendall_tau(y, z, block[kept])) if partial else tau


# Rank correlation ----------------------------------------------------------------------------------------------


def kendall_tau(x: ArrayLike, y: ArrayLike, blocks: ArrayLike | None = None) -> float:
    """Kendall's tau-b of two measures; NaN where one of them is constant. With `blocks`, only pairs within one block.

    >>> round(kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]), 4)
    0.6667
    """
    both = np.array([x, y], dtype=float)
    if np.isnan(both).any():
        return math.nan
    ranks = [np.unique(values, return_inverse=True)[1] for values in both]  # infinities too
    signs = [np.sign(np.subtract.outer(rank, rank)) for rank in ranks]
    if blocks is not None:
        signs = [sign * np.equal.outer(blocks, blocks) for sign in signs]
    untied = np.abs(signs[0]).sum() * np.abs(signs[1]).sum()
    return float((signs[0] * signs[1]).sum() / np.sqrt(untied)) if untied else math.nan


def partial_tau(xy: float, xz: float, yz: float) -> float:
    """Tau of x and y with z held, from the three of pairs; NaN where z determines one of them.

    That of the normal distribution with these taus, after whatever monotone transformations: correlations are
    sin(π τ / 2) (Liu et al. 2012, "High-dimensional semiparametric Gaussian copula graphical models"). Kendall's own
    formula, with τ in the place of correlations, is 0.2 where x and y are z with independent noise of half its size.

    >>> [round(abs(partial_tau(*taus)), 12) for taus in ((0.5, 0, 0), (1 / 3, 0.5, 0.5))]  # sin(π/6) = sin²(π/4)
    [0.5, 0.0]
    """
    r, s, t = (math.sin(math.pi * tau / 2) for tau in (xy, xz, yz))
    left = (1 - s**2) * (1 - t**2)
    if not left > 1e-15:
        return math.nan
    return 2 / math.pi * float(np.arcsin(np.clip((r - s * t) / math.sqrt(left), -1, 1)))
