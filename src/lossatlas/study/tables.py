"""The tables of a study: what its runs have in common and where they differ, from the files of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.study.config import Probe, Run, parse_architecture
from lossatlas.study.random_streams import key
from lossatlas.study.statistics import Mean, basin_width, bootstrap_mean, bootstrap_pair_mean, largest_rise
from lossatlas.study.store import Store, read_json, read_result, write_text

CONFIGURATION = ["dataset", "architecture", "activation", "optimizer", "weight_decay"]
SPLITS = ("train", "test")
METRICS = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
LEVELS = ("depth", "width", "activation", "optimizer", "architecture")
MONOTONE = 0.01  # of the path's range: a smaller rise counts as none
BASIN_RISE = 0.1  # nats above the centre: where a slice's basin ends

Tables = dict[str, pd.DataFrame]


def write_tables(store: Store) -> Tables:
    """Write every table to `tables/<name>.csv`, with all digits, and return them by name."""
    runs = run_table(store)
    pairs = pair_table(store)
    tables = {
        "runs": runs.drop(columns="diverged"),
        "configurations": configuration_table(runs),
        **{level: level_table(runs, level) for level in LEVELS},
        "connectivity": connectivity_table(pairs),
        "alignment": alignment_table(pairs),
    }
    for name, table in tables.items():
        write_text(store.root / "tables" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return tables


# One row per run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measures:
    """The columns that one file of a run gives."""

    file: str
    columns: tuple[str, ...]
    read: Callable[[Path], tuple[Any, ...]]


def run_table(store: Store) -> pd.DataFrame:
    """Every trained run in the study's order: its name, metrics, geometric measures, and whether it diverged.

    A measure has a column when the study asked for its probe; a cell is empty where its file is missing. Measures
    are of the training split. `diverged`, the last column, is left out of runs.csv.
    """
    measures = [_MEASURES[probe] for probe in _MEASURES if probe in store.study.probes.run]
    rows = [_row(store, run, measures) for run in store.study.runs() if store.trained(run)]
    geometric = [column for measure in measures for column in measure.columns]
    table = pd.DataFrame(rows, columns=[*CONFIGURATION, "seed", *METRICS, *geometric, "diverged"])
    numbers = [*METRICS, *(column for column in geometric if column != "interpolation_monotone")]
    types = {"diverged": "bool", "interpolation_monotone": "boolean", **dict.fromkeys(numbers, "float64")}
    return table.astype({column: kind for column, kind in types.items() if column in table})


def _row(store: Store, run: Run, measures: list[_Measures]) -> dict[str, Any]:
    metrics = store.metrics(run)
    row = {**run.model_dump(), **{name: metrics[name] for name in METRICS}, "diverged": metrics["status"] == "diverged"}
    for measure in measures:
        file = store.run_folder(run) / measure.file
        if file.is_file():
            row.update(zip(measure.columns, measure.read(file), strict=True))
    return row


def _spectrum(file: Path) -> tuple[Any, ...]:
    train = read_json(file)["train"]
    return train["eigenvalues"][0], train["smallest"], train["trace"], train["trace_error"]


def _sharpness(file: Path) -> tuple[Any, ...]:
    train = read_json(file)["train"]
    return train["maximum"], train["mean_increase"]


def _interpolation(file: Path) -> tuple[Any, ...]:
    loss = read_result(file).loss.sel(split="train").values
    bump = largest_rise(loss)
    return bump, bool(bump <= MONOTONE * np.ptp(loss)) if np.isfinite(bump) else None


def _slice(file: Path) -> tuple[Any, ...]:
    line = read_result(file)
    return (basin_width(line.alpha.values, line.loss.sel(split="train").values, rise=BASIN_RISE),)


def _plane(file: Path) -> tuple[Any, ...]:
    plane = read_result(file)
    return float(plane.explained_variance.values[:2].sum()), float(plane.off_plane.max(skipna=False))


_MEASURES: dict[Probe, _Measures] = {
    "hessian": _Measures(
        "hessian/spectrum.json", ("top_eigenvalue", "smallest_eigenvalue", "trace", "trace_error"), _spectrum
    ),
    "sharpness": _Measures("sharpness/sharpness.json", ("sharpness", "sharpness_mean"), _sharpness),
    "interpolation": _Measures(
        "interpolation/interpolation.nc", ("interpolation_bump", "interpolation_monotone"), _interpolation
    ),
    "random_slice": _Measures("random_slice/slice1d.nc", ("slice_width",), _slice),
    "pca": _Measures("pca/plane.nc", ("explained_variance", "off_plane"), _plane),
}


# Means over runs -----------------------------------------------------------------------------------------------


def with_shape(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the depth and width of their architecture as two more columns."""
    shapes = [parse_architecture(name) for name in runs.architecture]
    return runs.assign(depth=[depth for depth, _ in shapes], width=[width for _, width in shapes])


def level_table(runs: pd.DataFrame, level: str) -> pd.DataFrame:
    """Mean test loss and accuracy over all runs of each depth, width, activation, optimizer or architecture.

    `runs` has a column `diverged`: such runs are counted and left out of `n` and of the means.
    """
    shaped = with_shape(runs)
    order = ["depth", "width"] if level == "architecture" else [level]
    rows = []
    for _, group in shaped.groupby(order, sort=True):
        value = group[level].iloc[0]
        parts = {f"{name}s": ", ".join(sorted(set(group[name]))) for name in ("dataset", "activation", "optimizer")}
        rows.append({level: value, **parts, **_means_of_runs(group, level, value)})
    counts = ["datasets", "activations", "optimizers", "n", "diverged"]
    return pd.DataFrame(rows, columns=[level, *counts, *_MEANS_OF_RUNS])


