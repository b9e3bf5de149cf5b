from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

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
