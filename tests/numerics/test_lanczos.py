from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh

from lossatlas.numerics import lanczos
from lossatlas.numerics.convergence import Wanted
from lossatlas.numerics.lanczos import _search, extremal_eigenpairs
from lossatlas.numerics.trace import trace


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotated(spectrum, number: int = 1) -> torch.Tensor:
    """A full symmetric matrix with exactly this spectrum, up to rounding."""
    values = torch.as_tensor(spectrum, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=seed(number), dtype=torch.float64)).Q
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


def pairs_of(matrix, largest, smallest=0, **options):
    options = {"generator": seed(), **options}
    return extremal_eigenpairs(lambda rows: rows @ matrix, len(matrix), largest=largest, smallest=smallest, **options)


SPECTRA = {
    "signs tie": [2, -2, 0.1],
    "signs nearly tie": [3, -2.9],
    "signs tie in many dimensions": [2, -2, *np.linspace(-1, 1, 80)],
    "all negative": -np.geomspace(1e-3, 5, 40),
    "tiny": 1e-7 * np.linspace(-1, 3, 50),
    "tinier": [1e-6, 5e-7, 1e-13],
    "huge": 1e12 * np.linspace(-1, 3, 50),
    "cluster": [*(5 + 1e-3 * np.arange(4)), *np.linspace(0, 1, 100)],
    "outliers and a bulk at zero": [100, 30, 10, -4, *np.zeros(150)],
    "decay": 1 / np.arange(1, 121),
    "one": [-3.0],
    "two": [1.0, 4.0],
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("rotate", [False, True], ids=["diagonal", "full"])
def test_both_ends_against_a_dense_solver(spectrum, rotate):
    matrix = rotated(spectrum) if rotate else torch.diag(torch.as_tensor(spectrum, dtype=torch.float64))
    expected = np.linalg.eigvalsh(matrix.numpy())
    largest, smallest = min(4, len(expected)), min(2, len(expected) - min(4, len(expected)))
    pairs = pairs_of(matrix, largest, smallest, tol=1e-9, max_products=1000)
    assert pairs.converged
    bound = 1e-8 * np.abs(expected).max()
    assert np.allclose(pairs.largest, expected[::-1][:largest], rtol=0, atol=bound)
    assert np.allclose(pairs.smallest, expected[:smallest], rtol=0, atol=bound)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("spectrum", [np.linspace(-1, 3, 300), 1 / np.arange(1, 301)], ids=["even", "decay"])
def test_residuals_are_true_and_bound_the_error(spectrum, tol):
    matrix = rotated(spectrum)
    pairs = pairs_of(matrix, 3, 2, tol=tol, max_products=2000)
    scale = np.abs(spectrum).max()
    v = pairs.largest_vectors
    true = (v @ matrix - pairs.largest[:, None] * v).norm(dim=1)
    assert np.allclose(pairs.largest_residuals, true, rtol=1e-6, atol=1e-12 * scale)
    assert pairs.converged
    residuals = torch.cat([pairs.largest_residuals, pairs.smallest_residuals])
    assert float(residuals.max()) <= tol * scale
    values = np.linalg.eigvalsh(matrix.numpy())
    for found, residual in zip(torch.cat([pairs.largest, pairs.smallest]), residuals, strict=True):
        assert np.abs(values - float(found)).min() <= float(residual) + 1e-12 * scale


def test_vectors_are_orthonormal_even_in_a_cluster():
    pairs = pairs_of(rotated(SPECTRA["cluster"]), 4, tol=1e-6, max_products=1000)
    assert torch.allclose(
        pairs.largest_vectors @ pairs.largest_vectors.T, torch.eye(4, dtype=torch.float64), atol=1e-10
    )


MULTIPLE = {
    "three values, two wanted": ([5.0, 5.0, 4.0, 4.0, *[1.0] * 60], 2),
    "three values, three wanted": ([5.0, 5.0, 4.0, 4.0, *[1.0] * 60], 3),
    "three values, five wanted": ([5.0, 5.0, 4.0, 4.0, *[1.0] * 60], 5),
    "identity": ([1.0] * 40, 5),
    "twice the top of a bulk": ([5.0, 5.0, *np.linspace(0, 3, 58)], 3),
    "thrice the top of a bulk": ([5.0, 5.0, 5.0, *np.linspace(0, 3, 57)], 4),
    "twice the top of a long decay": ([5.0, 5.0, *(3 / np.arange(1, 200))], 3),
    "rank two": ([7.0, 7.0, *[0.0] * 90], 3),
}


@pytest.mark.parametrize(("spectrum", "largest"), MULTIPLE.values(), ids=MULTIPLE)
@pytest.mark.parametrize("tol", [1e-4, 1e-8])
def test_equal_eigenvalues_are_found_as_often_as_they_occur(spectrum, largest, tol):
    """A diagonal matrix: no rounding of a rotation splits the copies apart."""
    diagonal = torch.tensor(spectrum, dtype=torch.float64)
    pairs = extremal_eigenpairs(
        lambda rows: rows * diagonal, len(spectrum), largest=largest, generator=seed(), tol=tol, max_products=1000
    )
    expected = np.sort(spectrum)[::-1][:largest]
    assert not pairs.converged or np.allclose(pairs.largest, expected, atol=5 * tol)
    assert pairs.converged


def test_equal_eigenvalues_at_the_lower_end():
    diagonal = torch.tensor([-5.0, -5.0, *[0.0, 1.0] * 30], dtype=torch.float64)
    pairs = extremal_eigenpairs(lambda rows: rows * diagonal, 62, largest=1, smallest=3, generator=seed())
    assert np.allclose(pairs.smallest, [-5, -5, 0], atol=1e-3)


def test_a_simple_eigenvalue_has_no_ghosts():
    """Lanczos without re-orthogonalisation finds the outlier again and again."""
    matrix = rotated([1000.0, *np.linspace(0, 1, 150)])
    pairs = pairs_of(matrix, 4, tol=1e-10, max_products=2000)
    assert int((pairs.largest > 500).sum()) == 1


def test_every_eigenvalue_of_a_small_matrix():
    matrix = rotated(np.linspace(-2, 5, 9))
    pairs = pairs_of(matrix, 6, 3, tol=1e-10)
    assert np.allclose(torch.cat([pairs.smallest, pairs.largest.flip(0)]), np.linspace(-2, 5, 9), atol=1e-10)
    assert pairs.products == 9


@pytest.mark.parametrize("size", [1, 5, 70])
def test_the_zero_matrix(size):
    pairs = pairs_of(torch.zeros(size, size, dtype=torch.float64), min(3, size))
    assert pairs.converged
    assert torch.equal(pairs.largest, torch.zeros(min(3, size), dtype=torch.float64))
    assert torch.equal(pairs.largest_residuals, pairs.largest)


def test_thick_restarts_reach_the_ends_of_a_slow_spectrum():
    """A reflected diagonal of size 2000; another library (ARPACK) on the same product."""
    spectrum = torch.cat(
        [1 / (1 + torch.arange(1900, dtype=torch.float64) / 30), -torch.linspace(0, 0.2, 100).double()]
    )
    u = torch.randn(2000, generator=seed(3), dtype=torch.float64)
    u /= u.norm()

    def reflect(rows):
        return rows - 2 * (rows @ u)[:, None] * u

    def product(rows):
        return reflect(reflect(rows) * spectrum)

    pairs = extremal_eigenpairs(product, 2000, largest=4, smallest=2, generator=seed(), tol=1e-7, max_products=3000)
    assert pairs.converged
    assert pairs.products > 2 * 6 + 40 + 20  # restarted more than once
    operator = LinearOperator(
        (2000, 2000), matvec=lambda x: product(torch.tensor(x).reshape(1, -1))[0].numpy(), dtype=float
    )
    top = eigsh(operator, 4, which="LA", return_eigenvectors=False)[::-1]
    bottom = eigsh(operator, 2, which="SA", return_eigenvectors=False)
    assert np.allclose(pairs.largest, top, atol=1e-7)
    assert np.allclose(pairs.smallest, np.sort(bottom), atol=1e-7)
    assert np.allclose(pairs.largest, spectrum.sort(descending=True).values[:4], atol=1e-7)
    v = pairs.largest_vectors
    assert np.allclose((product(v) - pairs.largest[:, None] * v).norm(dim=1), pairs.largest_residuals, atol=1e-10)


def test_too_few_products_are_not_called_converged():
    pairs = pairs_of(rotated(np.linspace(0, 1, 200)), 2, 1, max_products=6)
    assert not pairs.converged
    assert pairs.products == 6
    assert float(torch.cat([pairs.largest_residuals, pairs.smallest_residuals]).max()) > 1e-4
    v = pairs.largest_vectors
    true = (v @ rotated(np.linspace(0, 1, 200)) - pairs.largest[:, None] * v).norm(dim=1)
    assert np.allclose(pairs.largest_residuals, true, rtol=1e-9)


def test_products_are_counted():
    calls = []
    matrix = rotated(np.linspace(0, 1, 90))
    pairs = extremal_eigenpairs(
        lambda rows: calls.append(len(rows)) or rows @ matrix, 90, largest=2, generator=seed(), max_products=500
    )
    assert pairs.products == sum(calls)


def test_the_same_seed_gives_the_same_bits():
    matrix = rotated(np.linspace(0, 1, 90))
    one, two = (pairs_of(matrix, 3, 1, generator=seed(5)) for _ in range(2))
    assert torch.equal(one.largest, two.largest)
    assert torch.equal(one.largest_vectors, two.largest_vectors)


@pytest.mark.parametrize(("largest", "smallest"), [(4, 0), (2, 2), (0, 0)])
def test_more_eigenvalues_than_there_are_is_an_error(largest, smallest):
    with pytest.raises(ValueError, match=rf"wanted {largest} \+ {smallest} eigenvalues of a matrix of size 3"):
        pairs_of(torch.eye(3, dtype=torch.float64), largest, smallest)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_product_that_is_not_finite_is_an_error(bad):
    with pytest.raises(ValueError, match="the product with a vector is not finite"):
        extremal_eigenpairs(lambda rows: rows * bad, 5, largest=1, generator=seed())


entries = st.lists(st.floats(-10, 10), min_size=21, max_size=21)


@settings(deadline=None, max_examples=30)
@given(entries, st.floats(-20, 20))
def test_adding_a_multiple_of_the_identity_shifts_every_eigenvalue(values, shift):
    matrix = torch.zeros(6, 6, dtype=torch.float64)
    rows, columns = torch.tril_indices(6, 6)
    matrix[rows, columns] = torch.tensor(values, dtype=torch.float64)
    matrix = matrix + matrix.tril(-1).T
    plain = pairs_of(matrix, 4, 2, tol=1e-12)
    moved = pairs_of(matrix + shift * torch.eye(6, dtype=torch.float64), 4, 2, tol=1e-12)
    assert np.allclose(moved.largest, plain.largest + shift, atol=1e-10)
    assert np.allclose(moved.smallest, plain.smallest + shift, atol=1e-10)
    assert np.allclose(plain.largest, np.linalg.eigvalsh(matrix.numpy())[::-1][:4], atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
def test_the_negated_matrix_has_its_ends_swapped(spectrum):
    matrix = rotated(spectrum)
    plain, negated = pairs_of(matrix, 1, 1, tol=1e-10), pairs_of(-matrix, 1, 1, tol=1e-10)
    assert np.allclose(negated.largest, -plain.smallest, atol=1e-8)
    assert np.allclose(negated.smallest, -plain.largest, atol=1e-8)


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_copies_beyond_the_block(copies, block):
    """The block grows until it is wider than what it finds, whatever it was at the start."""
    diagonal = torch.tensor([5.0] * copies + list(np.linspace(0, 3, 80)), dtype=torch.float64)
    pairs = extremal_eigenpairs(
        lambda rows: rows * diagonal, len(diagonal), largest=copies + 1, smallest=1, generator=seed(), block=block
    )
    assert pairs.converged
    assert np.allclose(pairs.largest, [5.0] * copies + [3.0], atol=2e-2)


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_a_block_larger_than_the_matrix(block):
    for size in (1, 2, 5):
        pairs = pairs_of(torch.diag(torch.arange(1.0, size + 1).double()), 1, min(1, size - 1), block=block, tol=1e-9)
        assert pairs.converged
        assert pairs.products <= size
        assert float(pairs.largest[0]) == pytest.approx(size)


def test_isolated_eigenvalues_are_off_by_the_squared_residual_over_the_gap():
    spectrum = np.array([10.0, 6.0, 4.0, *np.linspace(-1, 1, 200)])
    pairs = pairs_of(rotated(spectrum), 3, tol=1e-2)
    for value, residual, true, gap in zip(pairs.largest, pairs.largest_residuals, [10, 6, 4], [4, 2, 2], strict=True):
        assert abs(float(value) - true) <= float(residual) ** 2 / (gap - float(residual)) + 1e-12


def drifting(step: float) -> torch.Tensor:
    """A matrix that moves on, as a Hessian does during training."""
    matrix = rotated([*np.geomspace(20, 2, 10), *np.linspace(-1, 1, 300)])
    move = rotated(np.linspace(-1, 1, 310), 5)
    return matrix + step * move


def test_a_warm_start_saves_products_and_changes_no_answer():
    before = pairs_of(drifting(0), 5, 1)
    start = torch.cat([before.largest_vectors, before.smallest_vectors])
    kept = start.clone()
    cold, warm = (pairs_of(drifting(0.01), 5, 1, initial=rows) for rows in (None, start))
    assert warm.converged
    assert warm.products < cold.products
    assert np.allclose(warm.largest, np.linalg.eigvalsh(drifting(0.01).numpy())[::-1][:5], atol=2e-2)
    assert torch.equal(start, kept)


def test_a_warm_start_overlooks_nothing_new():
    """Started from exact eigenvectors that are not the wanted ones."""
    matrix = rotated([50.0, 30.0, *np.linspace(-1, 1, 100), *np.linspace(3, 9, 5)])
    vectors = torch.linalg.eigh(matrix).eigenvectors.T[-7:-2]
    pairs = pairs_of(matrix, 3, initial=vectors, tol=1e-6)
    assert np.allclose(pairs.largest, [50, 30, 9], atol=1e-4)


def single(matrix):
    return lambda rows: rows.float() @ matrix.float()


@pytest.mark.parametrize("spectrum", [SPECTRA["signs tie in many dimensions"], SPECTRA["decay"], SPECTRA["tiny"]])
def test_rough_products_are_checked_with_exact_ones(spectrum):
    matrix = rotated(spectrum)
    rows = []
    pairs = extremal_eigenpairs(
        lambda block: rows.append(len(block)) or block @ matrix, len(matrix), largest=3, smallest=1, generator=seed(),
        rough=single(matrix), tol=1e-4,
    )  # fmt: skip
    assert pairs.converged
    assert rows == [3]
    v, scale = pairs.largest_vectors.double(), np.abs(spectrum).max()
    true = (v @ matrix - pairs.largest[:, None] * v).norm(dim=1)
    assert (true <= pairs.largest_residuals).all()
    assert np.allclose(true, pairs.largest_residuals, rtol=0, atol=5e-6 * scale)
    assert np.allclose(pairs.largest, np.sort(spectrum)[::-1][:3], rtol=0, atol=1e-4 * scale)


def test_products_too_rough_are_not_believed():
    """Rounded so that the residuals, small by the rough product, are large in truth."""
    matrix = rotated([3.0, -2.0, *np.linspace(-1, 1, 80)])
    off = 0.05 * rotated(np.linspace(-1, 1, 82), 4)
    calls = []
    pairs = extremal_eigenpairs(
        lambda rows: calls.append(len(rows)) or rows @ matrix, 82, largest=2, smallest=1, generator=seed(),
        rough=lambda rows: rows.double() @ (matrix + off),
    )  # fmt: skip
    assert pairs.converged
    assert calls[0] == 3
    assert len(calls) > 1
    assert np.allclose(pairs.largest, [3, 1], atol=3e-3)
    assert pairs.products > sum(calls)


def searched_on(matrix, off, number=0):
    """Ten largest and the smallest to 1e-4, where the rough product is another one; rows of each exact product."""
    calls = []
    pairs = extremal_eigenpairs(
        lambda rows: calls.append(len(rows)) or rows @ matrix, len(matrix), largest=10, smallest=1,
        generator=seed(number), tol=1e-4, rough=lambda rows: rows.double() @ (matrix + off),
    )  # fmt: skip
    assert pairs.converged
    vectors = torch.cat([pairs.largest_vectors, pairs.smallest_vectors])
    values = torch.cat([pairs.largest, pairs.smallest])
    assert (vectors @ matrix - values[:, None] * vectors).norm(dim=1).max() <= 1.01e-4 * matrix.norm(2)
    return pairs, calls


DECAY = [*np.geomspace(20, 0.5, 12), *np.linspace(-1, 0.4, 300), -3.0]


def off_by(noise):
    return 20 * noise * rotated(np.linspace(-1, 1, len(DECAY)), 3)


@pytest.mark.parametrize("number", range(3))
def test_exact_products_go_on_from_all_that_rough_ones_found(number, monkeypatch):
    """One step with each vector is enough where they are nearly right; a mixture of them takes more products."""
    matrix = rotated(DECAY)
    pairs, calls = searched_on(matrix, off_by(1e-4), number)
    assert calls == [3, 11]
    assert np.allclose(pairs.largest, sorted(DECAY)[:-11:-1], rtol=0, atol=1e-5)  # r² / gap
    assert float(pairs.smallest) == pytest.approx(-3, abs=1e-5)
    monkeypatch.setattr(lanczos, "LANCZOS_BASIS_BYTES", 58 * len(DECAY) * 8)  # no room for a block of all, see below
    assert sum(searched_on(matrix, off_by(1e-4), number)[1]) > sum(calls) + 5


def test_exact_products_go_on_from_a_mixture_of_vectors_that_are_far_off():
    """All that may have changed places would be a block that is slow to grow."""
    assert searched_on(rotated(DECAY), off_by(1e-2))[1][:2] == [3, 2]


def test_a_wide_block_does_not_outgrow_the_memory_of_a_basis(monkeypatch):
    for rows, width in ((58, 2), (59, 11)):  # 11 + 2 · 11 + 4 before a restart, 2 · 11 beside them
        monkeypatch.setattr(lanczos, "LANCZOS_BASIS_BYTES", rows * len(DECAY) * 8)
        assert searched_on(rotated(DECAY), off_by(1e-4))[1][1] == width


@pytest.mark.parametrize("number", range(3))
def test_an_eigenvalue_that_rough_products_put_behind_the_last_wanted_one_is_found(number):
    """The tenth and the eleventh, apart by three tolerances, have changed places."""
    tenth = 4.0
    diagonal = torch.tensor([*np.geomspace(20, 5, 9), tenth, tenth - 3e-4 * 20, -3, *np.linspace(-1, 0.4, 300)])
    swap = torch.zeros_like(diagonal)
    swap[9], swap[10] = -2e-4 * 20, 2e-4 * 20
    pairs, calls = searched_on(torch.diag(diagonal), torch.diag(swap), number)
    assert calls[1] == 12
    assert float(pairs.largest[9]) == pytest.approx(tenth, abs=1e-4 * 20)


@pytest.mark.parametrize("largest", [1, 2, 4])
@pytest.mark.parametrize("rank", [1, 85])
def test_what_rough_products_are_off_is_in_the_residuals(largest, rank):
    """A deviation of full rank, and one that shows in every vector along a single direction."""
    matrix = rotated([3.0, 2.5, 2.0, 1.5, -2.0, *np.linspace(-1, 1, 80)])
    u = torch.randn(1, 85, generator=seed(2), dtype=torch.float64)
    off = 0.004 * (rotated(np.linspace(-1, 1, 85), 3) if rank == 85 else u.T @ u / u.square().sum())
    held = []
    for number in range(40):
        pairs = extremal_eigenpairs(
            lambda rows: rows @ matrix, 85, largest=largest, generator=seed(number), tol=0.05,
            rough=lambda rows: rows.double() @ (matrix + off),
        )  # fmt: skip
        assert pairs.converged
        v = pairs.largest_vectors.double()
        true = (v @ matrix - pairs.largest[:, None] * v).norm(dim=1)
        held.append(bool((true <= pairs.largest_residuals + 1e-6).all()))
        assert (pairs.largest_residuals <= true + 0.05).all()
    assert np.mean(held) >= 0.9
    if largest <= 3:
        assert all(held)


def test_fewer_products_than_eigenvalues_is_an_error():
    with pytest.raises(ValueError, match="max_products is 3: 5 eigenvalues take at least as many"):
        pairs_of(torch.eye(20, dtype=torch.float64), 4, 1, max_products=3)


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-9, 1e9), st.integers(0, 100))
def test_a_scaled_matrix_has_scaled_eigenvalues(factor, number):
    matrix = rotated([4.0, 4.0, -4.0, *np.linspace(-1, 1, 40)], number)
    plain, moved = (pairs_of(m, 3, 1, tol=1e-8) for m in (matrix, factor * matrix))
    assert np.allclose(moved.largest, factor * plain.largest, rtol=1e-9, atol=1e-7 * factor)
    assert np.allclose(moved.smallest, factor * plain.smallest, rtol=1e-9)
    assert moved.products == plain.products


