from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from lossatlas.numerics.splines import Splines

KERNELS = {1: "linear", 3: "cubic", 5: "quintic"}


@pytest.mark.parametrize("power", KERNELS)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_splines_are_those_of_scipy_however_the_nodes_come(power, dimensions):
    """Two quantities at once, nodes in three parts, asked for between them: the memory grows twice."""
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (300, dimensions))
    data = np.stack([np.sin(3 * places).sum(1), places[:, 0] ** 2], -1)
    splines, rows = Splines(places, powers=(power,)), rng.permutation(300)[:90]
    for start, stop in ((0, 10), (10, 12), (12, 90)):
        splines.add(rows[start:stop])
        found = splines.through(data[rows[:stop]], power=power)
        known = RBFInterpolator(
            places[rows[:stop]], data[rows[:stop]], kernel=KERNELS[power], degree=power // 2
        )  # fmt: skip
        np.testing.assert_allclose(found, known(places), rtol=0, atol=1e-5 * np.abs(known(places)).max())
        np.testing.assert_allclose(found[rows[:stop]], data[rows[:stop]], atol=1e-8)


@pytest.mark.parametrize("power", KERNELS)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_residuals_are_those_of_splines_through_all_the_other_nodes(power, dimensions):
    """Of the first nodes alone, where there are more: against a spline for each that is left out."""
    rng = np.random.default_rng(1)
    places = rng.uniform(-1, 1, (80, dimensions))
    data = np.stack([np.sin(3 * places).sum(1), np.abs(places[:, 0])], -1)
    splines, first = Splines(places, powers=(power,)), np.arange(25)
    splines.add(np.arange(40))
    found = splines.leave_one_out(data[first], power=power)
    for left_out in first:
        others = np.delete(first, left_out)
        rest = RBFInterpolator(places[others], data[others], kernel=KERNELS[power], degree=power // 2)
        expected = data[left_out] - rest(places[[left_out]])[0]
        np.testing.assert_allclose(found[left_out], expected, rtol=1e-4, atol=1e-8)


def test_no_node_can_be_spared_where_there_are_as_few_as_terms():
    splines = Splines(np.linspace(0, 1, 9)[:, None], powers=(5,))
    splines.add(np.array([0, 4, 8]))
    assert (splines.leave_one_out(np.array([[1.0], [0.0], [2.0]]), power=5) == 0).all()


def test_the_nearest_nodes_are_those_of_a_search_tree():
    rng = np.random.default_rng(2)
    places = rng.uniform(-1, 1, (60, 2))
    splines, rows = Splines(places, powers=(5, 3)), rng.permutation(60)[:30]
    splines.add(rows)
    found = splines.nearest(4, among=20)
    np.testing.assert_array_equal(found, cKDTree(places[rows[:20]]).query(places, k=4)[1])
    assert splines.nearest(4, among=3).shape == (60, 3)
