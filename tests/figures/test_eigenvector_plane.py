"""Measured and predicted contours lie at the same levels, each of its own values."""

from __future__ import annotations

import numpy as np
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lossatlas.figures import eigenvector_plane, planes
from lossatlas.figures.eigenvector_plane import draw_eigenvector_plane


def lines(ax) -> list[QuadContourSet]:
    return [c for c in ax.collections if isinstance(c, QuadContourSet) and not c.filled]


def test_the_quadratic_model_has_dashed_lines_at_the_measured_levels(eigenplane):
    ax = draw_eigenvector_plane(eigenplane, Figure().subplots(), split="test")
    measured, predicted = lines(ax)
    assert len(np.intersect1d(measured.levels, predicted.levels)) >= 3
    assert np.isin(predicted.levels, planes.Scale.of(eigenplane.loss).edges[::2]).all()
    assert predicted.linestyles == "dashed"
    error = 0.75 * (2 / 3) ** 2 / 8  # of linear interpolation between the grid's β, whose second derivative is 0.75
    widest = 0.0
    for level, path in zip(predicted.levels, predicted.get_paths(), strict=True):
        alpha, beta = path.vertices.T
        np.testing.assert_allclose(1.5 * (1 + alpha**2 + 0.25 * beta**2), level, atol=error + 1e-9)
        widest = max(widest, float(np.abs(alpha).max()))
    assert 1.5 * 0.1 * widest > 2 * error  # by which the measured surface would be off


def test_pages_name_the_axes_by_their_eigenvalues(eigenplane):
    made = dict(eigenvector_plane.pages(eigenplane, "a title"))
    assert list(made) == [f"eigenvector_plane_{name}.png" for name in ("contour", "surface", "accuracy")]
    train, test, _ = made["eigenvector_plane_contour.png"].axes
    assert train.get_xlabel() == test.get_xlabel() == "α: eigenvector of the largest\neigenvalue, 2.00"
    assert train.get_ylabel() == "β: eigenvector of the second\nlargest eigenvalue, 0.500"
    (legend,) = made["eigenvector_plane_contour.png"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["measured", "quadratic model"]
    assert len(lines(train)) == len(lines(test)) == 2
    assert len(lines(made["eigenvector_plane_accuracy.png"].axes[0])) == 1  # a metric has no model


def test_with_a_penalty_the_objective_is_shown_beside_its_model(eigenplane):
    objective = (eigenplane.loss + 1).assign_attrs(long_name="loss + penalty", units="criterion")
    penalised = eigenplane.assign(objective=objective).assign_attrs(quadratic_of="objective")
    made = dict(eigenvector_plane.pages(penalised, ""))
    assert list(made) == [f"eigenvector_plane_{name}.png" for name in ("contour", "surface", "loss", "accuracy")]
    assert made["eigenvector_plane_contour.png"].axes[2].get_ylabel() == "loss + penalty"
    assert len(lines(made["eigenvector_plane_contour.png"].axes[0])) == 2
    assert len(lines(made["eigenvector_plane_loss.png"].axes[0])) == 1
