"""The tables of a study: what its runs have in common and where they differ, from the files of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.files import write_text
from lossatlas.study.analysis.contrast_table import contrast_table
from lossatlas.study.analysis.contrasts import BARRIERS, Sample
from lossatlas.study.analysis.correlations import correlation_table
from lossatlas.study.analysis.earlier import STUDY as EARLIER_STUDY
from lossatlas.study.analysis.earlier import earlier_table
from lossatlas.study.analysis.equal_loss import training_paths
from lossatlas.study.analysis.evidence import Evidence
from lossatlas.study.analysis.findings import FINDINGS, finding_table
from lossatlas.study.analysis.runs import (
    CONFIGURATION,
    SPLITS,
    first_of_each_configuration,
    measure_table,
    optimizer_pair_table,
    pair_table,
    regularization_runs,
    regularization_table,
    run_table,
    with_shape,
)
from lossatlas.study.analysis.statistic import Estimate, mean_of_rows
from lossatlas.study.store import Store

__all__ = ["CONFIGURATION", "SPLITS", "Tables", "first_of_each_configuration", "with_shape", "write_tables"]

LEVELS = ("depth", "width", "activation", "optimizer", "architecture")

Tables = dict[str, pd.DataFrame]


def write_tables(store: Store) -> Tables:
    """Write every table to `tables/<name>.csv`, with all digits, and return them by name."""
    runs = run_table(store)
    pairs = pair_table(store)
    decayed = regularization_runs(store)
    measures = measure_table(runs, pairs)
    matrix, weight_decays = sample_of(runs, pairs), sample_of(_once(decayed, runs), pairs)
    paths = training_paths(store)
    tables = {
        "runs": runs.drop(columns="diverged"),
        "configurations": configuration_table(runs),
        **{level: level_table(runs, level) for level in LEVELS},
        "connectivity": connectivity_table(pairs),
        "alignment": alignment_table(pairs),
        "between_optimizers": between_optimizers_table(optimizer_pair_table(store)),
        "measures": measures.drop(columns="diverged"),
        "regularization": regularization_table(decayed),
        "contrasts": contrast_table(matrix, weight_decays, paths),
        "correlations": correlation_table(measures),
        "findings": finding_table(Evidence(matrix, weight_decays, measures, paths), FINDINGS),
    }
    if store.study.name == EARLIER_STUDY:
        tables["earlier"] = earlier_table(runs)
    for name, table in tables.items():
        write_text(store.root / "tables" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return tables


def sample_of(runs: pd.DataFrame, pairs: pd.DataFrame) -> Sample:
    """Networks that did not diverge, and paths between them; `aligned` paths have their barriers in other columns."""
    barriers = {f"{split}_barrier": name for split, name in BARRIERS.items()}
    return Sample(with_shape(runs.query("not diverged")), with_shape(pairs.rename(columns=barriers)))


def _once(decayed: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Networks of both studies, those that are in both with all that is known of them."""
    if decayed.empty:
        return runs
    return pd.concat([decayed, runs]).drop_duplicates([*CONFIGURATION, "data_seed", "seed"], ignore_index=True)


# Means over runs -----------------------------------------------------------------------------------------------


def level_table(runs: pd.DataFrame, level: str) -> pd.DataFrame:
    """Mean test loss and accuracy over all runs of each depth, width, activation, optimizer or architecture.

    Depth and width are those of multilayer perceptrons.

    `runs` has a column `diverged`: such runs are counted and left out of `n` and of the means.
    """
    shaped = with_shape(runs)
    order = ["depth", "width", "architecture"] if level == "architecture" else [level]
    rows = []
    for _, group in shaped.groupby(order, sort=True, dropna=level != "architecture"):  # other kinds of network last
        value = group[level].iloc[0]
        parts = {f"{name}s": ", ".join(sorted(set(group[name]))) for name in ("dataset", "activation", "optimizer")}
        rows.append({level: value, **parts, **_means_of_runs(group)})
    counts = ["datasets", "activations", "optimizers", "n", "diverged"]
    return pd.DataFrame(rows, columns=[level, *counts, *_MEANS_OF_RUNS])


