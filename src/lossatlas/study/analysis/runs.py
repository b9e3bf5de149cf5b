"""What the files of a store say of each network and each pair: the rows that every other table is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.errors import InputError
from lossatlas.files import read_json
from lossatlas.probes import BY_NAME
from lossatlas.results.storage import read_result
from lossatlas.study.config import Run
from lossatlas.study.models import parse_architecture
from lossatlas.study.store import Store

CONFIGURATION = ["dataset", "architecture", "activation", "optimizer", "weight_decay"]
SPLITS = ("train", "test")
LINEAR, PATHS = "linear_connectivity", "interpolate_by_weight_decay"  # probes that whole tables are about
METRICS = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
MEASURES = (
    "spectrum_top_eigenvalue", "spectrum_trace", "epsilon_sharpness_mean", "epsilon_sharpness_adaptive_mean",
    "epsilon_sharpness_maximum", "linear_connectivity_barrier", "interpolate_rise", "interpolate_monotone",
    "random_line_width",
)  # fmt: skip
STANDING = ("gradient_norm", "gradient_norm_relative", "gradient_decrease", "stationary")  # of a point, by its probes
RECENT = 5  # epochs before the end over which the training loss may still fall
STILL = 0.05  # share of the training loss: who falls by more over RECENT epochs is still on the way (docs/study.md)


# One row per run -----------------------------------------------------------------------------------------------


def run_table(store: Store, runs: Iterable[Run] | None = None) -> pd.DataFrame:
    """Every trained run, in the study's order: its name, metrics, geometric measures, and whether it diverged.

    The measures are the columns that the study's probes declare, of the split that each names, called
    `<probe>_<column>`; a cell is empty where the result is missing. What several probes say of the same point stands
    once, without the name of a probe (`STANDING`). `recent_decrease` is the share by which the training loss fell over
    the last `RECENT` epochs; where that is more than `STILL`, the point is not `stationary`, whatever its gradient.
    Every result is read once, here. `diverged`, the last column, is left out of runs.csv.
    """
    probes = store.study.probes.of("model", "trajectory")
    wanted = store.study.runs() if runs is None else runs
    rows = [_row(store, run) for run in wanted if store.trained(run)]
    columns = {
        probe.column(name): column for probe in probes for name, column in probe.columns.items() if name not in STANDING
    }
    names = [
        *CONFIGURATION,
        "data_seed",
        "seed",
        "epochs",
        *METRICS,
        "recent_decrease",
        *STANDING,
        *columns,
        "diverged",
    ]
    table = pd.DataFrame(rows, columns=names)
    types = {name: "boolean" if column.boolean else "float64" for name, column in columns.items()}
    numbers = (*METRICS, "recent_decrease", *STANDING[:-1])
    return table.astype({"diverged": "bool", "stationary": "boolean", **dict.fromkeys(numbers, "float64"), **types})


def _row(store: Store, run: Run) -> dict[str, Any]:
    with complete(store.run_folder(run) / "metrics.json"):
        metrics = store.metrics(run)
        row = {**run.model_dump(), **{name: metrics[name] for name in ("epochs", *METRICS)}}
        row["diverged"] = metrics["status"] == "diverged"
    row["recent_decrease"] = recent_decrease(store.history(run))
    for probe in store.study.probes_of(run, "model", "trajectory"):
        file = store.result_file(run, probe.name)
        if probe.columns and file.is_file():
            with complete(file):
                result = read_result(file)
                for name, column in probe.columns.items():
                    if column.split == "train" or column.split in result.split:  # further draws have the former alone
                        value = column.value(result.sel(split=column.split))
                        row.setdefault(name if name in STANDING else probe.column(name), value)
    if row["recent_decrease"] > STILL and "stationary" in row:
        row["stationary"] = False
    return row


def recent_decrease(history: pd.DataFrame) -> float:
    """The share by which the training loss fell over the last `RECENT` epochs; NaN where there were not so many.

    >>> recent_decrease(pd.DataFrame({"epoch": range(8), "train_loss": [9, 8, 7, 6, 5, 4, 3, 3.5]}))
    0.5
    """
    before = history[history.epoch <= history.epoch.iloc[-1] - RECENT]
    if before.empty:
        return np.nan
    then, now = float(before.train_loss.iloc[-1]), float(history.train_loss.iloc[-1])
    return (then - now) / then if then > 0 else 0.0


@contextmanager
def complete(file: Path) -> Iterator[None]:
    """InputError, one line, when a file can be read but lacks what is asked of it."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{file} lacks what it should hold ({why}): delete it and run again; the rest is kept"
        ) from error


