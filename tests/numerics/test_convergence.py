"""The stopping rule of block Lanczos alone: on Ritz values and residuals that are written down."""

from __future__ import annotations

import pytest
import torch

from lossatlas.numerics.convergence import COPIES_RESOLVED, Decision, Wanted, decide, saturated_cluster_error


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


SIMPLE = values(-3, -1, 0, 1, 2, 5, 10)


def decided(ritz_values=SIMPLE, residual_norms=(0.0, 0.0, 0.0), **options) -> Decision:
    options = {
        "wanted": Wanted(2, 1), "size": 100, "block": 2, "tol": 1e-3, "rounding": 1e-12, "on_trial": False, **options,
    }  # fmt: skip
    return decide(ritz_values, values(*residual_norms), **options)


def test_it_stops_where_every_wanted_residual_is_at_most_the_tolerance():
    assert decided(residual_norms=(0.01, 0.01, 0.01)) is Decision.STOP  # 1e-3 of the largest, which is 10
    for place in range(3):
        residuals = [0.0, 0.0, 0.0]
        residuals[place] = 0.0101
        assert decided(residual_norms=residuals) is Decision.CONTINUE


def test_the_tolerance_is_relative_to_the_largest_magnitude_at_either_end():
    assert decided(values(-10, -1, 0, 1), (0.01, 0.01, 0.01)) is Decision.STOP
    assert decided(values(-1, -0.5, 0, 0.5), (0.01, 0.01, 0.01)) is Decision.CONTINUE


def test_a_residual_that_is_nan_is_not_small():
    assert decided(residual_norms=(float("nan"), 0.0, 0.0)) is Decision.CONTINUE


def test_it_goes_on_while_there_are_fewer_ritz_values_than_wanted():
    assert decided(values(1, 2), (0.0, 0.0)) is Decision.CONTINUE


def test_with_all_eigenvalues_known_copies_are_no_doubt():
    copies = values(0, 1, 5, 5)
    assert decided(copies, wanted=Wanted(3, 0)) is Decision.WIDEN
    assert decided(copies, wanted=Wanted(3, 0), size=4) is Decision.STOP
    assert decided(copies, wanted=Wanted(3, 0), size=4, on_trial=True) is Decision.STOP


def test_as_many_copies_as_the_block_has_vectors_widen_it():
    copies = values(-3, -1, 0, 1, 5, 5)
    assert decided(copies, wanted=Wanted(3, 0), block=2) is Decision.WIDEN
    assert decided(copies, wanted=Wanted(3, 0), block=3) is Decision.STOP  # wider than what it finds
    assert decided(-copies.flip(0), wanted=Wanted(0, 3), block=2) is Decision.WIDEN


def test_a_vector_on_trial_is_given_its_steps_first():
    copies = values(-3, -1, 0, 1, 5, 5)
    assert decided(copies, wanted=Wanted(3, 0), on_trial=True) is Decision.CONTINUE
    assert decided(on_trial=True) is Decision.CONTINUE


def test_copies_within_the_tolerance_of_the_last_wanted_one_are_not_looked_for():
    assert decided(values(0, 1, 5, 5), wanted=Wanted(2, 0)) is Decision.STOP
    assert decided(values(0, 1, 5, 5, 5.001), wanted=Wanted(3, 0)) is Decision.STOP


def test_values_that_may_be_copies_are_resolved_before_the_block_is_widened():
    """Residuals that hold the tolerance; r² / gap says whether two values that are close can still part."""
    close, options = values(0, 1, 4.99999, 5), {"wanted": Wanted(3, 0), "tol": 0.01}
    enough = 0.01 / COPIES_RESOLVED * 5  # of an error, the largest value being 5
    for residual, decision in ((0.05, Decision.CONTINUE), (0.01, Decision.WIDEN), (1e-4, Decision.STOP)):
        residuals = (residual, residual, residual)
        error = saturated_cluster_error(close, values(*residuals), block=2, rounding=1e-12, **options)
        assert decided(close, residuals, **options) is decision
        assert (error is None) == (decision is Decision.STOP)
        assert error is None or (error <= enough) == (decision is Decision.WIDEN)


def test_the_error_of_a_cluster_is_the_squared_residual_over_the_gap():
    """Two copies of 5 with residuals of 0.03 and 0.04, the next value at 3."""
    error = saturated_cluster_error(
        values(0, 3, 5, 5), values(0.03, 0.04, 0.0), wanted=Wanted(3, 0), block=2, tol=1e-3, rounding=1e-12
    )
    assert error == pytest.approx(0.05**2 / 2)


def test_a_cluster_without_a_gap_has_its_residual_as_error():
    error = saturated_cluster_error(
        values(0, 3, 5, 5, 5), values(0.03, 0.04, 0.0, 0.0), wanted=Wanted(4, 0), block=2, tol=1e-3, rounding=1e-12
    )
    assert error == pytest.approx(0.05)


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_wanted_positions_are_from_both_ends(count):
    numbers = torch.arange(count)
    positions = Wanted(3, 1).positions(count)
    assert numbers[positions].tolist() == [*range(count - 1, max(count - 3, 0) - 1, -1), 0]
    if count == 10:
        assert Wanted(3, 1).with_spare(2, count).tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
        assert Wanted(3, 0).with_spare(2, count).tolist() == [5, 6, 7, 8, 9]
