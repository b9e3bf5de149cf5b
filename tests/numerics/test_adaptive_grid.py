"""Grids from few of their nodes, against the whole grid of functions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from lossatlas.numerics.adaptive_grid import (
    ACCEPTED_ERROR,
    MAX_MEASURED_SHARE,
    MAX_PASSED_ROUNDS,
    FillingDecision,
    decide_filling,
    fill,
)
from tests.numerics.grids import AXIS, bowl, holds, kinked, on_grid, saddle, valley


@pytest.mark.parametrize("function", [bowl, valley, kinked, saddle])
def test_a_surface_is_right_from_a_fraction_of_its_nodes(function):
    whole, evaluate, asked = on_grid(function)
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert filled.reason == ""
    assert 0 < np.abs(filled.values - whole).max() < 0.03 * np.ptp(whole)
    assert filled.measured.sum() == sum(map(len, asked)) < MAX_MEASURED_SHARE * 51 * 51
    assert np.array_equal(filled.values[0][filled.measured], whole[0][filled.measured])


def test_no_node_is_measured_twice():
    _, evaluate, asked = on_grid(valley)
    fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    nodes = np.concatenate(asked)
    assert len(np.unique(nodes, axis=0)) == len(nodes)


def test_a_rough_function_saves_nodes_and_the_stated_error_holds():
    """Above a function that differs by a few smooth percent, on surfaces drawn at random."""
    rng = np.random.default_rng(6)
    held, counts, alone = [], [], []
    for _ in range(40):
        waves, bends, shift = rng.normal(size=(4, 2)), rng.normal(size=(3, 3)), rng.normal(size=3)

        def surface(x, y, waves=waves, bends=bends):
            smooth = sum(np.cos(2 * a * x + 2 * b * y) for a, b in waves)
            return 5 + smooth + sum(np.maximum(0, a * x + b * y + c / 2) for a, b, c in bends)

        def close(x, y, surface=surface, shift=shift):
            return surface(x, y) * (1 + 0.03 * np.sin(shift[0] * x + shift[1] * y + shift[2]))

        whole, evaluate, _ = on_grid(surface)
        _, rough, asked_roughly = on_grid(close)
        filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01, rough=rough)
        held.append(holds(filled, whole))
        counts.append(int(filled.measured.sum()))
        alone.append(int(fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01).measured.sum()))
        assert np.array_equal(filled.values[0][filled.measured], whole[0][filled.measured])
        assert filled.rough_nodes == sum(map(len, asked_roughly))
        assert len(np.unique(np.concatenate(asked_roughly), axis=0)) == filled.rough_nodes
    assert np.mean(held) >= 0.95
    assert np.mean(counts) < np.mean(alone) / 2


@pytest.mark.parametrize("wrong", [lambda x, y: 0 * x, lambda x, y: np.sin(9 * x + 7 * y), lambda x, y: x / 0.0])
def test_a_rough_function_that_is_wrong_costs_nodes_and_no_accuracy(wrong):
    whole, evaluate, _ = on_grid(valley)
    with np.errstate(divide="ignore", invalid="ignore"):
        _, rough, _ = on_grid(wrong)
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01, rough=rough)
    assert np.abs(filled.values - whole).max() < 0.03 * np.ptp(whole)


def test_a_rough_function_with_holes_between_its_nodes_is_left():
    """Finite wherever it was first asked, not where the difference asks."""
    whole, evaluate, asked = on_grid(valley)
    _, close, _ = on_grid(valley)
    calls = []

    def rough(nodes):
        calls.append(len(nodes))
        values = close(nodes)
        return values if len(calls) < 20 and nodes.shape[0] > 12 else np.full_like(values, np.nan)

    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01, rough=rough)
    assert calls[-1] <= 12
    nodes = np.concatenate(asked)
    assert len(np.unique(nodes, axis=0)) == len(nodes)
    assert np.abs(filled.values - whole).max() < 0.03 * np.ptp(whole)


def test_a_rough_function_that_is_negative_somewhere():
    whole, evaluate, _ = on_grid(valley)
    _, rough, _ = on_grid(lambda x, y: valley(x, y) - 2e-3)
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01, rough=rough)
    assert np.abs(filled.values - whole).max() < 0.03 * np.ptp(whole)


def test_a_curve_above_a_rough_one():
    whole, evaluate, asked = on_grid(lambda x: np.exp(3 * x) + np.abs(x), axes=(AXIS,))
    _, rough, _ = on_grid(lambda x: 1.02 * np.exp(3 * x) + np.abs(x), axes=(AXIS,))
    filled = fill(evaluate, (AXIS,), smooth=[True], tol=0.01, rough=rough)
    assert np.abs(filled.values - whole).max() < 0.02 * np.ptp(whole)
    assert sum(map(len, asked)) < 16


def test_a_loss_over_decades_is_right_on_a_log_axis_too():
    whole, evaluate, _ = on_grid(lambda x, y: np.exp(4 * np.sin(2 * x) + 3 * y**2 - 4))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert not filled.measured.all()
    assert np.abs(np.log(filled.values / whole)).max() < 0.02 * np.ptp(np.log(whole))


def test_axes_of_different_length_are_not_confused():
    axes = (np.linspace(-1, 2, 41), np.linspace(-3, 0.5, 27))
    whole, evaluate, _ = on_grid(lambda x, y: (x - 1) ** 2 + 0.1 * y**3 + x * y, axes=axes)
    filled = fill(evaluate, axes, smooth=[True], tol=0.01)
    assert filled.values.shape == (1, 41, 27)
    assert holds(filled, whole)
    assert np.abs(filled.values - whole).max() < 0.015 * np.ptp(whole)


def test_the_node_at_the_origin_is_measured():
    axes = (np.arange(51) * 0.1 - 1.3, np.arange(51) * 0.2 - 7.0)
    _, evaluate, _ = on_grid(bowl, axes=axes)
    filled = fill(evaluate, axes, smooth=[True], tol=0.01)
    assert filled.measured[13, 35]


def test_curves_take_few_nodes_too():
    axis = np.linspace(0, 1, 101)
    whole, evaluate, _ = on_grid(lambda x: np.exp(-3 * x) + 0.2 * np.sin(5 * x), axes=(axis,))
    filled = fill(evaluate, (axis,), smooth=[True], tol=0.01)
    assert filled.measured.sum() < 30
    assert holds(filled, whole)
    assert filled.error.max() < 0.03 * np.ptp(whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_a_value_is_not_finite_every_node_is_measured(value):
    whole, evaluate, _ = on_grid(lambda x, y: np.where(x + y > 1, value, x**2 + y))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert filled.reason == "a value is not finite"
    assert filled.measured.all()
    assert np.array_equal(filled.values, whole, equal_nan=True)
    assert (filled.error == 0).all()


def test_what_cannot_be_represented_is_measured_as_a_whole():
    whole, evaluate, _ = on_grid(lambda x, y: np.random.default_rng(0).normal(size=x.shape))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert filled.reason.startswith("not within 0.01 of the range")
    assert np.array_equal(filled.values, whole)


def test_a_small_grid_is_measured_as_a_whole():
    axis = np.linspace(-1, 1, 7)
    whole, evaluate, _ = on_grid(bowl, axes=(axis, axis))
    filled = fill(evaluate, (axis, axis), smooth=[True], tol=0.01)
    assert np.array_equal(filled.values, whole)
    assert filled.reason == "too few nodes to leave some out"


def test_a_constant_is_a_constant():
    whole, evaluate, _ = on_grid(lambda x, y: np.full_like(x, 0.7))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert np.allclose(filled.values, whole, rtol=1e-12)


def test_the_range_is_that_of_the_values_not_of_their_distance_from_zero():
    whole, evaluate, _ = on_grid(lambda x, y: 1e6 + bowl(x, y))
    filled = fill(evaluate, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert np.abs(filled.values - whole).max() < 0.015 * np.ptp(whole)


def test_a_hole_that_a_late_round_meets_is_no_surface():
    """Found at the nodes after the first round that held the tolerance, along a kink that asks for more rounds."""
    _, evaluate, _ = on_grid(kinked)
    asked = []

    def with_hole(nodes):
        values = evaluate(nodes)
        asked.append(len(nodes))
        return np.where(len(asked) > 6, np.nan, values)

    filled = fill(with_hole, (AXIS, AXIS), smooth=[True], tol=0.01)
    assert filled.reason == "a value is not finite"
    assert filled.measured.all()


def decided(**options) -> FillingDecision:
    """On a grid of 1,000 nodes, 200 of them measured, 48 in a round."""
    options = {
        "finite": True, "passed_rounds": 0, "error": np.inf, "tol": 0.01, "measured": 200, "round_nodes": 48,
        "size": 1000, **options,
    }  # fmt: skip
    return decide_filling(**options)


def test_rounds_are_made_until_one_holds_the_tolerance():
    assert decided() is FillingDecision.REFINE
    assert decided(error=0.0) is FillingDecision.REFINE  # of no round


def test_an_error_that_is_small_enough_is_accepted():
    largest = ACCEPTED_ERROR * 0.01
    for rounds in range(1, MAX_PASSED_ROUNDS):
        assert decided(passed_rounds=rounds, error=largest) is FillingDecision.ACCEPT
        assert decided(passed_rounds=rounds, error=1.01 * largest) is FillingDecision.REFINE


def test_a_larger_error_is_put_up_with_after_some_rounds():
    assert decided(passed_rounds=MAX_PASSED_ROUNDS, error=1.0) is FillingDecision.ACCEPT


def test_nodes_that_are_used_up_end_it_either_way():
    last = int(MAX_MEASURED_SHARE * 1000) - 48
    assert decided(measured=last) is FillingDecision.REFINE
    assert decided(measured=last + 1) is FillingDecision.MEASURE_ALL
    assert decided(measured=last + 1, passed_rounds=1, error=1.0) is FillingDecision.ACCEPT


def test_a_value_that_is_not_finite_ends_it_whatever_has_passed():
    for rounds in range(MAX_PASSED_ROUNDS + 1):
        assert decided(finite=False, passed_rounds=rounds, error=0.0) is FillingDecision.MEASURE_ALL
