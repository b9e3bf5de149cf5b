from __future__ import annotations

import numpy as np
import pytest
import torch

from lossatlas.numerics import trace as trace_module
from lossatlas.numerics.trace import trace


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(spectrum, number: int = 1) -> torch.Tensor:
    values = torch.as_tensor(spectrum, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(number), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


SKEWED = rotated([30.0, -12.0, 6.0, *np.linspace(-0.5, 1, 80)])


def test_a_known_part_of_the_trace_saves_its_products():
    values, vectors = torch.linalg.eigh(SKEWED)
    top, rows = vectors[:, -3:].T, []

    def product(block):
        rows.append(len(block))
        return block @ SKEWED

    plain = trace(product, 83, samples=5, generator=seed(), deflate=top)
    known = trace(product, 83, samples=5, generator=seed(), deflate=top, deflated_trace=float(values[-3:].sum()))
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
    monkeypatch.setattr(trace_module, "TRACE_VECTOR_BYTES", 8 * 200)  # two vectors of 83 entries
    found = trace(product, 83, samples=7, generator=seed(), deflate=top)
    monkeypatch.setattr(trace_module, "TRACE_VECTOR_BYTES", 8 * 20)
    single = trace(product, 83, samples=7, generator=seed(), deflate=top)
    assert rows == [3, 7, 3, 2, 2, 2, 1, 3, *[1] * 7]
    assert np.allclose([found, single], expected, rtol=1e-12)
    single_precision = trace(lambda block: block @ SKEWED.float(), 83, samples=7, generator=seed(), deflate=top.float())
    assert np.allclose(single_precision, expected, rtol=1e-5)
