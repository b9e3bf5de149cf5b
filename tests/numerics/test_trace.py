from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lossatlas.numerics import trace as trace_module
from lossatlas.numerics.trace import hutch_pp, trace


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(spectrum, number: int = 1) -> torch.Tensor:
    values = torch.as_tensor(spectrum, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(number), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


SKEWED = rotated([30.0, -12.0, 6.0, *np.linspace(-0.5, 1, 80)])
TRUE = float(SKEWED.trace())


def test_a_known_part_of_the_trace_saves_its_products():
    values, vectors = torch.linalg.eigh(SKEWED)
    top, rows = vectors[:, -3:].T, []

    def product(block):
        rows.append(len(block))
        return block @ SKEWED

    plain = trace(product, 83, samples=5, generator=seed(), deflate=top)
    known = trace(product, 83, samples=5, generator=seed(), deflate=top, deflated=float(values[-3:].sum()))
    assert rows == [3, 5, 5]
    assert np.allclose(plain, known, rtol=1e-10)


def test_rough_products_are_used_as_long_as_their_rounding_is_below_the_error():
    rows = {"exact": 0, "rough": 0}

    def counting(name, function):
        def product(block):
            rows[name] += len(block)
            return function(block)

        return product

    exact = counting("exact", lambda block: block @ SKEWED)
    value, error = trace(exact, 83, samples=20, generator=seed())
    rows.update(exact=0)
    rough = counting("rough", lambda block: block.float() @ SKEWED.float())
    found = trace(exact, 83, samples=20, generator=seed(), rough=rough)
    assert rows == {"exact": 1, "rough": 20}
    assert found == pytest.approx((value, error), rel=1e-4)
    bad = trace(exact, 83, samples=20, generator=seed(), rough=lambda block: 1.5 * block @ SKEWED)
    assert bad == (value, error)


def test_large_vectors_are_multiplied_a_few_at_a_time_to_the_same_estimate(monkeypatch):
    rows, top = [], torch.linalg.eigh(SKEWED).eigenvectors[:, -3:].T

    def product(block):
        rows.append(len(block))
        return block @ SKEWED

    expected = trace(product, 83, samples=7, generator=seed(), deflate=top)
    monkeypatch.setattr(trace_module, "TOGETHER", 200)  # entries: two vectors of 83
    found = trace(product, 83, samples=7, generator=seed(), deflate=top)
    monkeypatch.setattr(trace_module, "TOGETHER", 20)
    single = trace(product, 83, samples=7, generator=seed(), deflate=top)
    assert rows == [3, 7, 3, 2, 2, 2, 1, 3, *[1] * 7]
    assert np.allclose([found, single], expected, rtol=1e-12)
    single_precision = trace(lambda block: block @ SKEWED.float(), 83, samples=7, generator=seed(), deflate=top.float())
    assert np.allclose(single_precision, expected, rtol=1e-5)


@pytest.mark.parametrize("sketch", [0, 8], ids=["hutchinson", "hutch++"])
def test_the_interval_covers_as_often_as_it_says(sketch):
    """300 seeds: 95 % is within 3.8 % of the frequency (3 standard errors); the stopping rule takes a little off."""
    options = {"rtol": 0.1, "sketch": sketch, "max_products": 9999}
    found = [hutch_pp(lambda rows: rows @ SKEWED, 83, generator=seed(n), **options) for n in range(300)]
    assert all(one.converged for one in found)
    assert np.mean([abs(one.value - TRUE) <= 0.1 * abs(one.value) for one in found]) > 0.9
    z = np.array([(one.value - TRUE) / one.error for one in found])
    assert abs(z.mean()) < 0.3
    assert 0.85 < z.std() < 1.25
    assert 0.9 < (np.abs(z) < 2.0).mean() < 0.99


def test_the_sketch_saves_products_on_a_skewed_spectrum():
    def products(sketch):
        return hutch_pp(lambda rows: rows @ SKEWED, 83, generator=seed(), rtol=0.05, sketch=sketch, max_products=9999)

    plain, sketched = products(0), products(10)
    assert plain.converged
    assert sketched.converged
    assert sketched.products < plain.products / 3


def test_a_low_rank_is_exact():
    matrix = rotated([9.0, -4.0, 1.0, *[0.0] * 40])
    found = hutch_pp(lambda rows: rows @ matrix, 43, generator=seed(), rtol=1e-9, sketch=5)
    assert found.value == pytest.approx(6, abs=1e-9)
    assert found.products == 5 + 3 + 10


def test_deflated_vectors_join_the_sketch():
    vectors = torch.linalg.eigh(SKEWED).eigenvectors[:, -2:].T
    rows = []

    def product(block):
        rows.append(len(block))
        return block @ SKEWED

    found = hutch_pp(product, 83, generator=seed(), rtol=0.05, sketch=4, deflate=vectors)
    assert rows[:2] == [4, 6]
    assert found.products == sum(rows)
    assert abs(found.value - TRUE) < 4 * found.error


def test_the_budget_ends_it():
    found = hutch_pp(lambda rows: rows @ SKEWED, 83, generator=seed(), rtol=1e-9, sketch=0, max_products=35)
    assert not found.converged
    assert found.products == 30


def test_the_zero_matrix_and_nan():
    zero = hutch_pp(lambda rows: 0 * rows, 6, generator=seed(), sketch=3)
    assert (zero.value, zero.error, zero.converged) == (0, 0, True)
    nan = hutch_pp(lambda rows: rows * math.nan, 6, generator=seed(), sketch=0)
    assert math.isnan(nan.value)
    assert not nan.converged


def test_a_batch_of_one_has_no_error():
    with pytest.raises(ValueError, match="batch is 1: wanted at least 2"):
        hutch_pp(lambda rows: rows, 6, generator=seed(), batch=1)
