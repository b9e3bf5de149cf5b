from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas.numerics.profiles import basin_width, largest_rise
from lossatlas.study.analysis.bootstrap import (
    bootstrap_mean,
    bootstrap_pair_mean,
    generator_of,
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


def test_one_large_stratum_agrees_with_scipy():
    values = rng(2).exponential(size=200)
    found = bootstrap_mean(values, [0] * 200, level=0.9, resamples=40_000, rng=rng())
    witness = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=40_000, method="percentile", rng=rng(5)
    ).confidence_interval
    assert [found.low, found.high] == pytest.approx([witness.low, witness.high], abs=0.005)


def test_strata_are_resampled_apart_as_all_possible_draws_say():
    strata = {"a": [1.0, 2.0], "b": [100.0, 104.0, 109.0]}
    draws = [  # one fewer than there are in each, and each stratum with its own share
        0.4 * np.mean(a) + 0.6 * np.mean(b)
        for a in itertools.product(strata["a"], repeat=1)
        for b in itertools.product(strata["b"], repeat=2)
    ]
    # Rows come mixed: the strata are found by name, not by place.
    values, names = [100.0, 1.0, 104.0, 2.0, 109.0], ["b", "a", "b", "a", "b"]
    found = bootstrap_mean(values, names, level=0.8, resamples=50_000, rng=rng())
    assert found.mean == np.mean(values)
    assert [found.low, found.high] == pytest.approx(np.quantile(np.repeat(draws, 1000), [0.1, 0.9]))


def test_differences_between_strata_do_not_widen_the_interval():
    noise = rng(3).normal(size=(30, 3))
    strata = np.repeat(np.arange(30), 3)
    alike = bootstrap_mean(noise.ravel(), strata, rng=rng())
    apart = bootstrap_mean((noise + 1000 * np.arange(30)[:, None]).ravel(), strata, rng=rng())
    assert apart.high - apart.low == pytest.approx(alike.high - alike.low)
    error = np.sqrt(noise.var(axis=1, ddof=1).sum() * 3) / 90
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_single_values_and_not_finite_ones_have_no_interval():
    for values, strata in (([1.0], ["a"]), ([1.0, 2.0], ["a", "b"]), ([1.0, np.nan], ["a", "a"]), ([], [])):
        found = bootstrap_mean(values, strata, rng=rng())
        assert found.n == len(values)
        assert np.isnan([found.low, found.high]).all()
    assert bootstrap_mean([1.0, 2.0, 3.0], "aab", rng=rng()).mean == 2
    assert np.isnan(bootstrap_mean([np.inf, -np.inf], "aa", rng=rng()).mean)


def test_a_single_value_counts_in_the_mean_and_adds_nothing_to_the_interval():
    pair = bootstrap_mean([1.0, 3.0], "aa", rng=rng())
    with_single = bootstrap_mean([1.0, 8.0, 3.0], "aba", rng=rng())
    assert (pair.low, pair.high) == (1, 3)
    assert with_single.n == 3
    assert [with_single.low, with_single.mean, with_single.high] == pytest.approx([10 / 3, 4, 14 / 3])


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
    means, shares = [], []
    for drawn in itertools.product(nodes, repeat=5):
        seen = [(min(i, j), max(i, j)) for i, j in itertools.combinations(drawn, 2) if i != j]
        if seen:
            means.append(np.mean([table[pair] for pair in seen]))
            shares.append([np.mean([node in pair for pair in seen]) for node in nodes])
    assert len(means) == 5**5 - 5
    stretch = np.sqrt(4 / 5 / np.var(shares, axis=0).sum())  # a mean of sums of two of five has the variance 4/5
    expected = values.mean() + stretch * (np.quantile(means, [0.025, 0.975]) - values.mean())
    found = bootstrap_pair_mean(values, pairs, resamples=100_000, rng=rng())
    assert found.n == 10
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("nodes", [3, 4, 6])
def test_pairs_of_independent_node_effects_have_the_variance_of_twice_their_mean(nodes):
    pairs = np.array(list(itertools.combinations(range(nodes), 2)))
    weights = pair_resampling_weights(np.zeros(len(pairs)), pairs, resamples=50_000, rng=rng())
    assert weights is not None
    effects = rng(11).normal(size=(500, nodes))
    drawn = (effects[:, pairs].sum(axis=2) @ weights.T).var(axis=1).mean()
    assert drawn == pytest.approx((4 * effects.var(axis=1, ddof=1) / nodes).mean(), rel=0.1)


