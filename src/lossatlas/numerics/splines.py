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
        extra = torch.zeros(terms.shape[1], data.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(self._system(len(self), power), torch.cat([torch.from_numpy(data), extra]))
        return torch.addmm(terms @ weights[len(self) :], kernel.T, weights[: len(self)]).numpy()

    def leave_one_out(self, data: np.ndarray, *, power: int) -> np.ndarray:
        """How far data at each node are from the spline through all the others, `(m, v)`; 0 where none can be spared.

        From one inverse: the weight of a node over its entry on the diagonal (Rippa 1999).

        Args:
            data: `(m, v)` at the first m nodes, in the order they came: the others are left out of all of this.
            power: of the distance, one of those declared.
        """
        size = len(data)
        if size <= self._terms[power].shape[1]:
            return np.zeros_like(data)
        inverse = torch.linalg.inv(self._system(size, power))[:size, :size]
        return (inverse @ torch.from_numpy(data) / inverse.diagonal()[:, None]).numpy()

    def nearest(self, count: int, *, among: int) -> np.ndarray:
        """For every place the nodes nearest to it, `(n, count)`, by number in the order they came.

        Args:
            count: of nodes for a place; all where there are fewer.
            among: so many nodes that came first.
        """
        kernel = next(iter(self._kernels.values()))[:among]
        return kernel.topk(min(count, among), dim=0, largest=False).indices.T.numpy()

    def _system(self, size: int, power: int) -> Tensor:
        """The linear system of the first `size` nodes, whose last unknowns are those of the polynomial."""
        nodes = self._nodes[:size]
        terms = self._terms[power][nodes]
        extra = terms.shape[1]
        system = torch.zeros(size + extra, size + extra, dtype=torch.float64)
        system[:size, :size] = self._kernels[power][:size, nodes]
        system[:size, size:] = terms
        system[size:, :size] = terms.T
        return system


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
