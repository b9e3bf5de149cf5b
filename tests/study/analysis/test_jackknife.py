"""Intervals by leaving out, against textbook formulas, scipy and explicit loops. How often they hold is in
test_coverage.py."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.numerics.profiles import basin_width, largest_rise
from lossatlas.study.analysis.balance import unmatched
from lossatlas.study.analysis.jackknife import (
    NO_INTERVAL,
    Interval,
    Replicates,
    interval,
    share_interval,
    without_groups,
    without_nodes,
    without_units,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mean_of(values: np.ndarray):
    return lambda weights: weights @ values


def found(values: np.ndarray, replicates: Replicates | None, level: float = 0.95) -> Interval:
    return interval(mean_of(values), replicates, float(values.mean()), level=level)


def known(replicates: Replicates | None) -> Replicates:
    assert replicates is not None
    return replicates


# Means of independent values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 40])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_of_one_stratum_it_is_the_t_interval(n, level):
    values = rng(n).exponential(size=n)
    low, high = stats.t.interval(level, n - 1, values.mean(), stats.sem(values))
    one = found(values, without_units([0] * n), level)
    assert (one.low, one.high) == pytest.approx((low, high))
    assert (one.error, one.freedom) == pytest.approx((stats.sem(values), n - 1))


def test_of_several_strata_it_is_that_of_a_stratified_mean():
    """With unbiased variances and Satterthwaite's degrees of freedom; strata are found by name, not by place."""
    parts = {"a": rng(1).normal(size=3), "b": 100 + 5 * rng(2).normal(size=6), "c": np.array([7.0])}
    n = sum(map(len, parts.values()))
    errors = {name: (len(own) / n) ** 2 * own.var(ddof=1) / len(own) for name, own in parts.items() if len(own) > 1}
    variance = sum(errors.values())
    freedom = variance**2 / sum(error**2 / (len(parts[name]) - 1) for name, error in errors.items())
    order = rng(3).permutation(n)
    values = np.concatenate(list(parts.values()))[order]
    names = np.repeat(list(parts), [len(own) for own in parts.values()])[order].tolist()
    one = found(values, without_units(names))
    assert (one.error, one.freedom) == pytest.approx((math.sqrt(variance), freedom))
    assert one.high - values.mean() == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(variance))


def test_of_two_samples_it_is_welchs():
    a, b = rng(4).normal(size=4), 3 * rng(5).normal(size=9)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    values, signs = np.concatenate([a, b]), np.repeat([13 / 4, -13 / 9], [4, 9])
    one = found(values * signs, without_units([0] * 4 + [1] * 9))
    assert (one.low, one.high) == pytest.approx((welch.low, welch.high))


def test_differences_between_strata_do_not_widen_it():
    noise = rng(6).normal(size=(30, 3))
    strata = np.repeat(np.arange(30), 3).tolist()
    alike, apart = (found((noise + far * np.arange(30)[:, None]).ravel(), without_units(strata)) for far in (0, 1000))
    assert apart.error == pytest.approx(alike.error)


def test_a_single_value_counts_in_the_mean_and_adds_nothing():
    pair, both = (found(np.array(values), without_units(names)) for values, names in (
        ([1.0, 3.0], "aa"), ([1.0, 8.0, 3.0], "aba"),
    ))  # fmt: skip
    assert both.error == pytest.approx(2 / 3 * pair.error)
    assert both.freedom == pair.freedom == 1


@pytest.mark.parametrize(("values", "strata"), [([1.0], "a"), ([1.0, 2.0], "ab"), ([], "")])
def test_without_two_alike_there_is_nothing_to_leave_out(values, strata):
    assert without_units(strata) is None
    assert math.isnan(interval(mean_of(np.array(values)), None, 1.0).low)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_interval(odd):
    values = np.array([1.0, odd, 2.0])
    assert interval(mean_of(values), without_units("aaa"), math.nan) == NO_INTERVAL
    # A replicate that is not finite, though the whole is: a correlation that one seed less leaves constant, say.
    assert math.isnan(interval(lambda weights: np.where(weights[:, 0] > 0, 1.0, odd), without_units("aaa"), 1.0).low)


def test_values_all_alike_have_an_interval_of_no_width_whatever_their_rounding():
    values = np.full(7, 0.1) * (1 + 1e-16)
    one = found(values, without_units([0] * 7))
    assert one.low == one.high == values.mean()
    assert (one.error, one.freedom) == (0, 6)


def test_a_narrower_level_is_a_narrower_interval_and_bounds_cut_it():
    values = rng(7).normal(size=5)
    wide, narrow = (found(values, without_units([0] * 5), level) for level in (0.99, 0.9))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert Interval(-1.0, 2.0, 0.5, 4.0).within(0.0, 1.0) == Interval(0.0, 1.0, 0.5, 4.0)


