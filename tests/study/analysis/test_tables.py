from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lossatlas.errors import InputError
from lossatlas.files import write_csv, write_json
from lossatlas.results.storage import write_result
from lossatlas.study.analysis.runs import CONFIGURATION, METRICS, RECENT, STANDING, STILL, recent_decrease, run_table
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.config import Run, Study
from lossatlas.study.store import Store

# What every spectrum has beside its splits.
WHOLE = {"attributes": {}, "coordinates": {}, "dims": {"eigenvalues": ["eigenvalue"]}}


def make_store(root: Path, **fields: Any) -> Store:
    """A store of a study that has not been run, with 12 runs in four configurations unless told otherwise."""
    model = {"architectures": ["1x50", "2x100"], "activations": ["relu", "tanh"]}
    training = {"optimizers": ["adam"], "seeds": [0, 1, 2]}
    study = Study.model_validate({"name": "hand", "model": model, "training": training, **fields})
    write_json(root / "study.json", {"study": study.model_dump(mode="json"), "versions": {}})
    return Store(root, study)


def train(store: Store, run: Run, test_loss: float, *, test_accuracy: float = 0.5, status: str = "trained") -> None:
    values = {
        "train_loss": test_loss / 2,
        "test_loss": test_loss,
        "train_accuracy": 1.0,
        "test_accuracy": test_accuracy,
    }
    folder = store.run_folder(run)
    write_json(folder / "metrics.json", {"status": status, "epochs": 3, **values})
    # An epoch each; over the last five of them the loss is still.
    write_csv(folder / "history.csv", ["epoch", "train_loss"], [(epoch, values["train_loss"]) for epoch in range(7)])


def train_all(store: Store) -> list[Run]:
    """Test loss 10 x depth + number of the run."""
    runs = list(store.study.runs())
    for number, run in enumerate(runs):
        train(store, run, 10.0 * int(run.architecture[0]) + number, test_accuracy=number / 16)
    return runs


def measure(store: Store, run: Run) -> None:
    """A result of each probe around a network, with other numbers on the test data."""
    spectrum = {
        "eigenvalues": (("split", "eigenvalue"), [[5.5, 2.0], [7.5, 3.0]]),
        "residuals": (("split", "eigenvalue"), [[0.0, 0.0], [0.0, 0.0]]),
        "smallest": ("split", [-0.25, 0.0]), "smallest_residual": ("split", [0.0, 0.0]),
        "trace": ("split", [9.0, 11.0]), "trace_error": ("split", [np.nan, 0.5]),
        "products": ("split", [40, 40]), "rough_products": ("split", [0, 0]), "converged": ("split", [True, False]),
        "gradient_norm": ("split", [0.5, 1.5]), "gradient_norm_relative": ("split", [0.25, np.nan]),
        "gradient_decrease": ("split", [0.125, 2.0]), "stationary": ("split", [True, False]),
    }  # fmt: skip
    write(store, run, "spectrum", xr.Dataset(spectrum, {"split": ["train", "test"], "eigenvalue": [1, 2]}))
    over = ("split", "radius")
    sharpness = {
        "even": (("split", "sample"), [[0.75, -1.75], [8.0, 0.0]]), "maximum": ("split", [0.75, 8.0]),
        "mean_even": (over, [[-0.25, -0.5], [1.0, 4.0]]), "mean_even_error": (over, [[0.5, 1.25], [1.0, 4.0]]),
        "lowered": (over, [[0.0, 0.375], [0.0, 0.5]]), "gradient_share": ("split", [0.625, 0.25]),
        "adaptive_mean": ("split", [0.0625, 5.0]), "adaptive_mean_error": ("split", [0.03125, 5.0]),
        "gradient_norm": ("split", [0.5, 1.5]), "gradient_norm_relative": ("split", [0.25, np.nan]),
        "stationary": ("split", [False, True]),
    }  # fmt: skip
    around = {"split": ["train", "test"], "radius": [0.05, 0.1]}
    write(store, run, "epsilon_sharpness", xr.Dataset(sharpness, around, {"radius": 0.1}))
    write(store, run, "interpolate", curve([0.0, 0.5, 1.0], train=[4.0, 4.02, 1.0], test=[0.0, 9.0, 0.0]))
    write(store, run, "random_line", curve([-1.0, 0.0, 1.0], train=[0.2, 0.0, 0.4], test=[0.0, 0.0, 0.0]))
    plane = {
        "explained_variance": ("component", [0.75, 0.125]), "off_plane": ("checkpoint", [0.5, 0.625, 0.0]),
        "loss": (("split", "alpha", "beta"), [[[1.0, 3.0]], [[0.0, 9.0]]]),
        "loss_error": (("split", "alpha", "beta"), [[[0.125, 0.25]], [[4.0, 0.0]]]),
    }  # fmt: skip
    write(store, run, "trajectory_plane", xr.Dataset(plane, {"split": ["train", "test"]}))
    along = {
        "loss": (("split", "checkpoint"), [[4.0, 2.0, 1.0]]),
        "sharpness": (("split", "checkpoint"), [[0.5, 0.25, 0.1]]),
        "top_eigenvalue": (("split", "checkpoint"), [[2.0, 9.0, 5.0]]),
        "converged": (("split", "checkpoint"), [[True, True, False]]),
    }  # fmt: skip
    write(store, run, "trajectory_sharpness", xr.Dataset(along, {"split": ["train"]}))
    held = {
        "trace_share": (("split", "rank"), [[0.25, 0.5], [0.0, 1.0]]), "largest_share": ("split", [0.125, 0.25]),
        "ten_largest_share": ("split", [0.375, 0.75]), "gap_share": ("split", [np.nan, 1.5]),
    }  # fmt: skip
    write(store, run, "example_concentration", xr.Dataset(held, {"split": ["train", "test"], "rank": [1, 10]}))


