from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lossatlas.files import write_csv
from lossatlas.results.storage import write_result
from lossatlas.study.analysis.runs import (
    CONFIGURATION,
    MEASURES,
    RECENT,
    REGULARIZATION_COLUMNS,
    STILL,
    measure_table,
    pair_table,
    recent_decrease,
    run_table,
    with_shape,
)
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.store import Store
from tests.study.analysis.test_tables import connect, curve, make_store, measure, train, train_all


def test_depth_and_width_are_those_of_perceptrons():
    names = ["1x500", "4x250", "conv2x8", "res3x32"]
    shaped = with_shape(pd.DataFrame({"architecture": names}))
    assert shaped.depth.tolist()[:2] == [1, 4]
    assert shaped.width.tolist()[:2] == [500, 250]
    assert shaped[["depth", "width"]].isna().all(axis=1).tolist() == [False, False, True, True]
    assert shaped.family.tolist() == ["shallow", "deep", "conv", "res"]
    assert with_shape(pd.DataFrame({"architecture": []})).empty


def test_other_networks_have_no_place_among_depths_and_widths(tmp_path):
    names = ["conv2x8", "1x50", "2x50", "res3x32"]
    store = make_store(tmp_path, model={"architectures": names, "activations": ["relu"]})
    for run in store.study.runs():
        train(store, run, 1.0)
    tables = write_tables(store)
    assert tables["depth"].depth.tolist() == [1, 2]
    assert tables["width"].width.tolist() == [50]
    assert tables["width"].n.tolist() == [6]
    assert tables["architecture"].architecture.tolist() == ["1x50", "2x50", "conv2x8", "res3x32"]
    assert tables["optimizer"].n.tolist() == [12]


def test_measures_of_every_run_with_the_mean_barrier_of_its_pairs(tmp_path):
    store = make_store(tmp_path)
    runs = train_all(store)
    measure(store, runs[4])
    trained = dict(zip(itertools.combinations(range(3), 2), (1.0, 2.0, 6.0), strict=True))
    connect(
        store,
        runs[0],
        {
            (*pair, aligned): value * (10 if aligned else 1)
            for pair, value in trained.items()
            for aligned in (False, True)
        },
    )
    connect(store, runs[3], {(0, 1, False): 5.0, (1, 2, False): math.nan})
    write_tables(store)
    table = pd.read_csv(tmp_path / "tables" / "measures.csv")
    assert list(table) == [
        *CONFIGURATION,
        "data_seed",
        "seed",
        "train_loss",
        "test_loss",
        "generalization_gap",
        *MEASURES,
    ]
    assert table.linear_connectivity_barrier[:3].tolist() == [1.5, 3.5, 4]
    assert table.linear_connectivity_barrier[3] == 5
    assert table.linear_connectivity_barrier[4:].isna().all()  # a pair without a barrier leaves its networks without
    assert table.generalization_gap.tolist() == (table.test_loss / 2).tolist()
    assert table.loc[
        4, ["spectrum_top_eigenvalue", "spectrum_trace", "epsilon_sharpness_maximum", "interpolate_monotone"]
    ].tolist() == [
        5.5,
        9,
        0.75,
        True,
    ]
    assert table.random_line_width[4] == pytest.approx(0.75)


def test_probes_that_were_not_asked_for_leave_empty_columns(tmp_path):
    store = make_store(tmp_path, probes={"run": ["epsilon_sharpness"]})
    train_all(store)
    table = measure_table(run_table(store), pair_table(store))
    assert table[list(MEASURES)].isna().all(axis=None)
    assert len(table) == 12


# The regularization study --------------------------------------------------------------------------------------


def regularized(root, **fields) -> Store:
    """The study of `make_store` with one seed and one weight decay, and each configuration at 0 and 0.001 as well."""
    training = {"optimizers": ["sgd", "adam"], "seeds": [0], "weight_decays": [1e-4]}
    return make_store(
        root, training=training, regularization={"weight_decays": [0.0, 0.001], "seeds": [0, 1]}, **fields
    )


def compare(store: Store, run) -> None:
    """Paths whose training loss at weight decay λ and seed s falls from 4 to 1000 λ + s, over a hill of height 5."""
    decays, seeds = [0.0, 0.001], [0, 1]
    loss = np.zeros((2, 2, 2, 4))  # (seed, split, weight_decay, alpha)
    for (i, seed), (j, decay) in itertools.product(enumerate(seeds), enumerate(decays)):
        loss[i, 0, j] = [4, 5, 1000 * decay + seed, 1000 * decay + seed + 0.5]
    penalty = np.arange(16.0).reshape(2, 2, 4)
    names = ("seed", "split", "weight_decay", "alpha")
    result = xr.Dataset(
        {"loss": (names, loss), "penalty": (("seed", "weight_decay", "alpha"), penalty)},
        {"seed": seeds, "split": ["train", "test"], "weight_decay": decays, "alpha": [0, 0.3, 0.6, 1.0]},
    )
    write_result(store.family_file(run, "interpolate_by_weight_decay"), result)