def configuration_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test loss and accuracy over the seeds of each configuration, in the study's order."""
    rows = []
    for _, group in runs.groupby(CONFIGURATION, sort=False):
        name = _name(group, CONFIGURATION)
        rows.append({**name, **_means_of_runs(group, "configuration", *name.values())})
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "n", "diverged", *_MEANS_OF_RUNS])


_MEANS_OF_RUNS = [f"mean_{column}{part}" for column in ("test_loss", "test_accuracy") for part in ("", "_low", "_high")]


def _means_of_runs(group: pd.DataFrame, *name: object) -> dict[str, float]:
    kept = group.query("not diverged")
    strata = list(kept[CONFIGURATION].itertuples(index=False, name=None))
    row: dict[str, float] = {"n": len(kept), "diverged": len(group) - len(kept)}
    for column in ("test_loss", "test_accuracy"):
        row |= _cells(f"mean_{column}", bootstrap_mean(kept[column], strata, rng=_rng(*name, column)))
    return row


def _name(group: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    return {column: group[column].iloc[0] for column in columns}


def _cells(name: str, found: Mean) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _rng(*name: object) -> np.random.Generator:
    return np.random.default_rng(key("bootstrap", *name))


# Means over pairs of runs --------------------------------------------------------------------------------------


def pair_table(store: Store) -> pd.DataFrame:
    """Every pair of seeds that was connected: configuration, seed_a, seed_b, aligned, barriers and excesses."""
    values = [f"{split}_{measure}" for measure in ("barrier", "excess") for split in SPLITS]
    rows = []
    for run in first_of_each_configuration(store):
        if store.barriers_file(run).is_file():
            name = dict(zip(CONFIGURATION, run.configuration, strict=True))
            for pair in read_json(store.barriers_file(run))["pairs"]:
                rows.append({**name, **dict(zip(("seed_a", "seed_b"), pair["seeds"], strict=True)), **pair})
    table = pd.DataFrame(rows, columns=[*CONFIGURATION, "seed_a", "seed_b", "aligned", *values])
    return table.astype({"aligned": "bool", **dict.fromkeys(values, "float64")})


def connectivity_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Barriers over the pairs of each configuration, as trained and (one hidden layer) with neurons aligned."""
    rows = []
    for _, group in pairs.groupby([*CONFIGURATION, "aligned"], sort=False):
        name = _name(group, [*CONFIGURATION, "aligned"])
        row = {**name, "num_pairs": len(group)}
        for split in SPLITS:
            barrier = group[f"{split}_barrier"].to_numpy()
            mean = _mean_of_pairs(group, barrier, "connectivity", *name.values(), split)
            row |= _cells(f"mean_{split}_barrier", mean)
            row[f"max_{split}_barrier"] = barrier.max()
            row[f"mean_{split}_excess"] = group[f"{split}_excess"].to_numpy().mean()
        rows.append(row)
    means = [f"mean_{split}_barrier{part}" for split in SPLITS for part in ("", "_low", "_high")]
    rest = [f"{what}_{split}_{kind}" for what, kind in (("max", "barrier"), ("mean", "excess")) for split in SPLITS]
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "aligned", "num_pairs", *means, *rest])


def alignment_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """What aligning the neurons changed, pair by pair: barrier after minus barrier before, for each configuration.

    `<split>_lowered` counts the pairs whose barrier became lower.
    """
    same_pair = [*CONFIGURATION, "seed_a", "seed_b"]
    both = pairs.query("not aligned").merge(pairs.query("aligned"), on=same_pair, suffixes=("", "_aligned"))
    rows = []
    for _, group in both.groupby(CONFIGURATION, sort=False):
        name = _name(group, CONFIGURATION)
        row = {**name, "num_pairs": len(group)}
        for split in SPLITS:
            before, after = group[f"{split}_barrier"].to_numpy(), group[f"{split}_barrier_aligned"].to_numpy()
            row[f"mean_{split}_barrier"] = before.mean()
            row[f"mean_{split}_barrier_aligned"] = after.mean()
            with np.errstate(invalid="ignore"):  # two infinite barriers have no difference: NaN says so
                difference = after - before
            change = _mean_of_pairs(group, difference, "alignment", *name.values(), split)
            row |= _cells(f"mean_{split}_change", change)
            row[f"{split}_lowered"] = int((after < before).sum())
        rows.append(row)
    parts = ("barrier", "barrier_aligned", "change", "change_low", "change_high")
    columns = [name for split in SPLITS for name in (*(f"mean_{split}_{part}" for part in parts), f"{split}_lowered")]
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "num_pairs", *columns])


def _mean_of_pairs(group: pd.DataFrame, values: np.ndarray, *name: object) -> Mean:
    return bootstrap_pair_mean(values, zip(group.seed_a, group.seed_b, strict=True), rng=_rng(*name))


def first_of_each_configuration(store: Store) -> list[Run]:
    return list({run.configuration: run for run in reversed(list(store.study.runs()))}.values())[::-1]