def hutchinson_variance(matrix: torch.Tensor) -> float:
    """Of gᵀAg for Rademacher g: 2 Σ_{i≠j} A_ij² (Avron and Toledo 2011)."""
    return 2 * float((matrix**2).sum() - (matrix.diagonal() ** 2).sum())


def estimates(matrix, samples, count, **options):
    found = [
        trace(lambda rows: rows @ matrix, len(matrix), samples=samples, generator=seed(number), **options)
        for number in range(count)
    ]
    return np.array(found).T  # (2, count): values, standard errors


MATRIX = rotated(np.linspace(-2, 6, 20))


def test_the_trace_is_unbiased_and_its_error_calibrated():
    samples, count = 10, 400
    values, errors = estimates(MATRIX, samples, count)
    variance = hutchinson_variance(MATRIX)
    z = (values.mean() - float(MATRIX.trace())) / math.sqrt(variance / (samples * count))
    assert abs(z) < 4
    assert values.var(ddof=1) == pytest.approx(variance / samples, rel=0.3)  # χ² with 399 degrees: ±7 %
    assert (errors**2).mean() == pytest.approx(variance / samples, rel=0.1)  # χ² with 3600 degrees: ±2.4 %
    z_scores = (values - float(MATRIX.trace())) / errors
    assert 0.90 < (np.abs(z_scores) < 2.26).mean() < 0.98  # Student's t with 9 degrees: 0.95


