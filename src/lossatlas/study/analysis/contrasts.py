"""Comparisons of networks that are alike in everything else: differences within matched cells, and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lossatlas.study.analysis.bootstrap import (
    Mean,
    generator_of,
    pair_resampling_weights,
    percentiles,
    resampling_counts,
)
from lossatlas.study.analysis.runs import CONFIGURATION, MEASURES

Level = str | int | float | bool
Outcome = str | Callable[[pd.DataFrame], ArrayLike]

FACTORS = ("dataset", "depth", "width", "architecture", "activation", "optimizer", "weight_decay")
RUN, PAIR = ("seed",), ("seed_a", "seed_b")
OUTCOMES = ("train_loss", "test_loss", "test_accuracy", *MEASURES, "interpolate_by_weight_decay_minimum")
BARRIERS = {"train": "linear_connectivity_barrier", "test": "linear_connectivity_test_barrier"}  # outcomes of pairs
RESOLUTION = 1e-7  # about the rounding of a float32 loss: what is below it is as good as nothing
POSITIVE_SKEWED = (
    "train_loss",
    "test_loss",
    "spectrum_top_eigenvalue",
    "spectrum_trace",
    "epsilon_sharpness_maximum",
    "interpolate_by_weight_decay_minimum",
)
COLUMNS = ["factor", "level_a", "level_b", "outcome", "scale", "dataset", "n", "estimate", "low", "high", "resampled"]


@dataclass(frozen=True)
class Sample:
    """What comparisons are made on: a row per network and a row per path between two seeds of one configuration.

    Both have the columns of the configuration and of its shape (`runs.with_shape`), then `seed`, or `seed_a` and
    `seed_b`, then outcomes. Barriers belong to paths, everything else to networks. Paths between `aligned` neurons
    count only in contrasts of that factor.
    """

    runs: pd.DataFrame
    pairs: pd.DataFrame


@dataclass(frozen=True)
class Contrast:
    """A weighted sum over levels of some factors, within cells whose networks have the same values of `held`.

    Where several networks of a cell have the same seed and level, their mean counts. `where` keeps only rows with
    these levels. Without factors, `weights` is `{(): 1.0}` and the contrast is the plain mean.
    """

    factors: tuple[str, ...]
    weights: Mapping[tuple[Level, ...], float]
    held: tuple[str, ...]
    where: Mapping[str, tuple[Level, ...]]


def matching(factor: str) -> tuple[str, ...]:
    """What networks must share to be compared in a factor. Depth and width are the two parts of an architecture."""
    shape = {"depth": "width", "width": "depth", "family": "width"}.get(factor)
    return tuple(shape or name if name == "architecture" else name for name in CONFIGURATION if name != factor)


def between(
    factor: str,
    a: Level | tuple[Level, ...],
    b: Level | tuple[Level, ...],
    *,
    held: Sequence[str] | None = None,
    where: Mapping[str, tuple[Level, ...]] | None = None,
) -> Contrast:
    """The mean over levels `b` minus the mean over levels `a`, matched on all other factors unless `held` says what."""
    sides = [(a if isinstance(a, tuple) else (a,), -1.0), (b if isinstance(b, tuple) else (b,), 1.0)]
    weights = {(level,): sign / len(levels) for levels, sign in sides for level in levels}
    return Contrast(factors=(factor,), weights=weights, held=tuple(held or matching(factor)), where=dict(where or {}))


def average(where: Mapping[str, tuple[Level, ...]] | None = None) -> Contrast:
    """The mean over all networks, or those with the given levels."""
    return Contrast(factors=(), weights={(): 1.0}, held=tuple(CONFIGURATION), where=dict(where or {}))


# Differences within cells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate(Mean):
    """A mean over matched units; `resampled` says what its interval comes from: "seeds", "configurations", or "".

    The units lie in `cells` matched cells, None where that is not known. Of these, `single` have too few seeds to be
    resampled: they count in the mean and add nothing to the interval.
    """

    resampled: str = ""
    cells: int | None = None
    single: int = 0


NOTHING = Estimate(0, float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Resamples:
    """The weight of each of n units in each resample, `(resamples, n)` with rows of sum 1, and where they come from.

    `weights` is None when nothing can be resampled; `resampled`, `cells` and `single` are those of `Estimate`.
    """

    weights: np.ndarray | None
    resampled: str
    cells: int
    single: int


@dataclass(frozen=True)
class Units:
    """The contrast in each matched cell and seed (or pair of seeds), `(n,)`, and how these are resampled."""

    values: np.ndarray
    resamples: Resamples

    def estimate(self, mean: float, low: float, high: float) -> Estimate:
        return Estimate(
            n=len(self.values),
            mean=mean,
            low=low,
            high=high,
            resampled="" if np.isnan(low) else self.resamples.resampled,
            cells=self.resamples.cells,
            single=self.resamples.single,
        )

    def mean(self, of: Callable[[np.ndarray], np.ndarray] = np.positive) -> Estimate:
        """Mean over the units, after `of` was taken of each, with its interval."""
        value = of(self.values)
        if not len(value):
            return NOTHING
        with np.errstate(invalid="ignore"):
            estimate = float(value.mean())
        if self.resamples.weights is None or not np.isfinite(value).all():
            return self.estimate(estimate, np.nan, np.nan)
        return self.estimate(estimate, *percentiles(self.resamples.weights @ value))


def log10(values: ArrayLike) -> np.ndarray:
    """The logarithm, −∞ for everything that is not positive, so that it does not go unseen; NaN stays NaN."""
    value = np.asarray(values, dtype=float)
    return np.where(value > 0, np.log10(np.where(value > 0, value, 1)), np.where(np.isnan(value), np.nan, -np.inf))


def units(contrast: Contrast, sample: Sample, *outcomes: Outcome) -> list[Units]:
    """The matched units of each outcome: columns of the sample, also as "log10 <column>", or functions of its runs.

    In logarithms values below `RESOLUTION`, none at all and negative ones too, count as `RESOLUTION`: one network that
    fits its data to the last bit would else decide every ratio.

    A unit stands for a cell and seed in which every level of the contrast was measured. Outcomes that were measured in
    the same units share their resamples.
    """
    frame, seeds = _source(contrast, sample, outcomes)
    for column, levels in contrast.where.items():
        frame = frame.iloc[np.flatnonzero(frame[column].isin(levels))]
    values = np.array([_column(frame, outcome) for outcome in outcomes]).T  # (rows, outcomes)
    index, difference = _differences(contrast, frame, values, [*contrast.held, *seeds])
    drawn: dict[bytes, Resamples] = {}
    found = []
    for value in difference.T:
        measured = ~np.isnan(value)
        if measured.tobytes() not in drawn:
            drawn[measured.tobytes()] = _resample(contrast, index.iloc[np.flatnonzero(measured)], seeds)
        found.append(Units(value[measured], drawn[measured.tobytes()]))
    return found


def _source(contrast: Contrast, sample: Sample, outcomes: Sequence[Outcome]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    of_pairs = [isinstance(outcome, str) and outcome in BARRIERS.values() for outcome in outcomes]
    if any(of_pairs) and not all(of_pairs):
        raise ValueError(f"outcomes {outcomes} belong to networks and to paths: wanted one kind at a time")
    if not any(of_pairs):
        return sample.runs, RUN
    return (sample.pairs if "aligned" in contrast.factors else sample.pairs.query("not aligned")), PAIR


def _column(frame: pd.DataFrame, outcome: Outcome) -> np.ndarray:
    if callable(outcome):
        return np.asarray(outcome(frame), dtype=float)
    name = outcome.removeprefix("log10 ")
    if name not in frame:
        return np.full(len(frame), np.nan)
    value = frame[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    # NaN stays NaN, and an infinite loss infinite.
    return log10(np.where(value < RESOLUTION, RESOLUTION, value)) if name != outcome else value


def _differences(
    contrast: Contrast, frame: pd.DataFrame, values: np.ndarray, index: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The names of the units, and the weighted sum over the levels, `(units, outcomes)`; NaN without all of them."""
    named = np.logical_and.reduce([frame[name].notna().to_numpy() for name in index])  # a ConvNet, say, has no depth
    frame, values = frame.iloc[np.flatnonzero(named)], values[named]
    groups = frame.groupby(index, sort=True).ngroup().to_numpy(dtype=int)
    present, first, unit = np.unique(groups, return_index=True, return_inverse=True)
    names = frame[index].iloc[first].reset_index(drop=True)
    total = np.zeros((len(present), values.shape[1]))
    infinite = np.zeros(total.shape, dtype=bool)
    for levels, weight in contrast.weights.items():
        rows = np.ones(len(unit), dtype=bool)
        for factor, level in zip(contrast.factors, levels, strict=True):
            rows = rows & (frame[factor] == level).fillna(False).to_numpy(dtype=bool)
        sums = np.zeros(total.shape)
        np.add.at(sums, unit[rows], values[rows])
        with np.errstate(invalid="ignore"):  # 0/0 where the level was not measured; infinities of both signs
            mean = sums / np.bincount(unit[rows], minlength=len(present))[:, None]
            total += weight * mean
        infinite |= np.isinf(mean)
    return names, np.where(infinite & np.isnan(total), np.inf, total)