# Any function of weights -----------------------------------------------------------------------------------------


def test_of_a_ratio_of_means_it_is_the_delete_one_jackknife_by_a_loop():
    top, bottom = rng(8).exponential(size=12), 1 + rng(9).exponential(size=12)
    group = np.repeat(np.arange(4), 3)
    loop = np.array([top[group != g].sum() / bottom[group != g].sum() for g in range(4)])
    variance = 3 / 4 * ((loop - loop.mean()) ** 2).sum()
    one = interval(lambda w: (w @ top) / (w @ bottom), without_groups(group), top.sum() / bottom.sum())
    assert one.error == pytest.approx(math.sqrt(variance))
    assert one.freedom == pytest.approx(3)


def test_without_groups_of_unequal_size_by_a_loop():
    values, group = rng(10).normal(size=10), np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
    loop = np.array([values[group != g].mean() for g in range(4)])
    one = found(values, without_groups(group))
    assert one.error == pytest.approx(math.sqrt(3 / 4 * ((loop - loop.mean()) ** 2).sum()))


def test_fewer_than_three_groups_are_no_sample():
    assert without_groups([0, 0, 1, 1]) is None
    assert without_groups([]) is None
    assert known(without_groups([0, 1, 2])).weights.tolist() == [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    assert without_groups([("moons", 1), ("xor", 1), ("xor", 2)]) is not None


def test_weights_sum_to_one_and_leave_every_stratum_its_share():
    names = list("abcaabbcbcac")
    replicates = known(without_units(names))
    assert len(replicates.weights) == 12
    assert replicates.weights.sum(axis=1) == pytest.approx(1)
    for stratum in "abc":
        share = replicates.weights[:, [name == stratum for name in names]].sum(axis=1)
        assert share == pytest.approx(names.count(stratum) / 12)


# Pairs of networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [3, 4, 7])
def test_of_sums_of_effects_of_nodes_it_is_the_variance_of_twice_their_mean(nodes):
    pairs = np.array(list(itertools.combinations(range(nodes), 2)))
    effects = rng(11).normal(size=nodes)
    values = effects[pairs].sum(axis=1)
    one = found(values, without_nodes([0] * len(pairs), pairs))
    assert values.mean() == pytest.approx(2 * effects.mean())
    assert one.error == pytest.approx(2 * stats.sem(effects))
    assert one.freedom == pytest.approx(nodes - 1)


@pytest.mark.parametrize("nodes", [3, 5, 8])
def test_of_independent_pairs_its_variance_is_too_large_by_a_known_factor(nodes):
    """2 (n − 1)/(n − 2): a node less is n − 1 pairs less. Four for three networks, two for many."""
    pairs = np.array(list(itertools.combinations(range(nodes), 2)))
    replicates = known(without_nodes([0] * len(pairs), pairs))
    centred = replicates.weights - replicates.weights.mean(axis=0)
    variance = (nodes - 1) / nodes * (centred**2).sum()  # of independent pairs of variance 1, in expectation
    assert variance * len(pairs) == pytest.approx(2 * (nodes - 1) / (nodes - 2))


def test_pairs_with_an_odd_network_widen_it():
    pairs = np.array(list(itertools.combinations(range(7), 2)))
    values = (pairs == 0).any(axis=1) * 1.0  # one odd network, not six odd pairs
    assert found(values, without_nodes([0] * 21, pairs)).error > 1.5 * found(values, without_units([0] * 21)).error


def test_two_networks_have_no_interval_and_each_stratum_keeps_its_share():
    assert without_nodes([0], np.array([[0, 1]])) is None
    assert without_nodes([], np.empty((0, 2))) is None
    assert without_nodes([0, 1], np.array([[0, 1], [0, 1]])) is None
    strata = np.array([0, 1, 0, 1, 0, 1, 1, 2])  # rows mixed; the second has another graph, the third two networks
    pairs = np.array([[0, 1], [5, 6], [0, 2], [6, 7], [1, 2], [7, 8], [5, 8], [0, 1]])
    replicates = known(without_nodes(strata.tolist(), pairs))
    assert np.bincount(replicates.strata).tolist() == [3, 4]
    for stratum, share in ((0, 3 / 8), (1, 4 / 8), (2, 1 / 8)):
        assert replicates.weights[:, strata == stratum].sum(axis=1) == pytest.approx(share)


def test_a_star_has_a_node_without_which_nothing_is_left():
    assert without_nodes([0] * 3, np.array([[0, 1], [0, 2], [0, 3]])) is None


# Shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (0, 40), (40, 40)])
def test_none_or_all_is_clopper_and_pearsons(hits, n):
    values = np.repeat([1.0, 0.0], [hits, n - hits])
    one = share_interval(hits / n, found(values, without_units([0] * n)), n)
    exact = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert (one.low, one.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("hits", "n"), [(3, 12), (20, 30), (1, 100)])
def test_of_independent_values_it_is_clopper_and_pearsons_but_for_one_of_n(hits, n):
    """The unbiased variance has n − 1: so has the number of values that it speaks of."""
    values = np.repeat([1.0, 0.0], [hits, n - hits])
    one = share_interval(hits / n, found(values, without_units([0] * n)), n)
    wide, narrow = (
        (stats.beta.ppf(0.025, p * m, m - p * m + 1), stats.beta.ppf(0.975, p * m + 1, m - p * m))
        for p, m in ((hits / n, n - 1), (hits / n, n))
    )
    assert (one.low, one.high) == pytest.approx(wide)
    assert one.low <= narrow[0] < narrow[1] <= one.high


def test_values_that_go_together_count_as_fewer():
    values, draws = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0], 20), np.repeat(np.arange(5), 20)
    apart = share_interval(0.6, found(values, without_units([0] * 100)), 100)
    together = share_interval(0.6, found(values, without_groups(draws)), 100)
    assert 0 <= together.low < apart.low < 0.6 < apart.high < together.high <= 1
    # As Korn and Graubard have it: n is p (1 - p) / error², times the squared ratio of t quantiles.
    error = stats.sem([1, 0, 1, 1, 0])
    effective = 0.24 / error**2 * (stats.t.ppf(0.975, 99) / stats.t.ppf(0.975, 4)) ** 2
    low = stats.beta.ppf(0.025, 0.6 * effective, 0.4 * effective + 1)
    assert together.low == pytest.approx(low)


