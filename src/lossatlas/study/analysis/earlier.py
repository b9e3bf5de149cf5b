"""The tables of an earlier report on the settings of the study `seed`, beside the same means here."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from lossatlas.study.analysis.jackknife import FEWEST
from lossatlas.study.analysis.runs import CONFIGURATION, with_shape
from lossatlas.study.analysis.statistic import mean_of_rows

STUDY = "seed"
# Mean test loss and mean test accuracy by level, of one draw of the data.
EARLIER: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "depth": {"1": (0.0887, 0.9662), "2": (0.0448, 0.9848), "4": (0.0214, 0.9916)},
    "width": {"50": (0.0946, 0.9630), "100": (0.0246, 0.9922), "250": (0.0383, 0.9836), "500": (0.0828, 0.9694)},
    "activation": {"relu": (0.0280, 0.9941), "gelu": (0.0305, 0.9908), "tanh": (0.1004, 0.9554)},
    "optimizer": {"adam": (0.0043, 0.9997), "sgd": (0.1016, 0.9605)},
}
OUTCOMES = ("test_loss", "test_accuracy")
COLUMNS = [
    "factor", "level", "outcome", "earlier", "draws", "mean", "low", "high", "one_draw_low", "one_draw_high", "inside",
]  # fmt: skip


def earlier_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Every mean of the earlier report beside the mean here, with its interval over draws of the data.

    `one_draw_low` and `_high` hold the mean of another single draw with 95 % (a prediction interval by Student's t):
    the earlier report had one. `inside` is whether its number lies there; empty with fewer than three draws.

    Args:
        runs: of the study, with `diverged`.
    """
    shaped = with_shape(runs.query("not diverged"))
    rows = []
    for factor, levels in EARLIER.items():
        for level, numbers in levels.items():
            inside = shaped[[str(value) == level for value in shaped[factor]]]
            for outcome, number in zip(OUTCOMES, numbers, strict=True):
                rows.append([factor, level, outcome, number, *_beside(pd.DataFrame(inside), outcome, number)])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"inside": "boolean"})


def _beside(runs: pd.DataFrame, outcome: str, earlier: float) -> list[object]:
    bounds = (0.0, 1.0 if outcome.endswith("accuracy") else math.inf)
    found = mean_of_rows(runs, outcome, CONFIGURATION, bounds=bounds).summary()
    by_draw = np.array([part[outcome].mean() for _, part in runs.groupby("data_seed")])
    draws = len(by_draw)
    if draws < FEWEST:
        return [draws, found.mean, found.low, found.high, math.nan, math.nan, None]
    reach = float(stats.t.ppf(0.975, draws - 1)) * float(by_draw.std(ddof=1)) * math.sqrt(1 + 1 / draws)
    low, high = (float(np.clip(by_draw.mean() + side * reach, *bounds)) for side in (-1, 1))
    return [draws, found.mean, found.low, found.high, low, high, low <= earlier <= high]
