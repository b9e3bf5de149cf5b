from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.contrast_table import COLUMNS, contrast_table
from lossatlas.study.analysis.contrasts import RESOLUTION, Contrast, average, between, log10, units
from lossatlas.study.analysis.runs import CONFIGURATION
from tests.study.samples import networks, noise, paths, sample


def table(runs: pd.DataFrame | None = None, pairs: pd.DataFrame | None = None) -> pd.DataFrame:
    made = sample(runs, pairs)
    return contrast_table(made, made, {})


def row(found: pd.DataFrame, **asked: object) -> pd.Series:
    for name, value in {"scale": "linear", "at": "end", "dataset": "all", **asked}.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


# The mean over matched networks --------------------------------------------------------------------------------


def test_matching_finds_the_sign_that_plain_means_get_wrong():
    # SGD is better everywhere, but the hard architecture was trained with SGD far more often.
    runs = networks(
        {"test_loss": lambda r: 10 * (r.architecture == "4x100") + (r.optimizer == "adam") + noise(r, 0.01)},
        architecture=["2x100", "4x100"], optimizer=["sgd", "adam"], seed=list(range(8)),
    )  # fmt: skip
    hard_adam = (runs.architecture == "4x100") & (runs.optimizer == "adam")
    easy_sgd = (runs.architecture == "2x100") & (runs.optimizer == "sgd")
    runs = runs[~((hard_adam | easy_sgd) & (runs.seed > 1))]
    plain = runs.groupby("optimizer").test_loss.mean()
    assert plain["adam"] - plain["sgd"] < -4
    found = row(table(runs), factor="optimizer", outcome="test_loss")
    assert (found.level_a, found.level_b, found.n) == ("sgd", "adam", 4)
    assert found.estimate == pytest.approx(1, abs=0.05)
    assert 0.9 < found.low <= found.estimate <= found.high < 1.1


def test_every_row_agrees_with_explicit_loops():
    runs = networks(
        {"test_loss": lambda r: np.exp(noise(r)), "test_accuracy": noise},
        dataset=["moons", "xor"], architecture=["1x50", "1x100", "4x100", "conv2x8"], activation=["relu", "tanh"],
        optimizer=["sgd", "adam"], weight_decay=[0.0, 0.001], data_seed=[0, 1], seed=[0, 1],
    )  # fmt: skip
    runs = runs.sample(frac=0.8, random_state=1)
    found = table(runs)
    assert list(found) == COLUMNS
    parts = [*CONFIGURATION, "depth", "width"]
    records = runs.to_dict("records")
    for asked in found.itertuples():
        shape = {"depth": "width", "width": "depth"}.get(asked.factor, "architecture")
        held = [shape if name == "architecture" else name for name in CONFIGURATION if name != asked.factor]
        assert asked.factor in parts
        differences = []
        for a, b in itertools.product(records, records):
            levels = (a[asked.factor], b[asked.factor])
            if pd.isna(levels[0]) or pd.isna(levels[1]) or levels != (asked.level_a, asked.level_b):
                continue
            alike = all(a[name] == b[name] for name in ("data_seed", "seed")) and all(
                a[name] is not pd.NA and a[name] == b[name] for name in held
            )
            if alike and asked.dataset in ("all", a["dataset"]):
                form = np.log10 if asked.scale == "log10" else float
                differences.append(form(b[asked.outcome]) - form(a[asked.outcome]))
        assert asked.n == len(differences) > 0
        assert asked.estimate == pytest.approx(np.mean(differences))
        assert asked.share == np.mean(np.sign(differences) == np.sign(asked.estimate))
    assert set(found.factor) == {"dataset", "depth", "width", "architecture", "activation", "optimizer", "weight_decay"}
    assert set(found[found.factor == "depth"].level_b) == {4}  # nothing of the ConvNets
    assert set(found[found.factor == "width"].level_b) == {100}


def test_nothing_matched_is_no_row():
    runs = networks({"test_accuracy": noise}, architecture=["1x50", "1x500", "2x100", "4x100", "4x250"])
    found = table(runs)
    assert [tuple(x) for x in found[found.factor == "depth"][["level_a", "level_b"]].values] == [(2, 4)]
    assert [tuple(x) for x in found[found.factor == "width"][["level_a", "level_b"]].values] == [(50, 500), (100, 250)]
    assert found[found.factor.isin(["activation", "optimizer", "dataset", "weight_decay"])].empty
    assert table().empty
    assert list(table()) == COLUMNS