def test_a_share_of_one_value_or_without_an_error_has_none():
    assert share_interval(1.0, Interval(1.0, 1.0, 0.0, 1.0), 1) == NO_INTERVAL
    assert share_interval(0.5, NO_INTERVAL, 10) == NO_INTERVAL


# Matched comparisons ---------------------------------------------------------------------------------------------


def test_unmatched_finds_what_is_not_shared_out_alike():
    crossed = pd.DataFrame(itertools.product([1, 2], ["sgd", "adam"], [0, 1]), columns=["depth", "optimizer", "seed"])
    runs = crossed.assign(width=np.where(crossed.depth == 1, 500, 100))
    tables = unmatched(runs, "depth", ["optimizer", "width"])
    assert list(tables) == ["width"]
    assert tables["width"].loc[1].to_dict() == {100: 0, 500: 4}
    assert not unmatched(runs[runs.depth == 1], "depth", ["optimizer", "width"])
    # Twice as many runs of everything are matched; one run more of one is not.
    assert not unmatched(pd.concat([runs, runs[runs.depth == 2]]), "depth", ["optimizer"])
    assert "optimizer" in unmatched(pd.concat([runs, runs[:1]]), "depth", ["optimizer"])
    assert not unmatched(runs[:0], "depth", ["width"])


# Curves ----------------------------------------------------------------------------------------------------------


def test_largest_rise_is_the_worst_pair_of_points():
    curve = rng(8).normal(size=40)
    assert largest_rise(curve) == max(0, *(b - a for a, b in itertools.combinations(curve, 2)))
    assert largest_rise([3.0, 2.0, 2.0, -1.0]) == 0
    assert np.isnan(largest_rise([1.0, np.nan, 0.0]))
    assert largest_rise([1.0, np.inf, 0.0]) == np.inf


def test_basin_of_a_parabola():
    alpha = np.linspace(-1, 1, 2001)
    loss = np.where(alpha < 0, 4, 1) * alpha**2 + 7
    assert basin_width(alpha, loss, rise=0.1) == pytest.approx(1.5 * np.sqrt(0.1), abs=1e-6)
    assert basin_width(alpha, -loss, rise=0.1) == 2
    assert basin_width(alpha, loss, rise=2.0) == pytest.approx(np.sqrt(0.5) + 1, abs=1e-6)


def test_basin_is_the_part_around_zero_and_ends_before_what_is_not_finite():
    alpha = np.linspace(-3, 3, 7)
    assert basin_width(alpha, [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], rise=0.5) == 1  # not the basins beyond the walls
    assert basin_width(alpha, [0.0, np.nan, 0.0, 0.0, 0.0, np.inf, 0.0], rise=0.5) == 2
    assert np.isnan(basin_width(alpha, [0.0, 0.0, 0.0, np.nan, 0.0, 0.0, 0.0], rise=0.5))
