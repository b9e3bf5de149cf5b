"""Functions that are known on a whole grid, and what measures single nodes of it."""

from __future__ import annotations

import numpy as np

from lossatlas.numerics.adaptive_grid import FilledGrid

AXIS = np.linspace(-1, 1, 51)


def on_grid(*functions, axes=(AXIS, AXIS)):
    """The functions on the whole grid `(v, *shape)`, and what measures single nodes of it, with a count."""
    mesh = np.meshgrid(*axes, indexing="ij")
    whole = np.stack([function(*mesh) for function in functions])
    asked: list[np.ndarray] = []

    def evaluate(nodes):
        asked.append(nodes)
        return whole[(slice(None), *nodes.T)].T

    return whole, evaluate, asked


def bowl(x, y):
    return 0.01 + (x - 0.2) ** 2 + 3 * (y + 0.1) ** 2


def valley(x, y):
    return 1e-3 + 5 * (y - x**2) ** 2 + 0.1 * (1 - x) ** 2


def kinked(x, y):
    return np.abs(x + 0.3 * y - 0.1) + 0.5 * np.maximum(0, y - 0.2 * x)


def saddle(x, y):
    return x**2 - y**2 + 0.3 * np.sin(4 * x + y)


def holds(filled: FilledGrid, whole: np.ndarray) -> bool:
    """Whether the error of every node holds, of all quantities."""
    return bool((np.abs(filled.values - whole) <= filled.error).all())
