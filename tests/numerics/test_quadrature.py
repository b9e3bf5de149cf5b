from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossatlas.numerics import quadrature as module
from lossatlas.numerics.quadrature import _lanczos_rule, broaden, quadrature
from lossatlas.numerics.trace import trace


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(spectrum, number: int = 1) -> torch.Tensor:
    values = torch.as_tensor(np.asarray(spectrum), dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(number), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


VALUES = np.concatenate([[9.0, 5.0, -3.0], np.linspace(-0.5, 1, 97)])
MATRIX = rotated(VALUES)


def of(matrix, **options):
    options = {"generator": seed(), **options}
    return quadrature(lambda rows: rows @ matrix, len(matrix), **options)


def top(matrix, count):
    values, vectors = torch.linalg.eigh(matrix)
    return values[-count:], vectors[:, -count:].T


def exact_density(axis, values, sigma):
    bumps = np.exp(-0.5 * ((axis[:, None] - values) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return bumps.mean(1)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("deflated", [0, 3])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_mass_is_one(scale, deflated, size):
    matrix = MATRIX[:size, :size]
    found = of(matrix, draws=4, steps=30, deflate=top(matrix, min(deflated, size)) if deflated else None)
    assert torch.allclose(found.weights.sum(-1), torch.ones(4, dtype=torch.float64), rtol=1e-12)
    density = broaden(found, scale=scale)
    assert float(torch.trapezoid(density.density, density.axis)) == pytest.approx(1, abs=1e-6)


def test_every_eigenvalue_of_a_small_matrix_is_a_node():
    """As many steps as dimensions: the nodes are the spectrum, the weights the squared overlaps with the start."""
    found = of(rotated([-2.0, 1.0, 4.0, 10.0]), draws=3, steps=9)
    assert found.products == 3 * 4
    assert np.allclose(found.nodes, [[-2, 1, 4, 10]] * 3, atol=1e-10)


def test_groups_of_draws_that_end_early_have_as_many_nodes(monkeypatch):
    """A matrix of low rank completes some Krylov spaces before the others; draws advance one by one."""
    monkeypatch.setattr(module, "QUADRATURE_BASIS_BYTES", 1)
    values = torch.cat([torch.linspace(1, 2, 5, dtype=torch.float64), torch.zeros(60, dtype=torch.float64)])
    for steps in (4, 5, 6, 7, 8):
        found = quadrature(lambda rows: rows * values, 65, draws=6, steps=steps, generator=seed(steps))
        assert found.nodes.shape == (6, 2 * steps - 1)
        assert torch.allclose(found.weights.sum(1), torch.ones(6, dtype=torch.float64))
        mean, error = found.mean(found.nodes)
        assert abs(mean - float(values.mean())) < 4 * error


@pytest.mark.parametrize("deflate", [False, True])
def test_moments_against_the_dense_matrix(deflate):
    found = of(MATRIX, draws=200, steps=12, deflate=top(MATRIX, 2) if deflate else None)
    for power in (1, 2, 3, 4):
        value, error = found.mean(found.nodes**power)
        assert abs(value - (VALUES**power).mean()) < 4 * error + 1e-12
    if deflate:  # what is left has no outlier above: a smaller error
        plain = of(MATRIX, draws=200, steps=12)
        assert error < plain.mean(plain.nodes**4)[1] / 5


def test_the_first_moment_is_the_trace_estimate():
    mean, error = (100 * part for part in of(MATRIX, draws=100, steps=3).mean(of(MATRIX, draws=100, steps=3).nodes))
    value, other = trace(lambda rows: rows @ MATRIX, 100, samples=100, generator=seed(1))
    assert abs(mean - value) < 4 * math.hypot(error, other)


def test_the_error_over_draws_is_calibrated():
    """Of the mean eigenvalue, 200 seeds of 10 draws: the z-scores follow Student's t with 9 degrees."""
    found = [of(MATRIX, draws=10, steps=5, generator=seed(n)) for n in range(200)]
    z = np.array([(m - VALUES.mean()) / e for m, e in (one.mean(one.nodes) for one in found)])
    assert abs(z.mean()) < 4 * 1.13 / math.sqrt(200)
    assert 0.9 < (np.abs(z) < 2.26).mean() < 0.985


@pytest.mark.parametrize("deflated", [0, 4])
def test_the_density_against_the_dense_one(deflated):
    """Broadened as the dense spectrum is, it agrees within its standard error, in every place and on average."""
    found = of(MATRIX, draws=60, steps=60, deflate=top(MATRIX, deflated) if deflated else None)
    density = broaden(found, width=0.03)
    exact = exact_density(density.axis.numpy(), VALUES, density.sigma)
    off = np.abs(density.density.numpy() - exact)
    spacing = float(density.axis[1] - density.axis[0])
    assert off.sum() * spacing < 0.05
    seen = exact > 1e-3 * exact.max()
    z = (off / (density.error.numpy() + 1e-9))[seen & (density.error.numpy() > 1e-6)]
    assert np.mean(z < 3) > 0.95  # places under one peak are one random number
    if deflated:
        outlier = int(np.argmin(np.abs(density.axis.numpy() - 9)))
        assert density.density[outlier] == pytest.approx(exact[outlier], rel=1e-9)


def test_the_log_axis_is_asinh_and_keeps_shares():
    found = of(MATRIX, draws=40, steps=100)
    density = broaden(found, scale="log", width=0.005)
    below = density.eigenvalues < 0
    share = float(torch.trapezoid(density.density[below], density.axis[below]))
    assert share == pytest.approx((VALUES < 0).mean(), abs=0.06)
    unit = 2e-4 * 9
    assert np.allclose(unit * np.sinh(density.axis.numpy() * np.log(10)), density.eigenvalues, rtol=1e-9)


def test_sigma_is_a_standard_deviation_relative_to_the_range():
    for factor in (1e-7, 1.0, 1e5):
        density = broaden(of(factor * MATRIX, draws=2, steps=100), width=0.02)
        assert density.sigma == pytest.approx(0.02 * 12 * factor, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.floats(-3, 3), st.floats(1e-7, 1e7))
def test_a_shifted_and_scaled_matrix_has_a_shifted_and_scaled_density(shift, factor):
    matrix = rotated(np.linspace(-1, 2, 30))
    plain = broaden(of(matrix, draws=3, steps=10))
    moved = broaden(of(factor * (matrix + shift * torch.eye(30, dtype=torch.float64)), draws=3, steps=10))
    assert np.allclose(moved.axis, factor * (plain.axis + shift), rtol=1e-6, atol=1e-6 * factor)
    assert np.allclose(moved.density * factor, plain.density, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spectrum", [[0.0] * 8, [3.0] * 8, [5.0, 5.0, *[0.0] * 20]], ids=["zero", "3 I", "rank two"])
def test_krylov_spaces_that_end_early(spectrum):
    matrix = torch.diag(torch.tensor(spectrum, dtype=torch.float64))
    found = of(matrix, draws=50, steps=6)
    value, error = found.mean(found.nodes)
    assert abs(value - np.mean(spectrum)) <= 4 * error + 1e-12
    density = broaden(found)
    assert float(torch.trapezoid(density.density, density.axis)) == pytest.approx(1, abs=1e-6)
    assert torch.isfinite(density.error).all()


def test_draws_in_several_groups_are_the_same(monkeypatch):
    one = of(MATRIX, draws=7, steps=9)
    monkeypatch.setattr(module, "QUADRATURE_BASIS_BYTES", 8 * 100 * 10 * 2)
    two = of(MATRIX, draws=7, steps=9)
    assert torch.allclose(one.nodes, two.nodes, atol=1e-10)
    # Node by node the weights may differ: of two nodes that nearly coincide, only the sum is determined.
    for power in range(8):
        moments = [(quadrature.weights * quadrature.nodes**power).sum(-1) for quadrature in (one, two)]
        assert torch.allclose(*moments, rtol=1e-10, atol=1e-10)
    first, second = broaden(one), broaden(two)
    assert torch.allclose(first.axis, second.axis)
    assert torch.allclose(first.density, second.density, rtol=1e-7, atol=1e-9 * float(first.density.max()))
    assert torch.allclose(first.error, second.error, rtol=1e-5, atol=1e-7 * float(first.error.max()))  # of each draw


def test_no_ghosts_after_many_steps():
    """Without re-orthogonalisation the outlier returns as several nodes."""
    found = of(rotated([1000.0, *np.linspace(0, 1, 150)]), draws=2, steps=100)
    assert (((found.nodes > 500) & (found.weights > 1e-12)).sum(-1) == 1).all()


def test_products_are_counted_and_rows_go_together():
    rows = []

    def product(block):
        rows.append(len(block))
        return block @ MATRIX

    density = broaden(quadrature(product, 100, draws=5, steps=8, generator=seed()))
    assert rows == [5] * 8
    assert len(density.axis) == len(density.density) == len(density.error)


@pytest.mark.parametrize(("options", "text"), [({"draws": 1}, "draws is 1"), ({"steps": 0}, "steps is 0")])
def test_too_few(options, text):
    with pytest.raises(ValueError, match=text):
        of(MATRIX, **options)


def test_a_product_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="the product with a vector is not finite"):
        of(MATRIX * math.nan)


def test_the_averaged_rule_is_exact_one_degree_beyond_gauss():
    """m Lanczos steps know the moments up to 2m of vᵀAᵏv; Gauss's rule has them up to 2m − 1."""
    matrix = rotated([3.0, -2.5, *np.linspace(-1, 1, 40)])
    start = torch.randn(1, 42, generator=seed(5), dtype=torch.float64)
    steps = 4
    nodes, weights, _ = _lanczos_rule(lambda rows: rows @ matrix, start, steps, torch.zeros(0, 42, dtype=torch.float64))
    assert nodes.shape == (1, 2 * steps - 1)
    v = start[0] / start.norm()
    for degree in range(2 * steps + 1):
        moment = v @ torch.linalg.matrix_power(torch.as_tensor(matrix), degree) @ v
        assert float((weights * nodes**degree).sum()) == pytest.approx(float(moment), rel=1e-9)