def write(store: Store, run: Run, probe: str, result: xr.Dataset) -> None:
    write_result(store.result_file(run, probe), result)


def curve(alpha: list[float], **losses: list[float]) -> xr.Dataset:
    return xr.Dataset(
        {"loss": (("split", "alpha"), list(losses.values()))}, {"split": list(losses), "alpha": alpha}
    )  # fmt: skip


def connect(store: Store, run: Run, barriers: dict[tuple[int, int, bool], float]) -> None:
    pairs = [
        {
            "pair": f"seed={a}_to_seed={b}", "seeds": [a, b], "optimizers": [run.optimizer] * 2,
            "aligned": aligned, "distance": 1.0,
            "train_barrier": value, "test_barrier": value + 1, "train_excess": 2 * value, "test_excess": 3 * value,
        }
        for (a, b, aligned), value in barriers.items()
    ]  # fmt: skip
    file = store.pairs_file(run, "linear_connectivity", between="seed")
    write_json(file, {"definitions": {}, "pairs": pairs})


def declared(store: Store) -> list[str]:
    """The columns of the probes that a study asks for, in the order of the table, as runs.csv calls them."""
    probes = store.study.probes.of("model", "trajectory")
    return [probe.column(name) for probe in probes for name in probe.columns if name not in STANDING]


def read(store: Store, name: str) -> pd.DataFrame:
    return pd.read_csv(store.root / "tables" / f"{name}.csv")


