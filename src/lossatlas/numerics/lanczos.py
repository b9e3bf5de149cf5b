"""Eigenvalues at both ends of symmetric matrices that are known only by their products with vectors.

A product maps rows to rows, `(k, P)` -> `(k, P)`: V -> V A for a symmetric A. Nothing here knows of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.hardware import LANCZOS_BASIS_BYTES
from lossatlas.numerics.convergence import Decision, Wanted, decide
from lossatlas.numerics.krylov_basis import KrylovBasis, RitzPairs
from lossatlas.work import Stopped, cut_short, grace, over

Product = Callable[[Tensor], Tensor]

# Random mixtures of the vectors found by rough products that are multiplied exactly (docs/design/eigenvalues.md). With
# more, the deviation of the rough products is known better and costs as many products more.
CHECKS = 3

# Of the tolerance, to which rough products are searched with: the rest is left for what they are off. With more, exact
# products have to go on more often; with less, more rough ones are taken.
ROUGH_SHARE = 0.8

# Rows of a basis before a restart, beside two for each wanted eigenvalue. Set by hand: with fewer a search restarts
# earlier and takes more products; with more the basis takes more memory and its orthogonalization more time.
ROWS_BESIDE_WANTED = 60

# Ritz vectors kept at a restart beside the wanted ones, at each wanted end, at most. Set by hand: with fewer the wanted
# ones converge more slowly after a restart; with more there are fewer steps between restarts.
SPARE_RITZ_VECTORS = 10

# Largest number of vectors, relative to the wanted ones, with which exact products go on. A block with more is slow to
# grow: a mixture of the vectors takes fewer products then (docs/design/eigenvalues.md).
WIDEST_REFINEMENT = 1.25


@dataclass(frozen=True)
class Eigenpairs:
    """Both ends of a spectrum, each eigenvalue with the norm of its residual ‖Av − λv‖."""

    largest: Tensor  # (k,), descending, algebraic: not by magnitude
    largest_residuals: Tensor  # (k,)
    largest_vectors: Tensor  # (k, P), orthonormal
    smallest: Tensor  # (s,), ascending
    smallest_residuals: Tensor  # (s,)
    smallest_vectors: Tensor  # (s, P), orthonormal
    products: int  # rows multiplied, those of rough products included
    converged: bool  # every residual is at most tol · max|λ|


def extremal_eigenpairs(
    product: Product,
    size: int,
    *,
    largest: int,
    smallest: int = 0,
    generator: torch.Generator,
    tol: float = 1e-3,
    max_products: int = 400,
    block: int = 2,
    initial: Tensor | None = None,
    rough: Product | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Eigenpairs:
    """The `largest` largest and `smallest` smallest eigenvalues by block Lanczos with thick restarts.

    Banded block Lanczos with deflation (Ruhe 1979; Freund 1997), restarted with Ritz vectors (Wu and Simon 2000;
    Stewart's Krylov-Schur 2001). Every vector is orthogonalized against the whole basis, and twice along the rows that
    the recurrence couples it to (along the others there is rounding only), so there are no ghost eigenvalues. It stops
    when every wanted residual r is at most `tol` times the largest |λ|; each λ is then at most r from an eigenvalue,
    and where that one is a distance `gap` from the others, at most r² / gap.

    Equal eigenvalues: a block of b vectors shows up to b copies. Where b copies stand at a wanted end the block is
    given one more random vector and run on for as many steps as before, until it is wider than what it finds
    (`convergence.decide`); copies within `tol` of the last wanted eigenvalue are not looked for, since missing them
    changes no answer by more. What no Krylov method can exclude has probability 0: a start orthogonal to an
    eigenvector.

    Args:
        product: rows `(n, P)` -> rows `(n, P)`, their products with a symmetric matrix.
        size: P, rows and columns of the matrix.
        largest: how many eigenvalues at the upper end, algebraic.
        smallest: how many at the lower end.
        generator: of the start and of the mixtures, on the CPU.
        tol: of the residuals, relative to the largest |λ|.
        max_products: rows that are multiplied at most, those of `rough` included; what is found then is returned.
        block: vectors at the start. 2 costs about a fifth more products than 1, which would need a second run to
            tell equal eigenvalues (measured on trained networks, docs/design/eigenvalues.md).
        initial: rows `(m, P)` near the wanted eigenvectors, those of a nearby matrix say. A random mixture of them
            is the first vector of the start; the others stay random, so that nothing new can be overlooked.
        rough: the same product in single precision, and cheaper. The steps are done with it and a basis in float32,
            to 0.8 of the tolerance; then `product` says how far off its images of the vectors found are, from three
            random mixtures of them. That is part of every residual, and where they do not meet `tol` any more,
            `product` searches from there.
        device: of the basis.
        dtype: of the basis, and so of the vectors, which are float32 where `rough` was enough; float32 halves the
            memory where the products are no finer.

    Raises:
        ValueError: more eigenvalues wanted than there are or `max_products` can find, or a product that is not finite.

    >>> diagonal = torch.tensor([3.0, -5.0, 1.0, 3.0])
    >>> pairs = extremal_eigenpairs(
    ...     lambda rows: rows * diagonal, 4, largest=2, smallest=1, generator=torch.Generator().manual_seed(0)
    ... )
    >>> pairs.largest.round(decimals=9).tolist(), pairs.smallest.round(decimals=9).tolist()
    ([3.0, 3.0], [-5.0])
    """
    wanted = Wanted(largest, smallest)
    if not 0 < wanted.count <= size:
        raise ValueError(f"wanted {largest} + {smallest} eigenvalues of a matrix of size {size}")
    if max_products < wanted.count:
        raise ValueError(f"max_products is {max_products}: {wanted.count} eigenvalues take at least as many")
    spent = 0
    start = None if initial is None else _mixture(initial, generator)
    if rough is not None and max_products >= 3 * wanted.count:
        search = _search(
            rough, size, wanted, start, block=block, tol=ROUGH_SHARE * tol,
            max_products=max_products - 2 * wanted.count, generator=generator, device=device, dtype=torch.float32,
        )  # fmt: skip
        with grace():
            deviation, checks = _image_deviation(search, product, generator=generator, dtype=dtype)
        spent = search.products + checks
        pairs = _eigenpairs(search, tol, products=spent, deviation=deviation)
        if pairs.converged or not search.settled or over():
            return pairs
        start = _refinement_start(search, deviation, generator=generator, dtype=dtype)
        del search, pairs  # one basis at a time
    search = _search(
        product, size, wanted, start, block=block, tol=tol, max_products=max_products - spent, generator=generator,
        device=device, dtype=dtype,
    )  # fmt: skip
    return _eigenpairs(search, tol, products=spent + search.products)


@dataclass(frozen=True)
class _Search:
    """Where a search ended."""

    wanted: Wanted
    basis: KrylovBasis
    ritz: RitzPairs
    products: int
    settled: bool  # by the stopping rule, not by the number of products

    @property
    def positions(self) -> Tensor:
        """Of the wanted Ritz values."""
        return self.wanted.positions(len(self.ritz.values))

    @property
    def rotation(self) -> Tensor:
        """Coefficients of the wanted Ritz vectors on the basis, `(multiplied, k + s)`."""
        return self.ritz.rotation[:, self.positions]


def _search(
    product: Product, size: int, wanted: Wanted, start: Tensor | None, *, block: int, tol: float, max_products: int,
    generator: torch.Generator, device: torch.device | str, dtype: torch.dtype,
) -> _Search:  # fmt: skip
    """Block Lanczos until the stopping rule says so, or the products are spent.

    `start` are rows to begin with, of any length and dtype; with fewer than `block` random ones are added.
    """
    block = min(block if start is None else max(block, 2, len(start)), size)
    limit = _rows_before_restart(size, wanted, block, dtype)
    spare = _spare_ritz_vectors(wanted, limit - _fewest_rows(wanted.count, block))
    basis = KrylovBasis.empty(limit + 2 * block, size, dtype=dtype, device=device)
    if start is not None:
        basis.append(start.to(basis.rows))
    basis.append_random(block - basis.known, generator)
    products = steps = trial_ends = 0
    ritz = None
    while True:
        try:
            images = product(basis.pending[: max_products - products])
        except Stopped:
            if ritz is None:
                raise
            cut_short()
            return _Search(wanted, basis, ritz, products, settled=False)
        basis.expand(images)
        products, steps = products + len(images), steps + 1
        spent = products >= max_products
        if basis.multiplied < wanted.count and len(basis.pending) and not spent:
            continue
        ritz = basis.ritz_pairs()
        decision = decide(
            ritz.values, basis.residual_norms(ritz.rotation[:, wanted.positions(len(ritz.values))]), wanted=wanted,
            size=size, block=block, tol=tol, rounding=10 * basis.breakdown, on_trial=steps < trial_ends,
        )  # fmt: skip
        if decision is Decision.STOP:
            return _Search(wanted, basis, ritz, products, settled=True)
        if decision is Decision.WIDEN:
            block, trial_ends = block + 1, 2 * steps
            basis.enlarge(2)
            basis.append_random(1, generator)
        if not len(basis.pending):  # an invariant subspace: leave it
            basis.append_random(block, generator)
        if spent:
            return _Search(wanted, basis, ritz, products, settled=False)
        if basis.multiplied + block > limit < size:
            positions = wanted.with_spare(spare, len(ritz.values))
            basis.restart(ritz.values[positions], ritz.rotation[:, positions])
            ritz = basis.ritz_pairs()


def _rows_before_restart(size: int, wanted: Wanted, block: int, dtype: torch.dtype) -> int:
    """Rows that are multiplied before the basis restarts."""
    fewest = _fewest_rows(wanted.count, block)
    enough = max(2 * wanted.count + ROWS_BESIDE_WANTED, fewest)
    return min(size, enough, max(_rows_in_budget(size, dtype), fewest))


def _fewest_rows(wanted: int, block: int) -> int:
    """Rows before a restart, with fewer of which it would throw away what was just found."""
    return wanted + 2 * block + 4


def _rows_in_budget(size: int, dtype: torch.dtype) -> int:
    return LANCZOS_BASIS_BYTES // (size * dtype.itemsize)


def _spare_ritz_vectors(wanted: Wanted, free: int) -> int:
    """Ritz vectors kept at a restart beside the wanted ones, at each wanted end, of a basis with so many free rows."""
    ends = 2 if wanted.largest and wanted.smallest else 1
    return max(1, min(SPARE_RITZ_VECTORS, free // (2 * ends)))


def _eigenpairs(search: _Search, tol: float, *, products: int, deviation: float = 0.0) -> Eigenpairs:
    """What was found; `deviation` is how far the images of the vectors may be off, and a part of every residual."""
    values, k = search.ritz.values[search.positions], search.wanted.largest
    vectors = search.basis.vectors(search.rotation)
    residuals = search.basis.residual_norms(search.rotation) + deviation
    return Eigenpairs(
        largest=values[:k],
        largest_residuals=residuals[:k],
        largest_vectors=vectors[:k],
        smallest=values[k:],
        smallest_residuals=residuals[k:],
        smallest_vectors=vectors[k:],
        products=products,
        converged=bool((residuals <= tol * search.basis.spectral_norm).all()),
    )


def _image_deviation(
    search: _Search, product: Product, *, generator: torch.Generator, dtype: torch.dtype
) -> tuple[float, int]:
    """How far the images of the wanted Ritz vectors are from those by another product, and how many that took.

    For three vectors or fewer the root of the sum of their squared deviations. For more that sum is estimated: the mean
    over mixtures with Gaussian weights g of ‖Σ gᵢ eᵢ‖², from three of them, times 9. Even where all deviations are
    parallel, which spreads it most (χ² with three degrees of freedom), 19 of 20 estimates are no less.
    """
    basis, wanted = search.basis, search.wanted.count
    ritz_values, ritz_vectors = search.ritz.values[search.positions], basis.vectors(search.rotation)
    residuals = basis.on_pending(search.rotation)
    if wanted <= CHECKS:
        weights, scale = torch.eye(wanted, dtype=torch.float64), 1.0
    else:
        weights = torch.randn(CHECKS, wanted, generator=generator, dtype=torch.float64)
        scale = 9.0 / CHECKS
    images = product((weights.to(ritz_vectors) @ ritz_vectors).to(dtype)).double()
    in_span = (weights * ritz_values).to(ritz_vectors) @ ritz_vectors
    known = in_span + (weights @ residuals.T).to(ritz_vectors) @ basis.pending
    deviations = images - known.double()
    return math.sqrt(scale * float(deviations.square().sum())), len(weights)


def _refinement_start(search: _Search, deviation: float, *, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Rows from which to search on with better products, the images of this search having been off by `deviation`.

    All wanted Ritz vectors and those whose values come as near to the last wanted one as twice `deviation`, which may
    have changed places with it: one step with each is mostly enough. Where these are more than a quarter more than
    wanted, the block would be slow to grow, and a basis with it in `dtype` may outgrow its budget: then one mixture of
    the wanted vectors.
    """
    basis, wanted, values = search.basis, search.wanted, search.ritz.values
    swappable = torch.zeros(len(values), dtype=torch.bool)
    if wanted.largest:
        swappable |= values >= values[len(values) - wanted.largest] - 2 * deviation
    if wanted.smallest:
        swappable |= values <= values[wanted.smallest - 1] + 2 * deviation
    count = int(swappable.sum())
    fits = _fewest_rows(wanted.count, count) + 2 * count <= _rows_in_budget(basis.size, dtype)
    if count <= WIDEST_REFINEMENT * wanted.count and fits:
        return basis.vectors(search.ritz.rotation[:, swappable])
    return _mixture(basis.vectors(search.rotation), generator)


def _mixture(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One random mixture of the rows, `(1, P)`."""
    weights = torch.randn(1, len(rows), generator=generator, dtype=torch.float64)
    return weights.to(rows) @ rows
