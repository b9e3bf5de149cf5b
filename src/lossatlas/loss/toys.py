"""Losses with known answers, made of ordinary modules: they go through the same code as any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossatlas.loss.loss import Loss


class _Quadratic(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.theta = nn.Parameter(torch.zeros(len(matrix), dtype=matrix.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        return 0.5 * self.theta @ self.get_buffer("matrix") @ self.theta + 0 * inputs.sum()


def quadratic(matrix: Tensor) -> Loss:
    """L(θ) = θᵀAθ / 2 for a symmetric `matrix` A `(P, P)`: the gradient is Aθ and the Hessian A, everywhere.

    Raises ValueError where the matrix is not symmetric.

    >>> quadratic(torch.diag(torch.tensor([2.0, -2.0])))(torch.tensor([1.0, 0.5])).item()
    0.75
    """
    if matrix.ndim != 2 or not torch.equal(matrix, matrix.T):
        raise ValueError(f"wanted a symmetric matrix, got shape {tuple(matrix.shape)}")
    nothing = torch.zeros(1, 1, dtype=matrix.dtype)
    return Loss.of(_Quadratic(matrix), (nothing, nothing), lambda output, _: output)


def bowl(size: int) -> Loss:
    """L(θ) = ‖θ‖² / 2 of `size` parameters."""
    return quadratic(torch.eye(size))


def linear_regression(inputs: Tensor, targets: Tensor) -> Loss:
    """Mean squared error of a linear map without bias: the Hessian is 2 XᵀX / n, whatever θ.

    `inputs` `(n, d)`, `targets` `(n, 1)`.
    """
    model = nn.Linear(inputs.shape[1], 1, bias=False, dtype=inputs.dtype)
    return Loss.of(model, (inputs, targets), nn.MSELoss())
