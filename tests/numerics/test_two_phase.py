"""Means from nested samples, against populations that are known: unbiased, with errors that hold."""

from __future__ import annotations

import numpy as np
import pytest

from lossatlas.numerics.two_phase import (
    Phase,
    Regression,
    band_factor,
    drawn,
    inclusion_probabilities,
    sample_sizes,
    standard_errors,
)

POPULATION = 6000
PILOTS = np.array([-1.0, 0.0, 1.0])
PLACES = np.linspace(-1, 1, 9)


def skewed(seed: int) -> np.ndarray:
    """Losses of every example at every place, `(9, N)`: of margins, so that near 0 few examples make up the mean."""
    rng = np.random.default_rng(seed)
    margin, slope = 4 + 1.5 * rng.standard_normal(POPULATION), rng.standard_normal((3, POPULATION))
    waves = np.stack([PLACES, PLACES**2, np.sin(3 * PLACES)], 1) @ slope
    return np.logaddexp(0, -margin + 3 * np.abs(PLACES)[:, None] + waves)


def regression_of(values: np.ndarray, sizes: tuple[int, int, int], rng: np.random.Generator):
    """A draw, and the values at its examples."""
    at_pilots = np.searchsorted(PLACES, PILOTS)
    first = rng.choice(values.shape[1], sizes[0], replace=False)
    centre = values[4, first]
    second_chances = inclusion_probabilities(centre[:, None], sizes[1])
    second = drawn(second_chances, rng)
    pilots = values[at_pilots][:, first[second]].T
    third_chances = inclusion_probabilities(pilots / second_chances[second, None], sizes[2])
    third = drawn(third_chances, rng)
    found = Regression(values.shape[1], centre, second, second_chances, pilots, third, third_chances)
    return found, values[:, first[second[third]]]


def test_chances_add_up_and_the_hardest_are_certain():
    rng = np.random.default_rng(0)
    pilots = rng.exponential(size=(500, 2)) ** 4
    chances = inclusion_probabilities(pilots, 60)
    assert chances.sum() == pytest.approx(60)
    assert chances.max() == 1
    assert chances.min() > 0
    assert chances[pilots.sum(1).argmax()] == 1
    assert (inclusion_probabilities(pilots, 500) == 1).all()
    np.testing.assert_allclose(inclusion_probabilities(np.zeros((10, 1)), 5), 0.5)


def test_every_example_is_drawn_as_often_as_its_chance_says():
    chances = np.array([1.0, 0.75, 0.5, 0.5, 0.25])
    rng = np.random.default_rng(1)
    draws = [drawn(chances, rng) for _ in range(4000)]
    assert {len(rows) for rows in draws} == {3}
    often = np.bincount(np.concatenate(draws), minlength=5) / len(draws)
    np.testing.assert_allclose(often, chances, atol=0.03)


def test_all_examples_give_the_mean_itself_without_an_error():
    values = skewed(0)[:, :300]
    found, own = regression_of(values, (300, 300, 300), np.random.default_rng(0))
    np.testing.assert_allclose(found.means(own), values.mean(1), rtol=1e-10)
    assert standard_errors(sum(found.covariances(own))).max() < 1e-10


def test_what_is_linear_in_the_pilots_has_no_error_of_the_last_sample():
    values = skewed(2)
    values[1] = 2 + values[0] - 3 * values[4] + 0.5 * values[8]
    found, own = regression_of(values, (POPULATION, POPULATION, 100), np.random.default_rng(3))
    means = found.means(own)
    np.testing.assert_allclose(means[[0, 1, 4, 8]], values.mean(1)[[0, 1, 4, 8]], rtol=1e-8)
    assert abs(means[2] / values[2].mean() - 1) > 1e-6