def test_runs_have_their_names_metrics_and_measures_in_order(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    measure(store, runs[4])
    write_tables(store)
    table = read(store, "runs")
    geometry = [name for name in declared(store) if name not in STANDING]
    assert list(table) == [
        *CONFIGURATION,
        "data_seed",
        "seed",
        "epochs",
        *METRICS,
        "recent_decrease",
        *STANDING,
        *geometry,
    ]
    assert [tuple(row) for row in table[[*CONFIGURATION, "data_seed", "seed"]].itertuples(index=False, name=None)] == [
        (*run.siblings, run.seed) for run in runs
    ]
    assert set(table.epochs) == {3}
    assert set(table.recent_decrease) == {0}
    assert table.test_loss.tolist() == [*range(10, 16), *range(26, 32)]
    row = table.loc[4, [*STANDING, *geometry]].to_dict()
    assert math.isnan(row.pop("spectrum_trace_error"))
    assert row.pop("spectrum_converged")
    assert row == {
        "spectrum_top_eigenvalue": 5.5, "spectrum_smallest_eigenvalue": -0.25, "spectrum_trace": 9.0,
        "gradient_norm": 0.5, "gradient_norm_relative": 0.25, "gradient_decrease": 0.125, "stationary": True,
        "epsilon_sharpness_mean": -0.5, "epsilon_sharpness_mean_error": 1.25, "epsilon_sharpness_maximum": 0.75,
        "epsilon_sharpness_gradient_share": 0.625, "epsilon_sharpness_lowered": 0.375,
        "epsilon_sharpness_adaptive_mean": 0.0625, "epsilon_sharpness_adaptive_mean_error": 0.03125,
        "interpolate_rise": pytest.approx(0.02), "interpolate_monotone": True,  # 0.02 of a range of 3.02
        "random_line_width": pytest.approx(0.5 + 0.25),
        "trajectory_plane_explained_variance": 0.875, "trajectory_plane_off_plane": 0.625,
        "trajectory_plane_error": 0.125, "trajectory_plane_basin_error": 0.125,
        "trajectory_sharpness_sharpening": 2.5, "trajectory_sharpness_converged": False,
        "example_concentration_loss_share": 0.375, "example_concentration_largest_share": 0.125,
        "example_concentration_trace_share": 0.5, "example_concentration_test_loss_share": 0.75,
        "example_concentration_test_largest_share": 0.25, "example_concentration_gap_share": 1.5,
    }  # fmt: skip
    assert table.drop(index=4)[geometry].isna().all(axis=None)


def test_a_rise_beyond_one_percent_is_not_monotone_and_nan_is_neither(tmp_path):
    store = make_store(tmp_path, training={"seeds": [0, 1], "optimizers": ["adam"]})
    runs = train_all(store)
    for run, middle in zip(runs, (4.05, np.nan), strict=False):
        path = curve([0.0, 0.5, 1.0], train=[4.0, middle, 1.0], test=[0.0, 0.0, 0.0])
        write(store, run, "interpolate", path)
    table = run_table(store)
    assert not table.interpolate_monotone[0]
    assert table.interpolate_monotone[1] is pd.NA
    assert math.isnan(table.interpolate_rise[1])


# Where a run stands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ([9.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0], 5 / 9),  # from epoch 1 to epoch 6
        ([2.0, 2.0, 2.0, 2.0, 2.0, 3.0], -0.5),  # it rose
        ([1.0] * 5, math.nan),  # too short to say
        ([0.0] * 9, 0.0),
    ],
)
def test_the_recent_decrease_is_that_of_the_last_five_epochs(losses, share):
    history = pd.DataFrame({"epoch": range(len(losses)), "train_loss": losses})
    assert recent_decrease(history) == pytest.approx(share, nan_ok=True)
    assert RECENT == 5


def test_epochs_that_were_not_evaluated_are_bridged_by_the_one_before():
    history = pd.DataFrame({"epoch": [0, 4, 8, 12], "train_loss": [8.0, 4.0, 2.0, 1.0]})
    assert recent_decrease(history) == pytest.approx(3 / 4)  # 12 − 5 = 7: from epoch 4


def test_a_loss_that_still_falls_is_no_place_to_stand_whatever_its_gradient(tmp_path):
    store = make_store(tmp_path, probes={"run": ["spectrum"]})
    runs = train_all(store)
    for run, last in zip(runs[:2], (1 - STILL / 2, 1 - 2 * STILL), strict=False):
        losses = [(epoch, 1.0 if epoch < 6 else last) for epoch in range(7)]
        write_csv(store.run_folder(run) / "history.csv", ["epoch", "train_loss"], losses)
    table = run_table(store)
    assert table.recent_decrease[:2].tolist() == pytest.approx([STILL / 2, 2 * STILL])
    assert table.stationary[1:].tolist()[0] is not True


