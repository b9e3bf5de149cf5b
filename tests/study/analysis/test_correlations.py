from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.correlations import COLUMNS, correlation_table, kendall_tau
from lossatlas.study.analysis.runs import MEASURES
from tests.study.samples import networks, noise


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def measures(**levels: list) -> pd.DataFrame:
    frame = networks({"epsilon_sharpness_maximum": noise, "test_loss": lambda r: noise(r) ** 3}, **levels)
    frame["generalization_gap"] = rng(3).integers(4, size=len(frame)).astype(float)
    return frame.reindex(columns=[*frame.columns, *[name for name in MEASURES if name not in frame]]).assign(
        diverged=False
    )


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_tau_of_resamples_is_scipys(levels):
    x, y = rng(1).integers(levels, size=(2, 30)).astype(float)
    x[0] = np.inf
    drawn = rng(2).integers(30, size=(20, 30))
    counts = np.array([np.bincount(row, minlength=30) for row in drawn])
    expected = [stats.kendalltau(x[row], y[row]).statistic for row in drawn]
    assert kendall_tau(x, y, counts) == pytest.approx(expected, abs=1e-12)


def test_tau_within_blocks_counts_pairs_of_one_block_only():
    x, y = rng(4).integers(5, size=(2, 24))
    block = np.repeat([0, 1, 2], 8)
    agree = untied_x = untied_y = 0
    for i in range(24):
        for j in range(i):
            if block[i] == block[j]:
                a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
                agree, untied_x, untied_y = agree + a * b, untied_x + abs(a), untied_y + abs(b)
    (found,) = kendall_tau(x, y, np.ones((1, 24)), block)
    assert found == pytest.approx(agree / np.sqrt(untied_x * untied_y))


def test_a_constant_has_no_correlation():
    assert np.isnan(kendall_tau([1, 1, 1], [1, 2, 3], np.ones((1, 3))))[0]


def test_differences_between_data_sets_do_not_pass_for_correlation():
    # Within each data set sharper is better; the sharp data set is the hard one.
    def hard(r: pd.Series) -> float:
        return 10.0 * (r.dataset == "xor")

    frame = measures(dataset=["moons", "xor"], seed=list(range(10)))
    frame["epsilon_sharpness_maximum"] = [hard(r) + r.seed for _, r in frame.iterrows()]
    frame["test_loss"] = [hard(r) - r.seed for _, r in frame.iterrows()]
    found = correlation_table(frame).query("outcome == 'test_loss'").set_index("scope")
    assert found.index.tolist() == ["all", "moons", "xor", "within data sets", "within data sets and optimizers"]
    assert found.tau[["moons", "xor", "within data sets"]].tolist() == [-1, -1, -1]
    assert found.tau["all"] > 0
    assert found.n.tolist() == [20, 10, 10, 20, 20]


def test_the_table_agrees_with_scipy_and_leaves_out_what_is_missing():
    frame = measures(optimizer=["sgd", "adam"], seed=[0, 1, 2, 3])
    frame.loc[0, "epsilon_sharpness_maximum"] = np.nan
    frame.loc[5, "diverged"] = True
    table = correlation_table(frame)
    assert list(table) == COLUMNS
    assert set(table.measure) == {"epsilon_sharpness_maximum"}
    kept = frame.drop(index=[0, 5])
    for outcome in ("test_loss", "generalization_gap"):
        (row,) = table[(table.outcome == outcome) & (table["scope"] == "all")].itertuples()
        assert row.n == 6
        assert row.tau == pytest.approx(stats.kendalltau(kept.epsilon_sharpness_maximum, kept[outcome]).statistic)
    assert correlation_table(frame[:0]).empty


def test_the_interval_resamples_seeds_within_configurations():
    # Configurations far apart and seeds that change no order: there is nothing uncertain between them.
    frame = measures(architecture=[f"1x{width}" for width in (10, 20, 30, 40)], seed=[0, 1, 2])
    frame["epsilon_sharpness_maximum"] = frame["test_loss"] = frame.width.astype(float)
    row = correlation_table(frame).iloc[0]
    assert (row.tau, row.low, row.high) == (1, 1, 1)
    single = correlation_table(frame[frame.seed == 0]).iloc[0]
    assert single.tau == 1
    assert np.isnan(single.low)