def configuration_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test loss and accuracy over the seeds of each configuration, in the study's order."""
    rows = []
    for _, group in runs.groupby(CONFIGURATION, sort=False):
        name = _name(group, CONFIGURATION)
        rows.append({**name, **_means_of_runs(group)})
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "n", "diverged", *_MEANS_OF_RUNS])


_MEANS_OF_RUNS = [f"mean_{column}{part}" for column in ("test_loss", "test_accuracy") for part in ("", "_low", "_high")]


def _means_of_runs(group: pd.DataFrame) -> dict[str, float]:
    kept = group.query("not diverged")
    row: dict[str, float] = {"n": len(kept), "diverged": len(group) - len(kept)}
    for column, bounds in (("test_loss", (0.0, np.inf)), ("test_accuracy", (0.0, 1.0))):
        row |= _cells(f"mean_{column}", mean_of_rows(kept, column, CONFIGURATION, bounds=bounds).summary())
    return row


def _name(group: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    return {column: group[column].iloc[0] for column in columns}


def _cells(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


# Means over pairs of runs --------------------------------------------------------------------------------------


def connectivity_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Barriers over the pairs of each configuration, as trained and (one hidden layer) with neurons aligned."""
    rows = []
    for _, group in pairs.groupby([*CONFIGURATION, "aligned"], sort=False):
        name = _name(group, [*CONFIGURATION, "aligned"])
        row = {**name, "num_pairs": len(group)}
        for split in SPLITS:
            mean = mean_of_rows(group, f"{split}_barrier", CONFIGURATION, bounds=(0.0, np.inf))
            row |= _cells(f"mean_{split}_barrier", mean.summary())
            row[f"max_{split}_barrier"] = group[f"{split}_barrier"].to_numpy().max()
            row[f"mean_{split}_excess"] = group[f"{split}_excess"].to_numpy().mean()
        rows.append(row)
    means = [f"mean_{split}_barrier{part}" for split in SPLITS for part in ("", "_low", "_high")]
    rest = [f"{what}_{split}_{kind}" for what, kind in (("max", "barrier"), ("mean", "excess")) for split in SPLITS]
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "aligned", "num_pairs", *means, *rest])


def alignment_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """What aligning the neurons changed, pair by pair: barrier after minus barrier before, for each configuration.

    `<split>_lowered` counts the pairs whose barrier became lower.
    """
    same_pair = [*CONFIGURATION, "data_seed", "seed_a", "seed_b"]
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
                changed = group.assign(change=after - before)
            row |= _cells(f"mean_{split}_change", mean_of_rows(changed, "change", CONFIGURATION).summary())
            row[f"{split}_lowered"] = int((after < before).sum())
        rows.append(row)
    parts = ("barrier", "barrier_aligned", "change", "change_low", "change_high")
    columns = [name for split in SPLITS for name in (*(f"mean_{split}_{part}" for part in parts), f"{split}_lowered")]
    return pd.DataFrame(rows, columns=[*CONFIGURATION, "num_pairs", *columns])


def between_optimizers_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Barriers between the optimizers of one configuration: each seed is one pair, so intervals are over seeds."""
    name = ["dataset", "architecture", "activation", "weight_decay", "optimizer_a", "optimizer_b", "aligned"]
    rows = []
    for _, group in pairs.groupby(name, sort=False):
        named = _name(group, name)
        row = {**named, "num_pairs": len(group)}
        for split in SPLITS:
            mean = mean_of_rows(group, f"{split}_barrier", name, bounds=(0.0, np.inf))
            row |= _cells(f"mean_{split}_barrier", mean.summary())
            row[f"max_{split}_barrier"] = group[f"{split}_barrier"].to_numpy().max()
        rows.append(row)
    columns = [f"{what}_{split}_barrier{part}" for split in SPLITS for what, part in _OF_BARRIERS]
    return pd.DataFrame(rows, columns=[*name, "num_pairs", *columns])


_OF_BARRIERS = (("mean", ""), ("mean", "_low"), ("mean", "_high"), ("max", ""))
