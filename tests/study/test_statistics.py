from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.study.statistics import (
    basin_width,
    bootstrap_mean,
    bootstrap_pair_mean,
    largest_rise,
    pair_resampling_weights,
    percentiles,
    resampling_counts,
    unmatched,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Means over runs -----------------------------------------------------------------------------------------------


def test_large_normal_sample_gives_the_t_interval():
    values = rng(1).normal(3.0, 2.0, 500)
    found = bootstrap_mean(values, ["all"] * 500, resamples=20_000, rng=rng())
    error = values.std(ddof=1) / np.sqrt(500)
    low, high = stats.t.interval(0.95, 499, values.mean(), error)
    assert found.n == 500
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.05 * error)


def test_one_stratum_agrees_with_scipy():
    values = rng(2).exponential(size=12)
    found = bootstrap_mean(values, [0] * 12, level=0.9, resamples=40_000, rng=rng())
    witness = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=40_000, method="percentile", rng=rng(5)
    ).confidence_interval
    assert [found.low, found.high] == pytest.approx([witness.low, witness.high], abs=0.01)


def test_strata_are_resampled_apart_as_all_possible_draws_say():
    strata = {"a": [1.0, 2.0], "b": [100.0, 104.0, 109.0]}
    draws = [
        np.mean([*a, *b])
        for a in itertools.product(strata["a"], repeat=2)
        for b in itertools.product(strata["b"], repeat=3)
    ]
    # Rows come mixed: the strata are found by name, not by place.
    values, names = [100.0, 1.0, 104.0, 2.0, 109.0], ["b", "a", "b", "a", "b"]
    found = bootstrap_mean(values, names, level=0.8, resamples=50_000, rng=rng())
    assert found.mean == np.mean(values)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.1, 0.9]), abs=0.21)  # the grid is 0.2 apart


def test_differences_between_strata_do_not_widen_the_interval():
    noise = rng(3).normal(size=(30, 3))
    strata = np.repeat(np.arange(30), 3)
    alike = bootstrap_mean(noise.ravel(), strata, rng=rng())
    apart = bootstrap_mean((noise + 1000 * np.arange(30)[:, None]).ravel(), strata, rng=rng())
    assert apart.high - apart.low == pytest.approx(alike.high - alike.low)
    error = np.sqrt(noise.var(axis=1).sum() * 3) / 90
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_single_values_and_not_finite_ones_have_no_interval():
    for values, strata in (([1.0], ["a"]), ([1.0, 2.0, 3.0], ["a", "a", "b"]), ([1.0, np.nan], ["a", "a"]), ([], [])):
        found = bootstrap_mean(values, strata, rng=rng())
        assert found.n == len(values)
        assert np.isnan([found.low, found.high]).all()
    assert bootstrap_mean([1.0, 2.0, 3.0], "aab", rng=rng()).mean == 2
    assert np.isnan(bootstrap_mean([np.inf, -np.inf], "aa", rng=rng()).mean)


def test_same_generator_same_interval_and_lengths_must_agree():
    values, strata = rng(4).normal(size=20), list("ab" * 10)
    assert bootstrap_mean(values, strata, rng=rng(7)) == bootstrap_mean(values, strata, rng=rng(7))
    with pytest.raises(ValueError, match="20 values and 2 strata"):
        bootstrap_mean(values, "ab", rng=rng())
    with pytest.raises(ValueError, match="1 values and 0 pairs"):
        bootstrap_pair_mean([1.0], [], rng=rng())


# Means over pairs ----------------------------------------------------------------------------------------------


def test_pair_bootstrap_agrees_with_all_possible_draws_of_nodes():
    nodes = range(5)
    pairs = list(itertools.combinations(nodes, 2))
    values = rng(6).exponential(size=len(pairs))
    table = dict(zip(pairs, values, strict=True))
    means = []
    for drawn in itertools.product(nodes, repeat=5):
        seen = [table[min(i, j), max(i, j)] for i, j in itertools.combinations(drawn, 2) if i != j]
        if seen:
            means.append(np.mean(seen))
    assert len(means) == 5**5 - 5
    found = bootstrap_pair_mean(values, pairs, resamples=100_000, rng=rng())
    assert found.n == 10
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_shared_nodes_widen_the_interval():
    # Every pair with node 0 is high: that is one odd network, not six odd pairs.
    pairs = list(itertools.combinations(range(7), 2))
    values = [float(0 in pair) for pair in pairs]
    nodes = bootstrap_pair_mean(values, pairs, rng=rng())
    independent = bootstrap_mean(values, [0] * len(pairs), rng=rng())
    assert nodes.high - nodes.low > 1.2 * (independent.high - independent.low)


