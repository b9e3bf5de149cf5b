"""Hand-made samples: networks whose outcomes are a formula of their names."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.study.analysis.contrasts import Sample
from lossatlas.study.analysis.runs import CONFIGURATION, with_shape

DEFAULTS: dict[str, list[Any]] = {
    "dataset": ["moons"], "architecture": ["2x100"], "activation": ["relu"], "optimizer": ["adam"],
    "weight_decay": [1e-4], "data_seed": [0], "seed": [0, 1, 2],
}  # fmt: skip
Formula = Callable[[pd.Series], float]


def networks(outcomes: dict[str, Formula], **levels: list[Any]) -> pd.DataFrame:
    """Every combination of the levels, with the outcomes as columns."""
    factors = {**DEFAULTS, **levels}
    frame = with_shape(pd.DataFrame(itertools.product(*factors.values()), columns=list(factors)))
    for name, formula in outcomes.items():
        frame[name] = [float(formula(row)) for _, row in frame.iterrows()]
    return frame


def paths(outcomes: dict[str, Formula], *, aligned: tuple[bool, ...] = (False,), **levels: list[Any]) -> pd.DataFrame:
    """Every pair of seeds of every configuration on every draw; the formulas see `seed_a`, `seed_b` and `aligned`."""
    single = networks({}, **levels)
    rows = [
        {**group.iloc[0].drop("seed"), "seed_a": a, "seed_b": b, "aligned": flag}
        for _, group in single.groupby([*CONFIGURATION, "data_seed"], sort=False)
        for a, b in itertools.combinations(group.seed, 2)
        for flag in aligned
    ]
    frame = pd.DataFrame(rows).astype({"depth": "Int64", "width": "Int64"})
    for name, formula in outcomes.items():
        frame[name] = [float(formula(row)) for _, row in frame.iterrows()]
    return frame


def sample(runs: pd.DataFrame | None = None, pairs: pd.DataFrame | None = None) -> Sample:
    no_pairs = paths({"linear_connectivity_barrier": lambda _: 0, "linear_connectivity_test_barrier": lambda _: 0})[:0]
    return Sample(networks({})[:0] if runs is None else runs, no_pairs if pairs is None else pairs)


def noise(row: pd.Series, size: float = 1.0) -> float:
    """A normal number that depends on the whole name of a network or pair."""
    text = "/".join(str(row[name]) for name in (*CONFIGURATION, "data_seed", "seed", "seed_a", "seed_b") if name in row)
    return size * float(np.random.default_rng(list(text.encode())).normal())