# Files that lack something -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("hessian/spectrum.json", {**WHOLE, "train": {"eigenvalues": []}}),
        ("hessian/spectrum.json", {**WHOLE, "train": {"eigenvalues": [1.0]}}),
        ("hessian/spectrum.json", {**WHOLE, "test": {"eigenvalues": [1.0]}}),
        ("metrics.json", {"status": "trained"}),
    ],
)
def test_a_file_without_its_numbers_is_named_in_one_line(tmp_path, file, content):
    store = make_store(tmp_path)
    run = train_all(store)[0]
    write_json(store.run_folder(run) / file, content)
    with pytest.raises(InputError, match=r"^.*/" + file + r" lacks what it should hold \(\w+: .*\): delete it .*$"):
        run_table(store)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"train": {"eigenvalues": []}}, "'dims'"),
        ({"train": {"eigenvalues": [1.0]}}, "'dims'"),
        ({}, "it holds no split"),
        ([], "it holds no split"),
    ],
)
@pytest.mark.parametrize("file", ["hessian/spectrum.json", "sharpness/epsilon_sharpness.json"])
def test_a_file_that_is_no_result_is_named_in_one_line(tmp_path, file, content, why):
    store = make_store(tmp_path)
    write_json(store.run_folder(train_all(store)[0]) / file, content)
    with pytest.raises(InputError, match=rf"^.*/{file} is damaged \({why}\): delete .*$"):
        run_table(store)


def test_probes_not_asked_for_have_no_columns(tmp_path):
    store = make_store(tmp_path, probes={"run": ["epsilon_sharpness"]})
    train_all(store)
    tables = write_tables(store)
    columns = list(tables["runs"])
    assert columns[columns.index("recent_decrease") + 1 :] == [*STANDING, *declared(store)]
    assert all(name.startswith("epsilon_sharpness_") for name in declared(store))
    assert tables["connectivity"].empty
    assert (tmp_path / "tables" / "connectivity.csv").read_text().startswith("dataset,architecture")


