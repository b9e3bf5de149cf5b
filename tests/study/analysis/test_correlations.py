from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.correlations import COLUMNS, correlation, correlation_table, kendall_tau, partial_tau
from lossatlas.study.analysis.runs import CONFIGURATION, MEASURES
from lossatlas.study.analysis.statistic import Statistic
from tests.study.samples import networks, noise

SHARPNESS = "epsilon_sharpness_maximum"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def measures(**levels: list) -> pd.DataFrame:
    formulas = {SHARPNESS: noise, "test_loss": lambda r: noise(r) ** 3, "train_loss": lambda r: noise(r[::-1], 2)}
    frame = networks(formulas, **levels)
    frame["train_loss"] = rng(4).normal(size=len(frame))
    frame["generalization_gap"] = rng(3).integers(4, size=len(frame)).astype(float)
    return frame.reindex(columns=[*frame.columns, *[name for name in MEASURES if name not in frame]]).assign(
        diverged=False
    )


def found(frame: pd.DataFrame, scope: str = "all", *, partial: bool = False) -> Statistic:
    one = correlation(frame, SHARPNESS, "test_loss", scope, partial=partial)
    assert one is not None
    return one


# Rank correlation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_tau_is_scipys(levels):
    x, y = rng(1).integers(levels, size=(2, 30)).astype(float)
    x[0] = np.inf
    assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_tau_within_blocks_counts_pairs_of_one_block_only():
    x, y = rng(4).integers(5, size=(2, 24))
    block = np.repeat([0, 1, 2], 8)
    agree = untied_x = untied_y = 0
    for i in range(24):
        for j in range(i):
            if block[i] == block[j]:
                a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
                agree, untied_x, untied_y = agree + a * b, untied_x + abs(a), untied_y + abs(b)
    assert kendall_tau(x, y, block) == pytest.approx(agree / np.sqrt(untied_x * untied_y))


def test_a_constant_has_no_correlation():
    assert np.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))


def test_what_a_third_measure_explains_is_gone_when_it_is_held():
    """x and y are z with independent noise, seen through monotone transformations; Kendall's formula leaves 0.2."""
    z, e, d = rng(5).normal(size=(3, 3000))
    x, y = np.exp(z + e / 2), (z + d / 2) ** 3
    xy, xz, yz = kendall_tau(x, y), kendall_tau(x, z), kendall_tau(y, z)
    assert xy > 0.5
    assert (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2)) > 0.15
    assert abs(partial_tau(xy, xz, yz)) < 0.03


@pytest.mark.parametrize("left", [0.8, -0.5])
def test_what_it_does_not_explain_is_left(left):
    z, e, d = rng(6).normal(size=(3, 3000))
    x, y = z + e, z + left * e + math.sqrt(1 - left**2) * d
    partial = partial_tau(kendall_tau(x, y), kendall_tau(x, z), kendall_tau(y, z))
    assert partial == pytest.approx(2 / np.pi * np.arcsin(left), abs=0.04)


def test_the_partial_tau_is_symmetric_bounded_and_none_where_the_third_determines_one():
    assert partial_tau(0.3, 0.5, -0.2) == pytest.approx(partial_tau(0.3, -0.2, 0.5))
    assert partial_tau(-0.3, -0.5, -0.2) == pytest.approx(-partial_tau(0.3, 0.5, -0.2))
    assert partial_tau(1.0, 0.9, -0.9) == 1  # taus that no three measures have together, as those of a few may be
    assert math.isnan(partial_tau(0.3, 1.0, 0.3))
    assert math.isnan(partial_tau(0.3, 0.3, -1.0))
    assert math.isnan(partial_tau(math.nan, 0.0, 0.0))


# Over configurations ---------------------------------------------------------------------------------------------


def test_every_configuration_counts_once_by_its_means():
    frame = measures(architecture=[f"1x{k}" for k in range(2, 9)], optimizer=["sgd", "adam"], data_seed=[0, 1, 2])
    frame = frame.drop(index=[0, 1, 2, 17])  # configurations of different numbers of networks
    means = frame.groupby(CONFIGURATION)[[SHARPNESS, "test_loss", "train_loss"]].mean()
    taus = [
        stats.kendalltau(means[a], means[b]).statistic
        for a, b in ((SHARPNESS, "test_loss"), (SHARPNESS, "train_loss"), ("test_loss", "train_loss"))
    ]
    assert found(frame).estimate == pytest.approx(taus[0])
    assert found(frame, partial=True).estimate == pytest.approx(partial_tau(*taus))


