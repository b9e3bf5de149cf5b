"""Polyharmonic splines through scattered points of a line or a plane."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def polyharmonic(distances: Tensor, power: int, order: np.ndarray, places: Tensor, data: np.ndarray) -> np.ndarray:
    """The spline Σ c_i |x − x_i|ᵖ + polynomial through the data, at all places: `(N, v)`.

    The polynomial has the degree (p − 1) / 2, with which the system has one solution for an odd p (Wendland 2005,
    chapter 8). By torch: numpy's linear algebra has threads of its own, which fight those that evaluate a loss.

    Args:
        distances: of all places from the nodes `(N, m)`, which are the places of `order` `(m,)`.
        places: `(N, d)`, d of 1 or 2.
        data: at the nodes, `(m, v)`.
    """
    squares = distances * distances
    kernel = distances  # |x|ᵖ; a power of its own takes several times as long
    for _ in range(power // 2):
        kernel = kernel * squares
    terms = _monomials(places, power // 2)  # (N, t)
    size, extra = len(order), terms.shape[1]
    system = torch.zeros(size + extra, size + extra, dtype=torch.float64)
    system[:size, :size] = kernel[order]
    system[:size, size:] = terms[order]
    system[size:, :size] = terms[order].T
    right = torch.cat([torch.from_numpy(data), torch.zeros(extra, data.shape[1], dtype=torch.float64)])
    weights = torch.linalg.solve(system, right)
    return torch.addmm(terms @ weights[size:], kernel, weights[:size]).numpy()


def _monomials(places: Tensor, degree: int) -> Tensor:
    """All up to a total degree, `(n, t)`."""
    if places.shape[1] == 1:
        return places ** torch.arange(degree + 1)
    x, y = places.T
    return torch.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], -1)