def with_shape(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with what their architecture's name says as three more columns.

    `depth` and `width` are those of multilayer perceptrons; other kinds have none. `family` is "shallow" for one
    hidden layer, "deep" for more, otherwise the kind of network.
    """
    shapes = [parse_architecture(name) for name in runs.architecture]
    mlp = [one.kind == "mlp" for one in shapes]
    return runs.assign(
        depth=pd.array([one.depth if one.kind == "mlp" else pd.NA for one in shapes], dtype="Int64"),
        width=pd.array([one.width if one.kind == "mlp" else pd.NA for one in shapes], dtype="Int64"),
        family=[
            ("shallow" if one.depth == 1 else "deep") if plain else one.kind
            for one, plain in zip(shapes, mlp, strict=True)
        ],
    )


# One row per pair of runs --------------------------------------------------------------------------------------


_VALUES_OF_PAIRS = [f"{split}_{measure}" for measure in ("barrier", "excess") for split in SPLITS]


def pair_table(store: Store) -> pd.DataFrame:
    """Every pair of seeds that was connected: configuration, data_seed, seed_a, seed_b, aligned, barriers, excesses."""
    rows = []
    for file, run in {store.pairs_file(run, LINEAR, between="seed"): run for run in store.study.runs()}.items():
        if file.is_file():
            name = dict(zip((*CONFIGURATION, "data_seed"), run.siblings, strict=True))
            with complete(file):
                for pair in read_json(file)["pairs"]:
                    rows.append({**name, **dict(zip(("seed_a", "seed_b"), pair["seeds"], strict=True)), **pair})
    return _pairs(rows, [*CONFIGURATION, "data_seed", "seed_a", "seed_b"])


def optimizer_pair_table(store: Store) -> pd.DataFrame:
    """Every pair of runs that differ in their optimizer only: name, optimizer_a, optimizer_b, aligned, barriers."""
    name = ["dataset", "architecture", "activation", "weight_decay", "data_seed", "seed"]
    rows = []
    for file, run in {store.pairs_file(run, LINEAR, between="optimizer"): run for run in store.study.runs()}.items():
        if file.is_file():
            with complete(file):
                for pair in read_json(file)["pairs"]:
                    ends = dict(zip(("optimizer_a", "optimizer_b"), pair["optimizers"], strict=True))
                    rows.append({**{field: getattr(run, field) for field in name}, **ends, **pair})
    return _pairs(rows, [*name, "optimizer_a", "optimizer_b"])


def _pairs(rows: list[dict[str, Any]], name: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*name, "aligned", *_VALUES_OF_PAIRS])
    return table.astype({"aligned": "bool", **dict.fromkeys(_VALUES_OF_PAIRS, "float64")})


def first_of_each_configuration(store: Store) -> list[Run]:
    return list({run.configuration: run for run in reversed(list(store.study.runs()))}.values())[::-1]


# Geometry beside generalization --------------------------------------------------------------------------------


def measure_table(runs: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Every run with its test loss, its generalization gap (test loss minus train loss), and `MEASURES`.

    The barrier of a run is the mean, over the pairs with this run as trained, of the barrier of the training loss.
    """
    name = [*CONFIGURATION, "data_seed", "seed"]
    trained = pairs.query("not aligned")
    ends = pd.concat([trained.assign(seed=trained[side]) for side in ("seed_a", "seed_b")])
    ends["linear_connectivity_barrier"] = ends.train_barrier
    barriers = ends.groupby(name, as_index=False)["linear_connectivity_barrier"].agg(
        lambda values: values.mean(skipna=False)
    )
    joined = runs.merge(barriers, on=name, how="left", sort=False)
    joined["generalization_gap"] = joined.test_loss - joined.train_loss
    columns = [*name, "train_loss", "test_loss", "generalization_gap", *MEASURES, "diverged"]
    return joined.reindex(columns=columns).astype({"linear_connectivity_barrier": "float64"})


# The regularization study --------------------------------------------------------------------------------------

REGULARIZATION_COLUMNS = [
    "dataset", "architecture", "activation", "optimizer", "data_seed", "seed", "weight_decay", *METRICS,
    "interpolate_by_weight_decay_penalty", "interpolate_by_weight_decay_minimum", "spectrum_top_eigenvalue",
    "spectrum_trace", "epsilon_sharpness_mean", "epsilon_sharpness_maximum", "random_line_width",
]  # fmt: skip


def regularization_runs(store: Store) -> pd.DataFrame:
    """As `run_table` for the networks of the regularization study, with their penalty and path minimum.

    The penalty is that of the final weights; the minimum is the lowest training loss, without it, on the path from
    initial to final weights. The rise of that path is measured here where the run has no interpolation of its own.
    """
    runs = list(store.study.regularization_runs())
    table = run_table(store, runs)
    files = {store.family_file(run, PATHS) for run in runs}
    found = {file: read_result(file) for file in files if file.is_file()}
    rows = []
    for run in runs:
        paths = found.get(store.family_file(run, PATHS))
        if store.trained(run):
            known = paths is not None and run.seed in paths.seed and run.weight_decay in paths.weight_decay
            rows.append(_along_path(paths, run) if known else (np.nan, np.nan, np.nan, None))
    columns = [
        "interpolate_by_weight_decay_penalty",
        "interpolate_by_weight_decay_minimum",
        "interpolate_rise",
        "interpolate_monotone",
    ]
    types = {**dict.fromkeys(columns[:3], "float64"), "interpolate_monotone": "boolean"}
    along = pd.DataFrame(rows, columns=columns).astype(types)
    own = table.reindex(columns=columns).astype(types)
    return table.assign(**{column: own[column].where(own[column].notna(), along[column]) for column in columns})


def _along_path(paths: Any, run: Run) -> tuple[Any, ...]:
    path = paths.sel(seed=run.seed, weight_decay=run.weight_decay)
    train = path.sel(split="train")
    rise, monotone = (BY_NAME["interpolate"].columns[name].value(train) for name in ("rise", "monotone"))
    return float(path.penalty.isel(alpha=-1)), float(np.min(train.loss.values)), rise, monotone


def regularization_table(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.reindex(columns=REGULARIZATION_COLUMNS)