@pytest.mark.parametrize("partial", [False, True])
def test_both_intervals_by_loops(partial):
    frame = measures(architecture=[f"1x{k}" for k in range(2, 9)], optimizer=["sgd", "adam"], data_seed=[0, 1, 2])

    def error(column: list[str]) -> float:
        names = list(frame[column].itertuples(index=False, name=None))
        left = []
        for one in set(names):
            kept = frame.loc[[name != one for name in names]].groupby(CONFIGURATION)
            means = kept[[SHARPNESS, "test_loss", "train_loss"]].mean().to_numpy().T
            xy, xz, yz = (stats.kendalltau(means[a], means[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2)))
            left.append(partial_tau(xy, xz, yz) if partial else xy)
        return math.sqrt((len(left) - 1) * np.var(left))

    summary = found(frame, partial=partial).summary()
    assert (summary.n, summary.cells, summary.draws, summary.over) == (len(frame), 14, 3, "draws")
    assert summary.interval.error == pytest.approx(error(["data_seed"]))
    assert summary.configurations.error == pytest.approx(error(CONFIGURATION))
    assert -1 <= summary.low <= summary.mean <= summary.high <= 1


def test_differences_between_data_sets_do_not_pass_for_correlation():
    # Within each data set sharper is better; the sharp data set is the hard one.
    def hard(r: pd.Series) -> float:
        return 10.0 * (r.dataset == "xor")

    frame = measures(dataset=["moons", "xor"], architecture=[f"1x{k}" for k in range(1, 11)], seed=[0, 1])
    frame[SHARPNESS] = [hard(r) + r.width + 0.1 * r.seed for _, r in frame.iterrows()]
    frame["test_loss"] = [hard(r) - r.width for _, r in frame.iterrows()]
    table = correlation_table(frame).query("outcome == 'test_loss'").set_index("scope")
    assert table.index.tolist() == ["all", "within data sets", "within data sets and optimizers", "moons", "xor"]
    assert table.tau[["moons", "xor", "within data sets"]].tolist() == [-1, -1, -1]
    assert table.tau["all"] > -0.6
    assert table.n.tolist() == [40, 40, 40, 20, 20]
    assert table.configurations.tolist() == [20, 20, 20, 10, 10]


def test_the_table_leaves_out_what_is_missing():
    frame = measures(optimizer=["sgd", "adam"], architecture=["1x50", "2x100"])
    frame.loc[[0, 1, 2], SHARPNESS] = np.nan
    frame.loc[5, "diverged"] = True
    table = correlation_table(frame)
    assert list(table) == COLUMNS
    assert set(table.measure) == {SHARPNESS}
    kept = frame.drop(index=[0, 1, 2, 5]).groupby(CONFIGURATION)
    for outcome in ("test_loss", "generalization_gap"):
        (row,) = table[(table.outcome == outcome) & (table["scope"] == "all")].itertuples()
        assert (row.n, row.configurations) == (8, 3)
        means = kept[[SHARPNESS, outcome]].mean()
        assert row.tau == pytest.approx(stats.kendalltau(means[SHARPNESS], means[outcome]).statistic)
    assert correlation_table(frame[:0]).empty
    assert correlation(frame.drop(columns=SHARPNESS), SHARPNESS, "test_loss", "all", partial=False) is None
    assert correlation(frame, SHARPNESS, "test_loss", "xor", partial=False) is None


def test_an_order_that_nothing_changes_has_an_interval_of_no_width():
    frame = measures(architecture=[f"1x{width}" for width in (10, 20, 30, 40, 50)], seed=[0, 1, 2])
    frame[SHARPNESS] = frame["test_loss"] = frame.width.astype(float)
    row = correlation_table(frame).iloc[0]
    assert (row.tau, row.low, row.high) == (1, 1, 1)
    single = correlation_table(frame[frame.seed == 0]).iloc[0]
    assert single.tau == 1
    assert np.isnan(single.low)


def test_few_configurations_have_a_tau_without_an_interval():
    frame = measures(architecture=[f"1x{width}" for width in (10, 20, 30, 40)], seed=[0, 1, 2])
    frame[SHARPNESS] = frame["test_loss"] = frame.width.astype(float)
    row = correlation_table(frame).iloc[0]
    assert row.tau == 1
    assert np.isnan([row.low, row.high, row.configurations_low, row.partial_low]).all()


def test_infinite_losses_are_larger_than_all_others_and_those_left_out_count_for_nothing():
    frame = measures(architecture=[f"1x{k}" for k in range(1, 7)], data_seed=[0, 1, 2], seed=[0])
    frame[SHARPNESS] = frame["test_loss"] = frame.width.astype(float)
    frame.loc[(frame.width == 6) & (frame.data_seed == 1), "test_loss"] = np.inf
    summary = found(frame).summary()
    assert (summary.mean, summary.low, summary.high) == (1, 1, 1)
    assert np.isnan(kendall_tau([1, np.nan, 2], [1, 2, 3]))
