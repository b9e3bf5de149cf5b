from __future__ import annotations

import pytest
import torch

from lossatlas.loss import toys

A = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.float64)


def test_a_quadratic_is_half_the_form():
    loss = toys.quadratic(A)
    assert loss(torch.tensor([2.0, 1.0])).item() == 0.5 * (2 * 4 + 2 * 2 - 3)
    assert loss.gradient(torch.tensor([2.0, 1.0])).tolist() == [5, -1]  # Aθ
    assert loss.layout.size == 2
    assert loss.dtype == torch.float64


def test_a_bowl_is_half_the_squared_norm():
    assert toys.bowl(3)(torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [4.5, 0]


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.zeros(2, 3), torch.tensor([[0.0, 1.0], [2.0, 0.0]])])
def test_a_quadratic_wants_a_symmetric_matrix(matrix):
    with pytest.raises(ValueError, match="wanted a symmetric matrix"):
        toys.quadratic(matrix)


def test_linear_regression_is_the_mean_squared_residual():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)
    loss = toys.linear_regression(x, y)
    assert loss(torch.tensor([2.0, 1.0])).item() == pytest.approx((1 + 4 + 16) / 3, rel=1e-15)