def test_depth_means_and_their_intervals(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    write_tables(store)
    table = read(store, "depth")
    assert list(table) == [
        "depth", "datasets", "activations", "optimizers", "n", "diverged",
        "mean_test_loss", "mean_test_loss_low", "mean_test_loss_high",
        "mean_test_accuracy", "mean_test_accuracy_low", "mean_test_accuracy_high",
    ]  # fmt: skip
    assert table.iloc[0, :6].tolist() == [1, "moons", "relu, tanh", "adam", 6, 0]
    assert table.mean_test_loss.tolist() == [12.5, 28.5]
    assert table.mean_test_accuracy.tolist() == [2.5 / 16, 8.5 / 16]
    assert (table.mean_test_loss_low < table.mean_test_loss).all()
    assert (table.mean_test_loss_high < [14, 30]).all()  # 3 of 6 seeds apart within, 3 more between the strata
    assert len(runs) == 12


def test_levels_ascend_as_numbers_and_a_row_depends_on_nothing_beside_it(tmp_path):
    wide = make_store(tmp_path / "a", model={"architectures": ["1x500", "2x50", "4x100"], "activations": ["relu"]})
    narrow = make_store(tmp_path / "b", model={"architectures": ["2x50"], "activations": ["relu"]})
    for store in (wide, narrow):
        for run in store.study.runs():
            train(store, run, (1 + run.seed) ** 2)
    tables = write_tables(wide)
    assert tables["width"].width.tolist() == [50, 100, 500]
    assert tables["architecture"].architecture.tolist() == ["1x500", "2x50", "4x100"]
    assert tables["width"][:1].equals(write_tables(narrow)["width"])


def test_diverged_runs_are_shown_and_counted_but_not_averaged(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    train(store, runs[0], math.nan, status="diverged")
    train(store, runs[5], 99.0, status="diverged")
    for run in runs[6:9]:
        train(store, run, math.inf, status="diverged")
    write_tables(store)
    text = (tmp_path / "tables" / "runs.csv").read_text().splitlines()
    assert text[1].startswith("moons,1x50,relu,adam,0.0001,0,0,3,,,1.0,0.5,")
    assert read(store, "runs").test_loss[5] == 99
    depth = read(store, "depth")
    assert depth[["n", "diverged"]].to_numpy().tolist() == [[4, 2], [3, 3]]
    assert depth.mean_test_loss.tolist() == [12.5, 30]
    configurations = read(store, "configurations")
    assert configurations[["n", "diverged"]].to_numpy().tolist() == [[2, 1], [2, 1], [0, 3], [3, 0]]
    assert math.isnan(configurations.mean_test_loss[2])


def test_a_configuration_with_one_run_left_adds_nothing_to_an_interval_and_has_none(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    for run in runs[:2]:
        train(store, run, math.nan, status="diverged")
    tables = write_tables(store)
    assert tables["depth"].n.tolist() == [4, 6]
    assert tables["depth"].mean_test_loss_low.notna().all()
    assert tables["configurations"].mean_test_loss_low.isna().tolist() == [True, False, False, False]


def test_untrained_studies_have_tables_without_rows(tmp_path):
    tables = write_tables(make_store(tmp_path))
    assert all(table.empty for name, table in tables.items() if name != "findings")
    assert set(tables["findings"].verdict) == {"undecided"}
    assert tables["findings"].evidence.str.startswith("This study has no ").all()
    assert list(tables["runs"])[:7] == [*CONFIGURATION, "data_seed", "seed"]


def test_connectivity_means_maxima_and_the_paired_change(tmp_path):
    store = make_store(tmp_path)
    first, second, third, _ = [run for run in train_all(store) if run.seed == 0]
    trained = dict(zip(itertools.combinations(range(3), 2), (1.0, 2.0, 6.0), strict=True))
    aligned = dict(zip(trained, (0.0, 2.0, 1.0), strict=True))
    both = {(*pair, flag): value for flag, part in ((False, trained), (True, aligned)) for pair, value in part.items()}
    connect(store, first, both)
    connect(store, second, {(0, 1, False): 0.5})
    connect(store, third, {(*pair, False): math.nan if pair == (0, 1) else 1.0 for pair in trained})
    write_tables(store)
    table = read(store, "connectivity")
    assert list(table) == [
        *CONFIGURATION, "aligned", "num_pairs",
        "mean_train_barrier", "mean_train_barrier_low", "mean_train_barrier_high",
        "mean_test_barrier", "mean_test_barrier_low", "mean_test_barrier_high",
        "max_train_barrier", "max_test_barrier", "mean_train_excess", "mean_test_excess",
    ]  # fmt: skip
    assert table.aligned.tolist() == [False, True, False, False]
    assert table.num_pairs.tolist() == [3, 3, 1, 3]
    assert table.iloc[0, [7, 10, 13, 14, 15, 16]].tolist() == [3, 4, 6, 7, 6, 9]
    assert table.mean_train_barrier_low[0] < 1 < 6 < table.mean_train_barrier_high[0]
    assert table.iloc[1, [7, 13]].tolist() == [1, 2]
    assert table.iloc[2, 8:10].isna().all()
    assert table.iloc[3, [7, 8, 9, 13]].isna().all()
    paired = read(store, "alignment")
    assert paired[[*CONFIGURATION, "num_pairs"]].to_numpy().tolist() == [[*first.configuration, 3]]
    assert paired.loc[0, [f"mean_train_{name}" for name in ("barrier", "barrier_aligned", "change")]].tolist() == [
        3,
        1,
        -2,
    ]
    assert paired.mean_train_change_low[0] < -5 < 0 < paired.mean_train_change_high[0]
    assert paired.train_lowered[0] == 2


def test_every_digit_is_kept_and_the_same_store_gives_the_same_bytes(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    connect(store, runs[0], {(0, 1, False): 1 / 3, (0, 2, False): 1e-17, (1, 2, False): math.pi})
    train(store, runs[1], 2 / 3, test_accuracy=0.1 + 0.2)
    measure(store, runs[2])
    write_tables(store)
    before = {file.name: file.read_bytes() for file in (tmp_path / "tables").iterdir()}
    with (tmp_path / "tables" / "runs.csv").open() as file:
        exact = list(csv.DictReader(file))[1]
    assert (float(exact["test_loss"]), float(exact["test_accuracy"])) == (2 / 3, 0.1 + 0.2)
    write_tables(store)
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "tables").iterdir()}
    assert len(before) == 15
