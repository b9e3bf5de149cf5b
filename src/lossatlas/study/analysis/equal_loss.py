"""Contrasts of curvature and sharpness at equal training loss.

Two networks that were trained to different losses differ in their curvature for that reason alone. Here the one that
was trained further is taken where it had the training loss at which the other ended: between two of its checkpoints,
where log10 of the measure is interpolated over log10 of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.results.storage import read_result
from lossatlas.study.analysis.contrasts import RESOLUTION, Matched
from lossatlas.study.analysis.runs import CONFIGURATION, complete
from lossatlas.study.analysis.statistic import Statistic
from lossatlas.study.store import Store

PROBE = "trajectory_sharpness"
ALONG = {"spectrum_top_eigenvalue": "top_eigenvalue", "epsilon_sharpness_mean": "sharpness"}  # outcome -> variable
NAME = (*CONFIGURATION, "data_seed", "seed")

Paths = Mapping[tuple[object, ...], Mapping[str, np.ndarray]]  # the name of a run -> "loss", "top_eigenvalue", ...


def training_paths(store: Store) -> Paths:
    """Of every run that has them: the training loss and what `ALONG` names at its checkpoints, as log10."""
    paths: dict[tuple[object, ...], Mapping[str, np.ndarray]] = {}
    for run in store.usable(store.study.runs()) if PROBE in store.study.probes.run else []:
        file = store.result_file(run, PROBE)
        if file.is_file():
            name = tuple(getattr(run, field) for field in NAME)
            with complete(file):
                result = read_result(file).sel(split="train")
                paths[name] = {column: resolved(result[column].values) for column in ("loss", *ALONG.values())}
    return paths


def resolved(values: ArrayLike) -> np.ndarray:
    """log10, of what is below `RESOLUTION` as of that; NaN stays NaN."""
    return np.log10(np.maximum(np.asarray(values, dtype=float), RESOLUTION))


def at_equal_loss(matched: Matched, paths: Paths, outcome: str) -> Statistic:
    """The contrast of log10 of an outcome, every unit at the highest training loss at which one of its networks ended.

    Units whose networks had no training loss in common are left out.

    Args:
        matched: the networks that are compared; their training losses are those of the last checkpoints.
        paths: of `training_paths`.
        outcome: one of `ALONG`.
    """
    if not paths or not len(matched.frame):
        return matched.mean(np.full(len(matched.frame), np.nan))
    goals = resolved(pd.Series(matched.column("train_loss")).groupby(matched.unit).transform("max"))
    names = matched.frame[list(NAME)].itertuples(index=False, name=None)
    values = [_crossing(paths.get(name), ALONG[outcome], goal) for name, goal in zip(names, goals, strict=True)]
    return matched.mean(np.array(values))


def _crossing(path: Mapping[str, np.ndarray] | None, variable: str, goal: float) -> float:
    """log10 of a variable where that of the loss last fell to `goal` on its way; NaN where it did not."""
    if path is None or not math.isfinite(goal):
        return math.nan
    loss, value = path["loss"], path[variable]
    if loss[-1] >= goal - 1e-6:  # the end itself: the run that decided the loss
        return float(value[-1])
    above = np.flatnonzero(loss[:-1] >= goal)
    if not len(above):
        return math.nan
    k = above[-1]
    part = (loss[k] - goal) / (loss[k] - loss[k + 1])
    return float(value[k] + part * (value[k + 1] - value[k]))