def _resample(contrast: Contrast, rows: pd.DataFrame, seeds: tuple[str, ...]) -> Resamples:
    """Resamples of the units that `rows` names.

    Seeds are resampled within each cell; cells with too few are left as they are. Where all cells have too few, whole
    cells are resampled within each data set.
    """
    rng = generator_of(rows)
    cell = rows.groupby(list(contrast.held), sort=True).ngroup().to_numpy(dtype=int)
    first, sizes = np.unique(cell, return_index=True, return_counts=True)[1:]
    if seeds == PAIR:
        weights = pair_resampling_weights(cell, rows[list(PAIR)].to_numpy(), rng=rng)
        ends = pd.DataFrame({"cell": np.tile(cell, 2), "seed": rows[list(PAIR)].to_numpy().T.ravel()})
        single = int((ends.groupby("cell").seed.nunique() < 3).sum())
    else:
        counts = resampling_counts(cell, rng=rng)
        weights = None if counts is None else counts / len(cell)
        single = int((sizes < 2).sum())
    if weights is not None:
        return Resamples(weights, "seeds", len(sizes), single)
    dataset = rows["dataset"].to_numpy()[first] if "dataset" in rows else np.zeros(len(first))
    counts = resampling_counts(dataset, rng=rng)
    if counts is None:
        return Resamples(None, "", len(sizes), single)
    weights = counts[:, cell]
    return Resamples(weights / weights.sum(axis=1, keepdims=True), "configurations", len(sizes), 0)