def test_missing_measures_leave_their_units_out_and_others_in():
    runs = networks(
        {"test_loss": lambda r: 2, "epsilon_sharpness_maximum": lambda r: 1 + (r.optimizer == "adam")},
        optimizer=["sgd", "adam"],
    )
    runs.loc[(runs.optimizer == "sgd") & (runs.seed == 1), "epsilon_sharpness_maximum"] = np.nan
    found = table(runs)
    assert row(found, outcome="test_loss", factor="optimizer").n == 3
    sharpness = row(found, outcome="epsilon_sharpness_maximum", factor="optimizer")
    assert (sharpness.n, sharpness.estimate) == (2, 1)
    assert "spectrum_trace" not in set(found.outcome)


def test_what_is_below_the_rounding_of_a_loss_counts_as_that_in_ratios():
    """Zeros, negative numbers and 1e-30 alike: one of them must not decide the mean of all."""
    runs = networks(
        {"spectrum_trace": lambda r: 10.0 ** (r.optimizer == "adam"), "test_accuracy": lambda r: 1},
        optimizer=["sgd", "adam"],
    )
    assert row(table(runs), outcome="spectrum_trace", scale="log10").estimate == 1
    assert "log10" not in set(table(runs).query("outcome == 'test_accuracy'")["scale"])
    for value in (0.0, -3.0, 1e-30, RESOLUTION):
        runs.loc[0, "spectrum_trace"] = value  # of sgd, beside 1 and 1 for the other seeds
        assert row(table(runs), outcome="spectrum_trace", scale="log10").estimate == pytest.approx(1 + 7 / 3)
    assert log10([100, 0, -1, np.nan]).tolist()[:3] == [2, -np.inf, -np.inf]
    assert np.isnan(log10([np.nan])[0])


def test_several_levels_count_alike_and_incomplete_cells_do_not_count():
    runs = networks(
        {"test_loss": lambda r: {"relu": 1, "gelu": 3, "tanh": 7}[r.activation] + noise(r, 0)},
        activation=["relu", "tanh", "gelu"], architecture=["2x100", "4x100"],
    )  # fmt: skip
    contrast = between("activation", ("relu", "gelu"), "tanh")
    runs.loc[runs.activation == "gelu", "test_loss"] += 100 * (runs.architecture == "4x100")
    assert units(contrast, sample(runs), "test_loss").values.tolist() == [5, 5, 5, -45, -45, -45]
    runs = runs[~((runs.activation == "gelu") & (runs.architecture == "4x100"))]
    assert units(contrast, sample(runs), "test_loss").values.tolist() == [5, 5, 5]


def test_a_difference_of_differences():
    gain = {("sgd", "relu"): 1, ("adam", "relu"): 2, ("sgd", "tanh"): 5, ("adam", "tanh"): 9}
    runs = networks(
        {"test_loss": lambda r: gain[r.optimizer, r.activation]}, optimizer=["sgd", "adam"], activation=["relu", "tanh"]
    )
    weights = {("adam", "tanh"): 1.0, ("sgd", "tanh"): -1.0, ("adam", "relu"): -1.0, ("sgd", "relu"): 1.0}
    contrast = Contrast(("optimizer", "activation"), weights, ("dataset", "architecture", "weight_decay"), {})
    assert units(contrast, sample(runs), "test_loss").estimate == 3


def test_averages_over_architectures_and_over_everything():
    runs = networks({"test_loss": lambda r: int(r.width)}, architecture=["1x50", "1x500", "2x100", "4x100"])
    over = between("family", "shallow", "deep", held=("dataset", "activation", "optimizer", "weight_decay"))
    assert units(over, sample(runs), "test_loss").values.tolist() == [100 - 275] * 3
    assert units(average(), sample(runs), "test_loss").estimate == pytest.approx(750 / 4)
    deep = average({"family": ("deep",)})
    assert units(deep, sample(runs), lambda frame: frame.test_loss * 2).estimate == 200