def test_shared_nodes_widen_the_interval():
    # Every pair with node 0 is high: that is one odd network, not six odd pairs.
    pairs = list(itertools.combinations(range(7), 2))
    values = [float(0 in pair) for pair in pairs]
    nodes = bootstrap_pair_mean(values, pairs, rng=rng())
    independent = bootstrap_mean(values, [0] * len(pairs), rng=rng())
    assert nodes.high - nodes.low > 1.2 * (independent.high - independent.low)


def test_two_nodes_have_no_interval_and_three_a_wide_one():
    two = bootstrap_pair_mean([0.5], [(0, 1)], rng=rng())
    assert (two.n, two.mean) == (1, 0.5)
    assert np.isnan([two.low, two.high]).all()
    three = bootstrap_pair_mean([1.0, 2.0, 6.0], [(0, 1), (0, 2), (1, 2)], rng=rng())
    assert three.mean == 3
    assert three.low < 1 < 6 < three.high  # three networks show too little of how far pairs can differ


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
        assert counts[:, strata == stratum].sum(axis=1) == pytest.approx(4)
    found = bootstrap_mean(values, strata, resamples=20_000, rng=rng(1))
    assert percentiles(counts @ values / 12) == pytest.approx((found.low, found.high), abs=0.02)
    mixed = resampling_counts(["a", "b", "a"], rng=rng())
    assert mixed is not None
    assert (mixed[:, 1] == 1).all()
    assert resampling_counts(["a", "b"], rng=rng()) is None
    assert resampling_counts([], rng=rng()) is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_means_have_the_unbiased_variance_however_few_seeds(n):
    values, strata = rng(12).normal(size=2 * n), np.repeat(["a", "b"], n)
    counts = resampling_counts(strata, resamples=100_000, rng=rng())
    assert counts is not None
    expected = values.reshape(2, n).var(axis=1, ddof=1).sum() / n / 4
    assert (counts @ values / (2 * n)).var() == pytest.approx(expected, rel=0.03)


def test_the_same_runs_have_the_same_draws_in_any_order_and_other_runs_have_others():
    runs = pd.DataFrame({"dataset": ["moons", "xor"] * 3, "seed": [0, 0, 1, 1, 2, 2], "weight_decay": 1e-4})
    values = rng(13).normal(size=6)
    first = bootstrap_mean(values, runs.dataset, rng=generator_of(runs))
    order = [1, 3, 5, 0, 2, 4]
    again = runs.iloc[order, ::-1]
    second = bootstrap_mean(values[order], again.dataset, rng=generator_of(again))
    assert (second.low, second.high) == pytest.approx((first.low, first.high))
    assert generator_of(runs).integers(2**60) != generator_of(runs.assign(seed=runs.seed + 1)).integers(2**60)


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
    lone = pair_resampling_weights([0, 0, 0, 1], [(0, 1), (0, 2), (1, 2), (0, 1)], rng=rng())
    assert lone is not None
    assert (lone[:, 3] == 0.25).all()
    assert pair_resampling_weights([0, 1], [(0, 1), (0, 1)], rng=rng()) is None
    assert pair_resampling_weights([], np.empty((0, 2)), rng=rng()) is None


def test_percentiles_of_what_is_not_finite_are_nan():
    assert np.isnan(percentiles(np.array([1.0, np.nan, 2.0]))).all()
    assert percentiles(np.arange(101.0), level=0.9) == pytest.approx((5, 95))
