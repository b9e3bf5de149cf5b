"""Which nodes of a grid, or points of a curve, are asked first of a loss that is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossatlas.numerics.grid_samples import Grid
from lossatlas.probes.probe import TYPICAL_NODES

# Nodes along each axis that are known on many examples, by the dimensions of the grid. With fewer the error of a sample
# is larger; with more they cost more than the rest (docs/design/sampling.md).
PILOTS_ALONG = {1: 5, 2: 3}


@dataclass(frozen=True)
class NodeLayout:
    """Which nodes of a grid are asked first.

    Args:
        pilots: nodes that are known on many examples, `(k, d)`, the centre first.
        checks: nodes between them, `(c, d)`, that tell what the pilots do not.
        nodes: how many nodes will be measured, about.
    """

    pilots: np.ndarray
    checks: np.ndarray
    nodes: int


def layout_along(places: np.ndarray, nodes: int | None = None) -> NodeLayout:
    """The layout of points along a curve: pilots at its ends and between, the last one first.

    Args:
        places: of the points, `(n, d)`, in order.
        nodes: how many will be measured; None: these.
    """
    pilots = np.unique(np.linspace(0, len(places) - 1, min(PILOTS_ALONG[1], len(places))).round().astype(int))
    checks = np.unique((pilots[1:] + pilots[:-1]) // 2)
    return NodeLayout(places[np.roll(pilots, 1)], places[checks], nodes=len(places) if nodes is None else nodes)


def layout_of(grid: Grid, *, exact: bool) -> NodeLayout:
    """Which nodes of a grid are known on many examples, which tell what these do not, and how many there will be.

    Args:
        grid: of one or two axes.
        exact: whether every node is measured.
    """
    along = PILOTS_ALONG[len(grid.axes)]
    pilots = grid.nodes[grid.coarse_rows(along)]
    centre = np.array([np.abs(axis).argmin() for axis in grid.axes])
    pilots = np.concatenate([centre[None], pilots[(pilots != centre).any(1)]])
    checks = grid.nodes[_between(grid)]
    return NodeLayout(pilots, checks, nodes=len(grid) if exact else min(len(grid), TYPICAL_NODES))


def _between(grid: Grid) -> np.ndarray:
    """Rows of nodes a quarter of the way along each axis from its ends, and of those on the edges."""
    quarters = [np.unique([len(axis) // 4, len(axis) - 1 - len(axis) // 4]) for axis in grid.axes]
    inside = np.stack(np.meshgrid(*quarters, indexing="ij"), -1).reshape(-1, len(grid.axes))
    if len(grid.axes) == 1:
        return inside[:, 0]
    last = np.array(grid.shape) - 1
    sides = [np.where(np.arange(2) == axis, end, node) for node in inside for axis in (0, 1) for end in (0, last[axis])]
    nodes = np.unique(np.concatenate([inside, sides]), axis=0)
    return np.asarray(np.ravel_multi_index(tuple(nodes.T), grid.shape))