def test_the_deflated_trace_is_unbiased_for_any_span():
    q = torch.linalg.qr(torch.randn(20, 3, generator=seed(9), dtype=torch.float64)).Q.T
    rest = torch.eye(20, dtype=torch.float64) - q.T @ q
    variance = hutchinson_variance(rest @ MATRIX @ rest)
    values, errors = estimates(MATRIX, 10, 400, deflate=q)
    assert abs(values.mean() - float(MATRIX.trace())) < 4 * math.sqrt(variance / 4000)
    assert (errors**2).mean() == pytest.approx(variance / 10, rel=0.1)


def test_deflation_takes_the_outliers_out_of_the_error():
    matrix = rotated([500.0, 200.0, *np.linspace(0, 1, 60)])
    vectors = torch.linalg.eigh(matrix).eigenvectors[:, -2:].T
    plain, deflated = (
        trace(lambda rows: rows @ matrix, 62, samples=30, generator=seed(), deflate=d) for d in (None, vectors)
    )
    assert deflated[1] < plain[1] / 20
    assert abs(deflated[0] - float(matrix.trace())) < 5 * deflated[1]


def test_the_deflated_trace_of_a_low_rank_is_exact():
    matrix = rotated([9.0, -4.0, 1.0, *[0.0] * 40])
    values, vectors = torch.linalg.eigh(matrix)
    span = vectors[:, values.abs() > 0.5].T
    value, error = trace(lambda rows: rows @ matrix, 43, samples=5, generator=seed(), deflate=span)
    assert value == pytest.approx(6, abs=1e-11)
    assert error < 1e-11