def test_the_regularization_table_and_nothing_of_it_elsewhere(tmp_path):
    store = regularized(tmp_path)
    runs = list(store.study.regularization_runs())
    for run in store.study.runs():
        train(store, run, 7.0)
    for run in runs:
        train(store, run, 3.0, test_accuracy=0.25)
        measure(store, run)
    compare(store, runs[0])
    tables = write_tables(store)
    table = pd.read_csv(tmp_path / "tables" / "regularization.csv")
    assert list(table) == REGULARIZATION_COLUMNS
    assert len(table) == len(runs) == 2 * 2 * 2 * 2 * 2
    first = table.query("architecture == '1x50' and activation == 'relu' and optimizer == 'sgd'")
    assert first[["weight_decay", "seed"]].values.tolist() == [[0, 0], [0, 1], [0.001, 0], [0.001, 1]]
    assert first.interpolate_by_weight_decay_minimum.tolist() == [0, 1, 1, 2]
    assert first.interpolate_by_weight_decay_penalty.tolist() == [3, 11, 7, 15]
    assert table.iloc[4:].interpolate_by_weight_decay_minimum.isna().all()
    assert table.spectrum_top_eigenvalue.tolist() == [5.5] * len(runs)
    for name in ("depth", "width", "activation", "optimizer"):
        assert set(tables[name].mean_test_loss) == {7.0}
    assert set(tables["runs"].weight_decay) == set(tables["measures"].weight_decay) == {1e-4}


def test_weight_decays_of_both_studies_are_compared_and_other_factors_only_in_the_matrix(tmp_path):
    store = regularized(tmp_path)
    for run in store.study.runs():
        train(store, run, 7.0)
    for run in store.study.regularization_runs():
        train(store, run, 3.0 + 1000 * run.weight_decay)
    compare(store, next(store.study.regularization_runs()))
    found = write_tables(store)["contrasts"]
    loss = found.query("outcome == 'test_loss' and scale == 'linear'")
    decay = loss.query("factor == 'weight_decay'")
    assert decay[["level_a", "level_b", "n", "estimate"]].values.tolist() == [
        [0, 0.0001, 8, 4], [0, 0.001, 16, 1], [0.0001, 0.001, 8, -3],
    ]  # fmt: skip
    assert decay.over.fillna("").tolist() == ["", "seeds", ""]
    assert decay.configurations_low.notna().all()  # of eight cells
    assert loss.query("factor == 'optimizer'").n.tolist() == [4]
    minimum = found.query("outcome == 'interpolate_by_weight_decay_minimum' and scale == 'linear'")
    assert minimum[["scale", "level_a", "level_b", "n", "estimate"]].values.tolist() == [["linear", 0, 0.001, 2, 1]]
    bump = found.query("outcome == 'interpolate_rise' and factor == 'weight_decay'")
    assert bump[["n", "estimate"]].values.tolist() == [[2, 0]]


def test_a_network_of_both_studies_is_one_network(tmp_path):
    training = {"optimizers": ["adam"], "seeds": [0, 1], "weight_decays": [0.0]}
    store = make_store(tmp_path, training=training, regularization={"weight_decays": [0.0, 0.001], "seeds": [0, 1]})
    for run in store.study.all_runs():
        train(store, run, 3.0 + 1000 * run.weight_decay)
        path = curve([0.0, 0.5, 1.0], train=[4.0, 4.5, 1.0], test=[0.0, 9.0, 0.0])
        write_result(store.result_file(run, "interpolate"), path)
    compare(store, next(store.study.regularization_runs()))
    tables = write_tables(store)
    decay = tables["contrasts"].query("factor == 'weight_decay' and scale == 'linear'").set_index("outcome")
    assert decay.n[["test_loss", "interpolate_by_weight_decay_minimum", "interpolate_rise"]].tolist() == [8, 2, 2]
    # Of a network of the matrix its own path first: 0.5, not the 1 of `compare`, which the other network has.
    assert decay.estimate["interpolate_rise"] == 0.5
    assert len(tables["regularization"]) == 16


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