def test_infinities_are_shown_not_hidden():
    runs = networks({"test_loss": lambda r: np.inf if r.seed == 1 else 1}, optimizer=["sgd", "adam"])
    found = row(table(runs), outcome="test_loss")
    assert found.estimate == np.inf
    assert np.isnan([found.low, found.high]).all()


# Intervals -----------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_matched_differences_within_cells():
    # Cells differ by 1000, networks of a seed by a common 10: neither widens the interval of the difference.
    def loss(r: pd.Series) -> float:
        return 1000 * (r.architecture == "4x100") + 10 * r.seed + (r.optimizer == "adam") * (1 + 0.1 * noise(r))

    runs = networks(
        {"test_loss": loss}, architecture=["2x100", "4x100"], optimizer=["sgd", "adam"], seed=list(range(40))
    )
    found = row(table(runs), factor="optimizer", outcome="test_loss")
    wide = runs.pivot_table(index=["architecture", "seed"], columns="optimizer", values="test_loss")
    cells = (wide.adam - wide.sgd).groupby("architecture")
    error = np.sqrt((cells.var(ddof=1) / 40).mean() / 2)
    assert found.high - found.low == pytest.approx(2 * 1.99 * error, rel=0.01)
    assert (found.over, found.cells, found.draws) == ("seeds", 2, 1)
    assert np.isnan(found.configurations_low)  # two cells are no sample of configurations


def test_with_several_draws_it_is_that_of_the_means_of_draws():
    """A draw that is easy for Adam is so for all architectures and seeds: five draws are five values."""

    def loss(r: pd.Series) -> float:
        return (r.optimizer == "adam") * (1 + np.sin(7 * r.data_seed) + 0.01 * noise(r))

    runs = networks(
        {"test_loss": loss}, architecture=["1x50", "2x100", "4x100"], optimizer=["sgd", "adam"],
        data_seed=list(range(5)), seed=[0, 1],
    )  # fmt: skip
    found = row(table(runs), factor="optimizer", outcome="test_loss")
    wide = runs.pivot_table(index=["data_seed", "architecture", "seed"], columns="optimizer", values="test_loss")
    means = (wide.adam - wide.sgd).groupby("data_seed").mean()
    low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.over, found.n, found.cells, found.draws) == ("draws", 30, 3, 5)
    cells = (wide.adam - wide.sgd).groupby("architecture").mean()
    low, high = stats.t.interval(0.95, 2, cells.mean(), stats.sem(cells))
    assert (found.configurations_low, found.configurations_high) == pytest.approx((low, high))


def test_two_draws_are_no_sample_of_draws():
    runs = networks({"test_loss": noise}, optimizer=["sgd", "adam"], data_seed=[0, 1], seed=[0, 1, 2])
    found = row(table(runs), factor="optimizer", outcome="test_loss")
    assert (found.over, found.draws, found.cells, found.n) == ("seeds", 2, 1, 6)
    # Seeds within draws: what differs between the two draws is left out.
    wide = runs.pivot_table(index=["data_seed", "seed"], columns="optimizer", values="test_loss")
    variances = (wide.adam - wide.sgd).groupby("data_seed").var(ddof=1).to_numpy() / 3 / 4
    freedom = variances.sum() ** 2 / (variances**2 / 2).sum()
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    assert found.high - found.low == pytest.approx(2 * reach)


def test_one_seed_and_one_draw_leave_the_configurations_alone():
    architectures = [f"1x{width}" for width in range(10, 18)]
    runs = networks({"test_loss": noise}, architecture=architectures, weight_decay=[0.0, 0.1], seed=[0])
    found = row(table(runs), factor="weight_decay", outcome="test_loss")
    assert (found.n, found.over) == (8, "")
    assert np.isnan([found.low, found.high]).all()
    wide = runs.pivot_table(index="architecture", columns="weight_decay", values="test_loss")
    low, high = stats.t.interval(0.95, 7, (wide[0.1] - wide[0.0]).mean(), stats.sem(wide[0.1] - wide[0.0]))
    assert (found.configurations_low, found.configurations_high) == pytest.approx((low, high))