@pytest.mark.parametrize("sizes", [(POPULATION, POPULATION, 300), (POPULATION, 1500, 300), (4000, 1000, 250)])
def test_estimates_are_unbiased_and_their_standard_errors_are_the_spread_of_draws(sizes):
    values = skewed(5)
    truth, estimates, stated, covered = values.mean(1), [], [], []
    for seed in range(150):
        found, own = regression_of(values, sizes, np.random.default_rng(seed))
        means, errors = found.means(own), standard_errors(sum(found.covariances(own)))
        estimates.append(means)
        stated.append(errors)
        covered.append(np.abs(means - truth) <= 1.96 * errors + 1e-12)
    spread, mean_stated = np.std(estimates, 0), np.sqrt(np.mean(np.square(stated), 0))
    assert (np.abs(np.mean(estimates, 0) - truth) <= 4 * spread / np.sqrt(150) + 0.1 * spread + 1e-12).all()
    uncertain = spread > 1e-9
    assert uncertain.any()
    assert (mean_stated[uncertain] > 0.8 * spread[uncertain]).all()
    assert (mean_stated[uncertain] < 1.4 * spread[uncertain]).all()
    assert np.mean(covered) > 0.9


def test_the_logarithm_near_a_minimum_has_half_the_error_of_a_plain_sample():
    values = skewed(7)
    truth, ours, plain = np.log(values.mean(1)), [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found, own = regression_of(values, (POPULATION, POPULATION, 200), rng)
        ours.append(np.abs(np.log(found.means(own)) - truth).max())
        rows = rng.choice(POPULATION, 200, replace=False)
        plain.append(np.abs(np.log(values[:, rows].mean(1)) - truth).max())
    assert np.quantile(ours, 0.9) < np.quantile(plain, 0.9) / 1.8


def test_a_band_is_that_of_the_largest_of_normal_deviates():
    rng = np.random.default_rng(0)
    assert band_factor(np.eye(1), 0.95, rng, draws=40_000) == pytest.approx(1.96, abs=0.03)
    # Šidák: twenty independent ones hold together in 95 of 100 draws where each does in 0.95 ** (1 / 20).
    assert band_factor(np.eye(20), 0.95, rng, draws=40_000) == pytest.approx(3.016, abs=0.04)
    assert band_factor(np.ones((20, 20)), 0.95, rng, draws=40_000) == pytest.approx(1.96, abs=0.03)
    assert band_factor(np.zeros((3, 3)), 0.95, rng) == 0


def test_sizes_have_the_error_that_is_asked_for_and_no_cheaper_ones_do():
    spread, left, population = 4.0, 0.5, 10**6

    def error(first, second):
        return np.sqrt(spread * (1 / first - 1 / population) + left * (1 / second - 1 / first))

    first, second = sample_sizes(spread, left, population=population, error=0.02, pilots=9, nodes=150)
    assert error(first, second) == pytest.approx(0.02, rel=0.02)
    cost = 9 * first + 150 * second
    for factor in (0.5, 0.8, 1.25, 2.0):
        other = int(first * factor)
        allowed = 0.02**2 - (spread - left) / other + spread / population
        if allowed > 0:
            assert 9 * other + 150 * min(left / allowed, other) >= 0.999 * cost


def test_sizes_never_exceed_the_population():
    assert sample_sizes(4.0, 4.0, population=500, error=1e-6, pilots=9, nodes=150) == (500, 500)
    first, second = sample_sizes(4.0, 0.1, population=500, error=0.05, pilots=9, nodes=150)
    assert first == 500
    assert second < 500


def test_pilots_that_are_alike_do_not_make_weights_large():
    rng = np.random.default_rng(0)
    one = rng.exponential(size=200)
    pilots = np.stack([one, one * (1 + 1e-9 * rng.standard_normal(200)), 2 * one], 1)
    phase = Phase(np.full(200, 1 / 200), np.full(200, 0.1), pilots, pilots.mean(0) * 1.01)
    assert np.abs(phase.weights).max() < 0.02
    assert phase.weights @ one == pytest.approx(1.01 * one.mean(), rel=1e-6)