# Every comparison of two levels --------------------------------------------------------------------------------


def contrast_table(matrix: Sample, weight_decays: Sample) -> pd.DataFrame:
    """Every two levels of every factor, level b minus level a, matched on all other factors, seed by seed.

    A row needs at least one matched pair; `n` counts them. The interval resamples the seeds within the cells, those of
    both levels together, for barriers the nodes of their pairs; a cell with too few seeds adds nothing to it. Where
    all cells have too few, `resampled` says "configurations": whole cells are resampled within each data set. With
    several data sets there is a row for all of them and one for each. What is positive and skewed has a row of scale
    log10 too.
    """
    rows = []
    for factor in FACTORS:
        sample = weight_decays if factor == "weight_decay" else matrix
        datasets = list(dict.fromkeys(sample.runs.dataset))
        scopes = [None, *datasets] if factor != "dataset" and len(datasets) > 1 else [None]
        for a, b in _pairs_of_levels(sample.runs[factor].dropna().tolist()):
            for scope in scopes:
                contrast = between(factor, a, b, where={"dataset": (scope,)} if scope else None)
                for outcome, scale, found in _outcomes(contrast, sample):
                    mean = found.mean()
                    if mean.n:
                        rows.append(
                            {
                                "factor": factor,
                                "level_a": a,
                                "level_b": b,
                                "outcome": outcome,
                                "scale": scale,
                                "dataset": scope or "all",
                                "n": mean.n,
                                "estimate": mean.mean,
                                "low": mean.low,
                                "high": mean.high,
                                "resampled": mean.resampled,
                            }
                        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"n": "int64", **dict.fromkeys(("estimate", "low", "high"), "float64")})


def _outcomes(contrast: Contrast, sample: Sample) -> Iterator[tuple[str, str, Units]]:
    of_runs = [outcome for outcome in OUTCOMES if outcome in sample.runs]
    skewed = [f"log10 {outcome}" for outcome in of_runs if outcome in POSITIVE_SKEWED]
    for names in ([*of_runs, *skewed], [BARRIERS["train"]]):
        for name, found in zip(names, units(contrast, sample, *names) if names else [], strict=True):
            yield name.removeprefix("log10 "), "log10" if name.startswith("log10 ") else "linear", found


def _pairs_of_levels(column: list[Level]) -> list[tuple[Level, Level]]:
    """Numbers ascend; names stand as in the study."""
    levels = list(dict.fromkeys(column))
    if not any(isinstance(level, str) for level in levels):
        levels = sorted(levels)
    return [(a, b) for i, a in enumerate(levels) for b in levels[i + 1 :]]