def test_two_nodes_have_no_interval_and_three_that_of_their_extremes():
    two = bootstrap_pair_mean([0.5], [(0, 1)], rng=rng())
    assert (two.n, two.mean) == (1, 0.5)
    assert np.isnan([two.low, two.high]).all()
    three = bootstrap_pair_mean([1.0, 2.0, 6.0], [(0, 1), (0, 2), (1, 2)], rng=rng())
    assert (three.low, three.mean, three.high) == (1.0, 3.0, 6.0)


# Matched comparisons -------------------------------------------------------------------------------------------


def test_unmatched_finds_what_is_not_shared_out_alike():
    crossed = pd.DataFrame(itertools.product([1, 2], ["sgd", "adam"], [0, 1]), columns=["depth", "optimizer", "seed"])
    runs = crossed.assign(width=np.where(crossed.depth == 1, 500, 100))
    found = unmatched(runs, "depth", ["optimizer", "width"])
    assert list(found) == ["width"]
    assert found["width"].loc[1].to_dict() == {100: 0, 500: 4}
    assert not unmatched(runs[runs.depth == 1], "depth", ["optimizer", "width"])
    # Twice as many runs of everything are matched; one run more of one is not.
    assert not unmatched(pd.concat([runs, runs[runs.depth == 2]]), "depth", ["optimizer"])
    assert "optimizer" in unmatched(pd.concat([runs, runs[:1]]), "depth", ["optimizer"])
    assert not unmatched(runs[:0], "depth", ["width"])


# Curves --------------------------------------------------------------------------------------------------------


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


# Draws that several statistics share ---------------------------------------------------------------------------


def test_counts_keep_the_size_of_every_stratum_and_give_the_same_interval():
    values, strata = rng(9).exponential(size=12), np.array(list("abcaabbcbcac"))
    counts = resampling_counts(strata, resamples=20_000, rng=rng())
    assert counts is not None
    for stratum in "abc":
        assert (counts[:, strata == stratum].sum(axis=1) == 4).all()
    found = bootstrap_mean(values, strata, resamples=20_000, rng=rng(1))
    assert percentiles(counts @ values / 12) == pytest.approx((found.low, found.high), abs=0.02)
    assert resampling_counts(["a", "a", "b"], rng=rng()) is None
    assert resampling_counts([], rng=rng()) is None


def test_pair_weights_are_those_of_the_pair_bootstrap_in_each_stratum():
    pairs = list(itertools.combinations(range(4), 2))
    values = rng(10).exponential(size=6)
    weights = pair_resampling_weights(np.zeros(6), pairs, resamples=50_000, rng=rng())
    assert weights is not None
    assert weights.sum(axis=1) == pytest.approx(1)
    found = bootstrap_pair_mean(values, pairs, resamples=50_000, rng=rng(1))
    # There the resamples are means with one weight for each draw of a pair: the same within one stratum.
    assert percentiles(weights @ values) == pytest.approx((found.low, found.high), abs=0.02)
    # Two strata, one of another graph, rows mixed: each keeps its share.
    strata = np.array([0, 1, 0, 1, 0, 1, 1])
    mixed = [(0, 1), (5, 6), (0, 2), (6, 7), (1, 2), (7, 8), (5, 8)]
    weights = pair_resampling_weights(strata, mixed, rng=rng())
    assert weights is not None
    assert weights[:, strata == 0].sum(axis=1) == pytest.approx(3 / 7)
    assert pair_resampling_weights([0, 0, 0, 1], [(0, 1), (0, 2), (1, 2), (0, 1)], rng=rng()) is None
    assert pair_resampling_weights([], np.empty((0, 2)), rng=rng()) is None


def test_percentiles_of_what_is_not_finite_are_nan():
    assert np.isnan(percentiles(np.array([1.0, np.nan, 2.0]))).all()
    assert percentiles(np.arange(101.0), level=0.9) == pytest.approx((5, 95))
