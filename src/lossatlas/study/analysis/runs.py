"""What the files of a store say of each network and each pair: the rows that every other table is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.errors import InputError
from lossatlas.files import read_json
from lossatlas.numerics.profiles import basin_width, largest_rise
from lossatlas.results.storage import read_result
from lossatlas.study.config import Probe, Run
from lossatlas.study.models import parse_architecture
from lossatlas.study.store import Store

CONFIGURATION = ["dataset", "architecture", "activation", "optimizer", "weight_decay"]
SPLITS = ("train", "test")
METRICS = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
MEASURES = (
    "top_eigenvalue", "trace", "sharpness", "barrier", "interpolation_bump", "interpolation_monotone", "slice_width",
)  # fmt: skip
_YES_OR_NO = ("interpolation_monotone", "hessian_converged")
MONOTONE = 0.01  # of the path's range: a smaller rise counts as none
BASIN_RISE = 0.1  # nats above the centre: where a slice's basin ends


# One row per run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measures:
    """The columns that one file of a run gives."""

    file: str
    columns: tuple[str, ...]
    read: Callable[[Path], tuple[Any, ...]]


def run_table(store: Store, runs: Iterable[Run] | None = None) -> pd.DataFrame:
    """Every trained run, in the study's order: its name, metrics, geometric measures, and whether it diverged.

    A measure has a column when the study asked for its probe; a cell is empty where its file is missing. Measures
    are of the training split. `diverged`, the last column, is left out of runs.csv.
    """
    measures = [_MEASURES[probe] for probe in _MEASURES if probe in store.study.probes.run]
    wanted = store.study.runs() if runs is None else runs
    rows = [_row(store, run, measures) for run in wanted if store.trained(run)]
    geometric = [column for measure in measures for column in measure.columns]
    table = pd.DataFrame(rows, columns=[*CONFIGURATION, "seed", *METRICS, *geometric, "diverged"])
    numbers = [*METRICS, *(column for column in geometric if column not in _YES_OR_NO)]
    types = {"diverged": "bool", **dict.fromkeys(_YES_OR_NO, "boolean"), **dict.fromkeys(numbers, "float64")}
    return table.astype({column: kind for column, kind in types.items() if column in table})


def _row(store: Store, run: Run, measures: list[_Measures]) -> dict[str, Any]:
    with _complete(store.run_folder(run) / "metrics.json"):
        metrics = store.metrics(run)
        row = {**run.model_dump(), **{name: metrics[name] for name in METRICS}}
        row["diverged"] = metrics["status"] == "diverged"
    for measure in measures:
        file = store.run_folder(run) / measure.file
        if file.is_file():
            with _complete(file):
                row.update(zip(measure.columns, measure.read(file), strict=True))
    return row


@contextmanager
def _complete(file: Path) -> Iterator[None]:
    """InputError, one line, when a file can be read but lacks what is asked of it."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{file} lacks what it should hold ({why}): delete it and run again; the rest is kept"
        ) from error


def _spectrum(file: Path) -> tuple[Any, ...]:
    train = read_json(file)["train"]
    return train["eigenvalues"][0], train["smallest"], train["trace"], train["trace_error"], train["converged"]


def _sharpness(file: Path) -> tuple[Any, ...]:
    train = read_json(file)["train"]
    return train["maximum"], train["mean_increase"]


def _interpolation(file: Path) -> tuple[Any, ...]:
    return _rise(read_result(file).loss.sel(split="train").values)


def _rise(loss: np.ndarray) -> tuple[float, bool | None]:
    bump = largest_rise(loss)
    return bump, bool(bump <= MONOTONE * np.ptp(loss)) if np.isfinite(bump) else None


def _slice(file: Path) -> tuple[Any, ...]:
    line = read_result(file)
    return (basin_width(line.alpha.values, line.loss.sel(split="train").values, rise=BASIN_RISE),)


def _plane(file: Path) -> tuple[Any, ...]:
    plane = read_result(file)
    train = plane.sel(split="train")
    share = float(train.loss_error / np.ptp(train.loss.values)) if np.ptp(train.loss.values) else 0.0
    return float(plane.explained_variance.values[:2].sum()), float(plane.off_plane.max(skipna=False)), share