def test_one_lone_seed_leaves_the_interval_to_the_other_cells():
    runs = networks({"test_loss": noise}, architecture=["1x50", "2x100", "4x100"], optimizer=["sgd", "adam"])
    kept = runs[(runs.architecture != "1x50") | (runs.seed == 0)]
    found = units(between("optimizer", "sgd", "adam"), sample(kept), "test_loss").summary()
    assert (found.n, found.cells, found.single, found.over) == (7, 3, 1, "seeds")
    assert found.low < found.mean < found.high
    assert found.too_few
    seeds = list(range(4))
    pairs = paths(
        {"linear_connectivity_barrier": noise}, optimizer=["sgd", "adam"], architecture=["2x100", "4x100"], seed=seeds
    )
    kept = pairs[(pairs.architecture != "4x100") | (pairs.seed_b == 1)]
    found = units(between("optimizer", "sgd", "adam"), sample(pairs=kept), "linear_connectivity_barrier").summary()
    assert (found.n, found.cells, found.single, found.over) == (7, 2, 1, "seeds")


def test_a_row_depends_on_nothing_beside_it():
    runs = networks(
        {"test_loss": lambda r: np.exp(noise(r)), "spectrum_trace": noise},
        optimizer=["sgd", "adam"],
        dataset=["moons", "xor"],
    )
    everything = table(runs)
    alone = table(runs.loc[runs.index[::-1], [*runs.columns.drop("spectrum_trace")]])
    asked = {"factor": "optimizer", "outcome": "test_loss", "dataset": "xor"}
    numbers = ["n", "estimate", "low", "high"]
    assert row(everything, **asked)[["n"]].equals(row(alone, **asked)[["n"]])
    flipped = row(alone, **asked)  # levels stand in the order of the rows
    assert (flipped.level_a, flipped.level_b, flipped.estimate) == ("adam", "sgd", -row(everything, **asked).estimate)
    shuffled = table(runs.drop(columns="spectrum_trace"))
    assert row(shuffled, **asked)[numbers].equals(row(everything, **asked)[numbers])


# Paths ---------------------------------------------------------------------------------------------------------


def test_barriers_are_compared_pair_by_pair_and_networks_are_left_out():
    # An odd seed makes all its pairs high: that is one odd network, and the interval must know.
    def barrier(r: pd.Series) -> float:
        return (r.optimizer == "adam") * (1 + 4 * (r.seed_b == 4))

    runs = networks({}, optimizer=["sgd", "adam"])
    pairs = paths(
        {"linear_connectivity_barrier": barrier},
        optimizer=["sgd", "adam"],
        architecture=["2x100", "4x100"],
        seed=list(range(5)),
    )
    found = row(table(runs, pairs), outcome="linear_connectivity_barrier", factor="optimizer")
    assert (found.n, found.estimate) == (20, pytest.approx(1 + 4 * 4 / 10))
    one = row(
        table(runs, pairs[pairs.architecture == "2x100"]),
        outcome="linear_connectivity_barrier",
    )
    error = 2 * stats.sem([0, 0, 0, 0, 4])  # the mean of the pairs is 1 + twice that of the seeds
    assert one.high - one.low == pytest.approx(2 * stats.t.ppf(0.975, 4) * error)
    assert found.high - found.low < one.high - one.low


def test_a_mean_barrier_is_not_below_zero_and_a_difference_of_barriers_may_be():
    pairs = paths(
        {"linear_connectivity_barrier": lambda r: (r.seed_b == 2) * (1 + (r.optimizer == "adam"))},
        optimizer=["sgd", "adam"],
    )
    mean = units(average({"optimizer": ("adam",)}), sample(pairs=pairs), "linear_connectivity_barrier").summary()
    change = units(between("optimizer", "sgd", "adam"), sample(pairs=pairs), "linear_connectivity_barrier").summary()
    assert mean.low == 0 < mean.mean
    assert change.low < 0 < change.mean


def test_aligned_paths_count_only_where_they_are_asked_for():
    pairs = paths(
        {"linear_connectivity_barrier": lambda r: 1 if r.aligned else 3},
        aligned=(False, True),
        optimizer=["sgd", "adam"],
    )
    assert units(average(), sample(pairs=pairs), "linear_connectivity_barrier").estimate == 3
    aligned = Contrast(("aligned",), {(True,): 1.0, (False,): -1.0}, tuple(CONFIGURATION), {})
    assert units(aligned, sample(pairs=pairs), "linear_connectivity_barrier").values.tolist() == [-2] * 6
