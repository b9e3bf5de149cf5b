"""Polyharmonic splines through scattered points of a line or a plane."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def polyharmonic(nodes: np.ndarray, data: np.ndarray, places: np.ndarray, *, power: int) -> np.ndarray:
    """The spline Σ c_i |x − x_i|ᵖ + polynomial through the data at the nodes, at other places: `(n, v)`.

    The polynomial has the degree (p − 1) / 2, with which the system has one solution for an odd p (Wendland 2005,
    chapter 8). By torch: numpy's linear algebra has threads of its own, which fight those that evaluate a loss.

    Args:
        nodes: `(m, d)`, d of 1 or 2; all different, and enough of them for the polynomial.
        data: `(m, v)`.
        places: `(n, d)`.

    >>> nodes = np.linspace(0, 1, 9)[:, None]
    >>> round(float(polyharmonic(nodes, nodes**2, np.array([[0.3]]), power=5)[0, 0]), 9)
    0.09
    """
    x, at = torch.from_numpy(nodes), torch.from_numpy(places)
    terms = _monomials(x, power // 2)  # (m, t)
    size, extra = terms.shape
    system = torch.zeros(size + extra, size + extra, dtype=torch.float64)
    system[:size, :size] = _kernel(x, x, power)
    system[:size, size:] = terms
    system[size:, :size] = terms.T
    right = torch.cat([torch.from_numpy(data), torch.zeros(extra, data.shape[1], dtype=torch.float64)])
    weights = torch.linalg.solve(system, right)
    return torch.addmm(_monomials(at, power // 2) @ weights[size:], _kernel(at, x, power), weights[:size]).numpy()


def _kernel(a: Tensor, b: Tensor, power: int) -> Tensor:
    """Distances to an odd power, `(n, m)`."""
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    kernel, squares = distances, distances * distances
    for _ in range(power // 2):  # a general power takes several times as long
        kernel = kernel * squares
    return kernel


def _monomials(places: Tensor, degree: int) -> Tensor:
    """All up to a total degree, `(n, t)`."""
    if places.shape[1] == 1:
        return places ** torch.arange(degree + 1)
    x, y = places.T
    return torch.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], -1)
