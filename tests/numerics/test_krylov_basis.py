"""The steps of block Lanczos alone, against a dense matrix."""

from __future__ import annotations

import pytest
import torch

from lossatlas.numerics.krylov_basis import KrylovBasis

SIZE = 30


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.fixture
def matrix() -> torch.Tensor:
    half = torch.randn(SIZE, SIZE, generator=seed(1), dtype=torch.float64)
    return half + half.T


def expanded(matrix: torch.Tensor, steps: int) -> KrylovBasis:
    basis = KrylovBasis.empty(20, SIZE, dtype=torch.float64, device="cpu")
    basis.append_random(2, seed())
    for _ in range(steps):
        basis.expand(basis.pending @ matrix)
    return basis


def check(basis: KrylovBasis, matrix: torch.Tensor) -> None:
    """Rows are orthonormal, the projected matrix is V A Vᵀ, and residuals are those of the matrix."""
    rows = basis.rows[: basis.known]
    assert torch.allclose(rows @ rows.T, torch.eye(basis.known, dtype=torch.float64), atol=1e-12)
    dense = rows[: basis.multiplied] @ matrix @ rows.T
    assert torch.allclose(basis.projected[: basis.multiplied, : basis.known], dense, atol=1e-10)
    ritz = basis.ritz_pairs()
    vectors = basis.vectors(ritz.rotation)
    residuals = (vectors @ matrix - ritz.values[:, None] * vectors).norm(dim=1)
    assert torch.allclose(basis.residual_norms(ritz.rotation), residuals, atol=1e-10)


def test_every_step_adds_a_block(matrix):
    basis = expanded(matrix, 5)
    assert (basis.multiplied, basis.known, len(basis.pending)) == (10, 12, 2)
    check(basis, matrix)


def test_a_thick_restart_keeps_ritz_pairs_and_what_is_pending(matrix):
    basis = expanded(matrix, 7)
    ritz, pending = basis.ritz_pairs(), basis.pending.clone()
    kept = torch.tensor([0, 12, 13])
    basis.restart(ritz.values[kept], ritz.rotation[:, kept])
    assert (basis.multiplied, basis.known, basis.recurrence_start) == (3, 5, 0)
    assert torch.equal(basis.pending, pending)
    assert torch.allclose(basis.ritz_pairs().values, ritz.values[kept], atol=1e-12)
    check(basis, matrix)
    for _ in range(3):
        basis.expand(basis.pending @ matrix)
        check(basis, matrix)


def test_an_invariant_subspace_leaves_nothing_pending():
    matrix = torch.diag(torch.tensor([3.0, 2.0, *[0.0] * (SIZE - 2)], dtype=torch.float64))
    basis = KrylovBasis.empty(6, SIZE, dtype=torch.float64, device="cpu")
    assert len(basis.append(torch.eye(SIZE, dtype=torch.float64)[:2])) == 2
    basis.expand(basis.pending @ matrix)
    assert len(basis.pending) == 0
    check(basis, matrix)


def test_a_larger_basis_holds_the_same(matrix):
    basis = expanded(matrix, 4)
    projected = basis.projected.clone()
    basis.enlarge(3)
    assert basis.rows.shape == (23, SIZE)
    assert torch.equal(basis.projected[:20, :20], projected)
    check(basis, matrix)


def test_an_image_that_is_not_finite_is_an_error(matrix):
    basis = expanded(matrix, 1)
    with pytest.raises(ValueError, match="the product with a vector is not finite"):
        basis.expand(basis.pending * torch.nan)