_MEASURES: dict[Probe, _Measures] = {
    "hessian": _Measures(
        "hessian/spectrum.json",
        ("top_eigenvalue", "smallest_eigenvalue", "trace", "trace_error", "hessian_converged"),
        _spectrum,
    ),
    "sharpness": _Measures("sharpness/sharpness.json", ("sharpness", "sharpness_mean"), _sharpness),
    "interpolation": _Measures(
        "interpolation/interpolation.nc", ("interpolation_bump", "interpolation_monotone"), _interpolation
    ),
    "random_slice": _Measures("random_slice/slice1d.nc", ("slice_width",), _slice),
    "pca": _Measures("pca/plane.nc", ("explained_variance", "off_plane", "surface_error"), _plane),
}


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
    """Every pair of seeds that was connected: configuration, seed_a, seed_b, aligned, barriers and excesses."""
    rows = []
    for run in first_of_each_configuration(store):
        if store.barriers_file(run).is_file():
            name = dict(zip(CONFIGURATION, run.configuration, strict=True))
            with _complete(store.barriers_file(run)):
                for pair in read_json(store.barriers_file(run))["pairs"]:
                    rows.append({**name, **dict(zip(("seed_a", "seed_b"), pair["seeds"], strict=True)), **pair})
    return _pairs(rows, [*CONFIGURATION, "seed_a", "seed_b"])


def optimizer_pair_table(store: Store) -> pd.DataFrame:
    """Every pair of runs that differ in their optimizer only: name, optimizer_a, optimizer_b, aligned, barriers."""
    name = ["dataset", "architecture", "activation", "weight_decay", "seed"]
    rows = []
    for file, run in {store.optimizer_barriers_file(run): run for run in store.study.runs()}.items():
        if file.is_file():
            with _complete(file):
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
    name = [*CONFIGURATION, "seed"]
    trained = pairs.query("not aligned")
    ends = pd.concat([trained.assign(seed=trained[side]) for side in ("seed_a", "seed_b")])
    ends["barrier"] = ends.train_barrier
    barriers = ends.groupby(name, as_index=False)["barrier"].agg(lambda values: values.mean(skipna=False))
    joined = runs.merge(barriers, on=name, how="left", sort=False)
    joined["generalization_gap"] = joined.test_loss - joined.train_loss
    columns = [*name, "test_loss", "generalization_gap", *MEASURES, "diverged"]
    return joined.reindex(columns=columns).astype({"barrier": "float64"})


# The regularization study --------------------------------------------------------------------------------------

REGULARIZATION_COLUMNS = [
    "dataset", "architecture", "activation", "optimizer", "seed", "weight_decay", *METRICS,
    "penalty", "path_minimum", "top_eigenvalue", "trace", "sharpness", "slice_width",
]  # fmt: skip


def regularization_runs(store: Store) -> pd.DataFrame:
    """As `run_table` for the networks of the regularization study, with `penalty` and `path_minimum`.

    The penalty is that of the final weights; the minimum is the lowest training loss, without it, on the path from
    initial to final weights. The rise of that path is measured here where the run has no interpolation of its own.
    """
    runs = list(store.study.regularization_runs())
    table = run_table(store, runs)
    found = {}
    for run in runs:
        file = store.regularization_folder(run) / "interpolation.nc"
        if file.is_file() and (store.regularization_folder(run) not in found):
            found[store.regularization_folder(run)] = read_result(file)
    rows = []
    for run in runs:
        paths = found.get(store.regularization_folder(run))
        if store.trained(run):
            known = paths is not None and run.seed in paths.seed and run.weight_decay in paths.weight_decay
            rows.append(_along_path(paths, run) if known else (np.nan, np.nan, np.nan, None))
    columns = ["penalty", "path_minimum", "interpolation_bump", "interpolation_monotone"]
    types = {**dict.fromkeys(columns[:3], "float64"), "interpolation_monotone": "boolean"}
    along = pd.DataFrame(rows, columns=columns).astype(types)
    own = table.reindex(columns=columns).astype(types)
    return table.assign(**{column: own[column].where(own[column].notna(), along[column]) for column in columns})


def _along_path(paths: Any, run: Run) -> tuple[float, float, float, bool | None]:
    path = paths.sel(seed=run.seed, weight_decay=run.weight_decay)
    loss = path.loss.sel(split="train").values
    return float(path.penalty.isel(alpha=-1)), float(np.min(loss)), *_rise(loss)


def regularization_table(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.reindex(columns=REGULARIZATION_COLUMNS)
