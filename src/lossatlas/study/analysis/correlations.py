"""Do measures of the landscape go along with generalization? Rank correlations over the runs of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.study.analysis.bootstrap import generator_of, percentiles, resampling_counts
from lossatlas.study.analysis.runs import CONFIGURATION, MEASURES

GENERALIZATION = ("test_loss", "generalization_gap")
POOLED = {  # scopes that compare all runs, but only with those that share these columns
    "within data sets": ["dataset"],
    "within data sets and optimizers": ["dataset", "optimizer"],
}
COLUMNS = ["measure", "outcome", "scope", "n", "tau", "low", "high"]


def correlation_table(measures: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b of every measure with test loss and generalization gap.

    Scope "all" compares any two runs, "within data sets" those of one data set, and "within data sets and optimizers"
    those of one optimizer as well: optimizers differ so much in loss and in curvature that comparing across them says
    little else. With several data sets there is a row for each. Runs that diverged or lack the measure are left out.
    The interval is a percentile bootstrap that resamples the seeds within each configuration; one with a single
    seed adds nothing to it. It is NaN when all have a single seed, or when a resample has a constant measure.
    """
    runs = measures.query("not diverged")
    datasets = list(dict.fromkeys(runs.dataset))
    scopes = ["all", *datasets, *POOLED] if len(datasets) > 1 else ["all", *POOLED]
    rows = []
    for measure in MEASURES:
        for scope in scopes if len(runs.dropna(subset=[measure])) else []:
            inside = runs.query("dataset == @scope") if scope in datasets else runs
            for outcome in GENERALIZATION:
                rows.append([measure, outcome, scope, *_correlation(inside, measure, outcome, scope)])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "int64", **dict.fromkeys(("tau", "low", "high"), "float64")})


def _correlation(runs: pd.DataFrame, measure: str, outcome: str, scope: str) -> tuple[int, float, float, float]:
    known = runs.dropna(subset=[measure, outcome])
    if known.empty:
        return 0, np.nan, np.nan, np.nan
    x, y = (known[name].to_numpy(dtype=float) for name in (measure, outcome))
    blocks = known.groupby(POOLED[scope], sort=False).ngroup().to_numpy() if scope in POOLED else None
    (tau,) = kendall_tau(x, y, np.ones((1, len(known))), blocks)
    configuration = known.groupby(CONFIGURATION, sort=True).ngroup().to_numpy(dtype=int)
    counts = resampling_counts(configuration, rng=generator_of(known.reindex(columns=[*CONFIGURATION, "seed"])))
    if counts is None:
        return len(known), float(tau), np.nan, np.nan
    return len(known), float(tau), *percentiles(kendall_tau(x, y, counts, blocks))


# Rank correlation ----------------------------------------------------------------------------------------------


def kendall_tau(x: ArrayLike, y: ArrayLike, counts: ArrayLike, blocks: ArrayLike | None = None) -> np.ndarray:
    """Kendall's tau-b of two measures in many resamples at once, `(resamples,)`; NaN where one of them is constant.

    `counts` says how much each of the n values counts, `(resamples, n)`: with C its rows and S the signs of the
    differences, concordant minus discordant pairs are C S Cᵀ / 2, and pairs that are no tie likewise. Copies of one
    value are ties of both measures. With `blocks`, only pairs within one block are compared, and counted over all
    blocks. Costs three products of `(resamples, n)` with `(n, n)`.

    >>> kendall_tau([1, 2, 3, 4], [1, 2, 4, 3], [[1, 1, 1, 1], [2, 1, 1, 0]])
    array([0.66666667, 1.        ])
    """
    count = np.asarray(counts, dtype=np.float32)  # relative error 1e-7, far below the spread of resamples
    signs = [_signs(np.asarray(values)) for values in (x, y)]
    if blocks is not None:
        block = np.asarray(blocks)
        signs = [sign * (block[:, None] == block) for sign in signs]
    agreement, untied_x, untied_y = (
        ((count @ matrix) * count).sum(axis=1, dtype=float)
        for matrix in (signs[0] * signs[1], np.abs(signs[0]), np.abs(signs[1]))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return agreement / np.sqrt(untied_x * untied_y)


def _signs(value: np.ndarray) -> np.ndarray:
    above = value[:, None] > value
    return above.astype(np.float32) - above.T
