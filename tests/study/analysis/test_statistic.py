"""Statistics of units, and what is left out of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.analysis.jackknife import NO_INTERVAL
from lossatlas.study.analysis.statistic import NOTHING, Statistic, mean_of_rows

NAMES = pd.MultiIndex.from_product([list("abc"), range(4), range(2)], names=["cell", "data_seed", "seed"])
FRAME = NAMES.to_frame(index=False)
VALUES = np.random.default_rng(0).normal(size=len(FRAME))


def mean(**fields) -> Statistic:
    return Statistic(FRAME, ("cell",), VALUES, **fields)


def by_loop(column: str) -> float:
    """The standard error by leaving out each member of a column."""
    left = np.array([VALUES[(FRAME[column] != one).to_numpy()].mean() for one in FRAME[column].unique()])
    return math.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())


def test_a_mean_and_both_intervals_by_loops():
    found = mean().summary()
    assert (found.n, found.cells, found.draws, found.over, found.single) == (24, 3, 4, "draws", 0)
    assert found.mean == VALUES.mean()
    assert (found.interval.error, found.interval.freedom) == pytest.approx((by_loop("data_seed"), 3))
    assert (found.configurations.error, found.configurations.freedom) == pytest.approx((by_loop("cell"), 2))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 3) * by_loop("data_seed"))


def test_the_order_of_the_units_and_the_values_of_names_change_nothing():
    order = np.random.default_rng(1).permutation(len(FRAME))
    shuffled = Statistic(FRAME.iloc[order].reset_index(drop=True), ("cell",), VALUES[order])
    renamed = Statistic(FRAME.assign(data_seed=FRAME.data_seed * 7 + 100), ("cell",), VALUES)
    for other in (shuffled, renamed):
        assert other.summary().interval.error == pytest.approx(mean().summary().interval.error)


def test_with_one_draw_seeds_are_left_out_within_cells():
    one = mean().keep((FRAME.data_seed == 2).to_numpy())
    found = one.summary()
    values = VALUES[(FRAME.data_seed == 2).to_numpy()].reshape(3, 2)
    assert (found.over, found.draws) == ("seeds", 1)
    assert found.interval.error == pytest.approx(math.sqrt((values.var(axis=1, ddof=1) / 2).sum()) / 3)


def test_a_ragged_design_is_averaged_over_its_units():
    kept = np.ones(len(FRAME), dtype=bool)
    kept[[0, 1, 2, 9]] = False
    ragged = mean().keep(kept)
    assert ragged.estimate == VALUES[kept].mean()
    draws = FRAME.data_seed.to_numpy()
    left = np.array([VALUES[kept & (draws != one)].mean() for one in range(4)])
    assert ragged.over_seeds()[0].error == pytest.approx(math.sqrt(3 / 4 * ((left - left.mean()) ** 2).sum()))


def test_some_units_of_any_function():
    ratio = mean(function=lambda w: (w @ VALUES) / (w @ np.arange(24.0)))
    kept = (FRAME.data_seed != 1).to_numpy()
    assert ratio.keep(kept).estimate == pytest.approx(VALUES[kept].sum() / np.arange(24)[kept].sum())
    assert ratio.keep(kept).keep((FRAME.seed[kept] == 0).to_numpy()).n == 9


def test_bounds_hold_for_both_intervals_and_leave_the_error():
    free, bounded = mean(), mean(bounds=(VALUES.mean() - 1e-3, math.inf))
    for a, b in ((free.summary().interval, bounded.summary().interval), (
        free.summary().configurations, bounded.summary().configurations,
    )):  # fmt: skip
        assert a.low < b.low == VALUES.mean() - 1e-3
        assert (b.high, b.error) == (a.high, a.error)


def test_a_share_stays_between_0_and_1_and_counts_draws_not_networks():
    positive = mean().mapped(lambda value: 1.0 * (value > 0), share=True)
    found = positive.summary()
    assert 0 <= found.low < found.mean < found.high <= 1
    # On one draw all hold and on the others none do: four draws, however many networks.
    odd = Statistic(FRAME, ("cell",), (FRAME.data_seed == 0).to_numpy(dtype=float), share=True).summary()
    assert odd.mean == 0.25
    assert odd.high - odd.low > 0.8


def test_nothing_has_no_summary():
    empty = mean().keep(np.zeros(24, dtype=bool))
    assert empty.summary() == NOTHING
    assert math.isnan(empty.estimate)
    assert empty.over_configurations() == NO_INTERVAL


def test_infinities_of_both_signs_have_no_mean():
    values = VALUES.copy()
    values[3] = math.inf
    assert Statistic(FRAME, ("cell",), values).estimate == math.inf
    values[4] = -math.inf
    assert math.isnan(Statistic(FRAME, ("cell",), values).estimate)
    assert math.isnan(Statistic(FRAME, ("cell",), values).summary().low)


def test_rows_of_a_table():
    rows = FRAME.assign(loss=VALUES, holds=pd.array([True, False] * 12, dtype="boolean"))
    assert mean_of_rows(rows, "loss", ["cell"]).summary() == mean().summary()
    assert mean_of_rows(rows, "holds", ["cell"]).estimate == 0.5
    rows.loc[5, "loss"] = math.nan  # what is not known is not left out of a mean that says it is of all
    assert math.isnan(mean_of_rows(rows, "loss", ["cell"]).estimate)
    pairs = rows.rename(columns={"seed": "seed_a"}).assign(seed_b=9)
    assert list(mean_of_rows(pairs, "loss", ["cell"]).names) == ["cell", "data_seed", "seed_a", "seed_b"]
