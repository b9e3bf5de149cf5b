"""Shares of the largest terms against sorting by hand, and of estimated ones against what they estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lossatlas.numerics.concentration import concentration


def test_shares_are_those_of_the_sorted_terms():
    terms = torch.tensor([0.5, 4.0, 0.0, 2.5, 3.0], dtype=torch.float64)
    found = concentration(terms[None], 3)
    assert np.allclose(found.shares, [0.4, 0.7, 0.95], rtol=1e-14)
    assert found.errors.tolist() == [0, 0, 0]
    assert found.order.tolist() == [1, 4, 3]
    assert found.effective == pytest.approx(100 / (0.25 + 16 + 6.25 + 9))


@pytest.mark.parametrize(("terms", "effective"), [([1.0] * 8, 8), ([0.0, 3.0, 0.0], 1), ([2.0, 2.0, 0.0, 0.0], 2)])
def test_the_effective_number_of_equal_terms_is_their_number(terms, effective):
    assert concentration(torch.tensor([terms]), 2).effective == pytest.approx(effective)


def test_fewer_terms_than_are_asked_for_hold_all():
    found = concentration(torch.tensor([[1.0, 3.0]]), 4)
    assert found.shares.tolist() == [0.75, 1, 1, 1]
    assert found.order.tolist() == [1, 0, -1, -1]


@pytest.mark.parametrize("terms", [[1.0, -0.1], [0.0, 0.0], [1.0, math.nan], [1.0, math.inf], []])
def test_a_sum_without_shares_has_none(terms):
    found = concentration(torch.tensor([terms], dtype=torch.float64), 2)
    assert found.shares.isnan().all()
    assert found.errors.isnan().all()
    assert math.isnan(found.effective)
    assert found.order.tolist() == [-1, -1]


def estimated(terms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """As 40 random vectors estimate traces of rank one: times χ² with one degree of freedom."""
    return terms * torch.randn(40, len(terms), generator=generator, dtype=torch.float64).square()


def test_estimated_shares_have_errors_that_say_how_near_they_are():
    generator = torch.Generator().manual_seed(0)
    terms = torch.randn(200, generator=generator, dtype=torch.float64).mul(2).exp()  # with a heavy tail
    exact = float(concentration(terms[None], 10).shares[-1])
    found = [concentration(estimated(terms, generator), 10) for _ in range(300)]
    off = [float((one.shares[-1] - exact) / one.errors[-1]) for one in found]
    assert -0.6 < np.mean(off) < 0  # a little low, as said
    assert 0.8 < np.std(off) < 1.3


def test_terms_that_chance_made_large_are_not_taken_for_large_ones():
    """Ten of 200 equal terms hold a twentieth; the ten largest of their estimates seem to hold half as much again."""
    generator, terms = torch.Generator().manual_seed(0), torch.ones(200, dtype=torch.float64)
    shares, seeming = [], []
    for _ in range(100):
        estimates = estimated(terms, generator)
        shares.append(float(concentration(estimates, 10).shares[-1]))
        seeming.append(float(concentration(estimates.mean(0)[None], 10).shares[-1]))
    assert np.mean(seeming) > 0.07
    assert np.mean(shares) == pytest.approx(0.05, abs=4 * np.std(shares) / 10)