def test_the_trace_of_a_diagonal_is_exact():
    diagonal = torch.linspace(-3, 8, 12, dtype=torch.float64)
    value, error = trace(lambda rows: rows * diagonal, 12, samples=2, generator=seed())
    assert value == pytest.approx(float(diagonal.sum()), rel=1e-13)
    assert error == pytest.approx(0, abs=1e-12)


def test_one_sample_has_no_standard_error():
    with pytest.raises(ValueError, match="samples is 1: wanted at least 2"):
        trace(lambda rows: rows, 3, samples=1, generator=seed())


def test_the_trace_of_nan_is_nan_or_an_error():
    value, error = trace(lambda rows: rows * math.nan, 3, samples=3, generator=seed())
    assert math.isnan(value)
    assert math.isnan(error)


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e5])
def test_a_basis_in_single_precision_is_as_good_as_its_products(scale):
    """Ties of either sign, equal eigenvalues and a cluster, through restarts: residuals are those of the matrix."""
    spectrum = scale * np.array([5.0, 5.0, -5.0, -5.0, 4.0, 3.9, 3.8, *np.linspace(-1, 2, 400)])
    matrix = torch.as_tensor(rotated(spectrum))
    pairs = extremal_eigenpairs(
        lambda rows: rows @ matrix.float(), len(matrix), largest=6, smallest=2, generator=seed(), tol=1e-4,
        max_products=2000, dtype=torch.float32,
    )  # fmt: skip
    assert pairs.converged
    assert pairs.largest_vectors.dtype is torch.float32
    assert np.allclose(pairs.largest, np.sort(spectrum)[::-1][:6], rtol=0, atol=5e-4 * scale)
    assert np.allclose(pairs.smallest, [-5 * scale, -5 * scale], rtol=0, atol=5e-4 * scale)
    v = torch.cat([pairs.largest_vectors, pairs.smallest_vectors]).double()
    assert np.allclose(v @ v.T, np.eye(8), atol=1e-5)
    values, stated = (
        torch.cat(both)
        for both in ([pairs.largest, pairs.smallest], [pairs.largest_residuals, pairs.smallest_residuals])
    )
    assert np.allclose((v @ matrix - values[:, None] * v).norm(dim=1), stated, rtol=0, atol=1e-5 * scale)


def test_the_basis_stays_orthogonal_with_one_pass_over_the_old_rows():
    """Where Ritz values converge the overlaps of plain Lanczos grow to 1; here they stay rounding."""
    matrix = torch.as_tensor(rotated([1e3, 5e2, -3e2, *np.linspace(-1, 1, 297)]))
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
        search = _search(
            lambda rows, dtype=dtype: rows @ matrix.to(dtype), 300, Wanted(30, 5), None, block=2, tol=1e-9,
            max_products=120, generator=seed(), device="cpu", dtype=dtype,
        )  # fmt: skip
        known = search.basis.known
        basis = search.basis.rows[:known].double()
        assert float((basis @ basis.T - torch.eye(known)).abs().max()) < bound
