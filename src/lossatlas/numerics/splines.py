"""Polyharmonic splines through scattered points of a line or a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Splines:
    """Polyharmonic splines Σ c_i |x − x_i|ᵖ + polynomial, through a growing number of nodes, at all places of a grid.

    The polynomial has the degree (p − 1) / 2, with which the system has one solution for an odd p (Wendland 2005,
    chapter 8). Distances between nodes and places are computed once. By torch: numpy's linear algebra has threads of
    its own, which fight those that evaluate a loss.

    >>> places = np.linspace(0, 1, 101)[:, None]
    >>> splines = Splines(places, powers=(5,))
    >>> splines.add(np.arange(0, 101, 10))
    >>> round(float(splines.through(places[::10] ** 2, power=5)[33, 0]), 9)
    0.1089
    """

    def __init__(self, places: np.ndarray, *, powers: Sequence[int]) -> None:
        """No node yet.

        Args:
            places: of the grid, `(n, d)`, d of 1 or 2.
            powers: of the distance, odd; those of the splines that are asked for.
        """
        self._places = torch.from_numpy(places)
        self._nodes = torch.zeros(0, dtype=torch.int64)
        # Distances of the nodes from the places to each power, `(nodes, n)` in a memory that grows; the polynomials.
        self._kernels = {power: self._places.new_empty(0, len(places)) for power in powers}
        self._terms = {power: _monomials(self._places, power // 2) for power in powers}

    def __len__(self) -> int:
        """The number of nodes."""
        return len(self._nodes)

    def add(self, rows: np.ndarray) -> None:
        """More nodes.

        Args:
            rows: of the places, `(k,)`; all different, and different from those that are there.
        """
        new, start = torch.from_numpy(rows), len(self)
        self._nodes = torch.cat([self._nodes, new])
        distances = torch.cdist(self._places[new], self._places, compute_mode="donot_use_mm_for_euclid_dist")
        for power, kernel in self._kernels.items():
            self._kernels[power] = _grown(kernel, start, len(self))
            new_rows = self._kernels[power][start : len(self)]
            new_rows.copy_(distances)
            for _ in range(power // 2):  # a general power takes several times as long
                new_rows.mul_(distances).mul_(distances)

    def through(self, data: np.ndarray, *, power: int) -> np.ndarray:
        """A spline through data at the nodes, at every place: `(n, v)`. Wants enough nodes for its polynomial.

        Args:
            data: `(m, v)` at the m nodes, in the order they came.
            power: of the distance, one of those declared.
        """
        kernel, terms = self._kernels[power][: len(self)], self._terms[power]
        size, extra = len(self._nodes), terms.shape[1]
        system = torch.zeros(size + extra, size + extra, dtype=torch.float64)
        system[:size, :size] = kernel[:, self._nodes]
        system[:size, size:] = terms[self._nodes]
        system[size:, :size] = terms[self._nodes].T
        right = torch.cat([torch.from_numpy(data), torch.zeros(extra, data.shape[1], dtype=torch.float64)])
        weights = torch.linalg.solve(system, right)
        return torch.addmm(terms @ weights[size:], kernel.T, weights[:size]).numpy()


def _grown(rows: Tensor, used: int, wanted: int) -> Tensor:
    """The same rows in a memory of `wanted` rows at least; if it has to grow, by a quarter more than wanted."""
    if wanted <= len(rows):
        return rows
    larger = rows.new_empty(wanted + wanted // 4, rows.shape[1])
    larger[:used] = rows[:used]
    return larger


def _monomials(places: Tensor, degree: int) -> Tensor:
    """All up to a total degree, `(n, t)`."""
    if places.shape[1] == 1:
        return places ** torch.arange(degree + 1)
    x, y = places.T
    return torch.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], -1)
