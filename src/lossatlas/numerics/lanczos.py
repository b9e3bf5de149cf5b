"""Eigenvalues at both ends of symmetric matrices that are known only by their products with vectors.

A product maps rows to rows, `(k, P)` -> `(k, P)`: V -> V A for a symmetric A. Nothing here knows of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]

BASIS_BYTES = 2**31  # of the basis before a restart: 16,000 rows of 2x100, 64 of 4 million parameters in float64

CHECKS = 3  # mixtures of the vectors found by rough products that are multiplied exactly

# Of the largest |λ|: what remains of a product after orthogonalisation is rounding below this.
NEGLIGIBLE = {torch.float64: 1e-13, torch.float32: 1e-6}


@dataclass(frozen=True)
class Eigenpairs:
    """Both ends of a spectrum, each eigenvalue with the norm of its residual ‖Av − λv‖."""

    largest: Tensor  # (k,), descending, algebraic: not by magnitude
    largest_residuals: Tensor  # (k,)
    largest_vectors: Tensor  # (k, P), orthonormal
    smallest: Tensor  # (s,), ascending
    smallest_residuals: Tensor  # (s,)
    smallest_vectors: Tensor  # (s, P), orthonormal
    products: int
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
    Stewart's Krylov-Schur 2001). Every vector is orthogonalised against the whole basis, and twice along the rows
    that it is coupled to (along the others there is rounding only), so there are no ghost eigenvalues. It stops when
    every wanted residual r is at most `tol` times the largest |λ|; each λ is then at most r from an eigenvalue, and
    where that one is a distance `gap` from the others, at most r² / gap.

    Equal eigenvalues: a block of b vectors shows up to b copies. Where b copies stand at a wanted end the block is
    given one more random vector and run on for as many steps as before, until it is wider than what it finds; copies
    within `tol` of the last wanted eigenvalue are not looked for, since missing them changes no answer by more.
    What no Krylov method can exclude has probability 0: a start orthogonal to an eigenvector.

    Args:
        initial: rows `(m, P)` near the wanted eigenvectors, those of a nearby matrix say. A random mixture of them
            is the first vector of the start; the others stay random, so that nothing new can be overlooked.
        rough: the same product in single precision, and cheaper. The steps are done with it and a basis in float32,
            to 0.8 of the tolerance; then `product` says how far off its images of the vectors found are, from three
            random mixtures of them (`_Search.compared`). That is part of every residual, and where they do not meet
            `tol` any more, `product` searches from there (`_Search.onward`).
        dtype: of the basis, and so of the vectors, which are float32 where `rough` was enough; float32 halves the
            memory where the products are no finer.
        block: vectors at the start. 2 costs about a fifth more products than 1, which would need a second run to
            tell equal eigenvalues (measured on trained networks, docs/architecture.md).

    Raises:
        ValueError: more eigenvalues wanted than there are or `max_products` can find, or a product that is not finite.

    >>> diagonal = torch.tensor([3.0, -5.0, 1.0, 3.0])
    >>> pairs = extremal_eigenpairs(
    ...     lambda rows: rows * diagonal, 4, largest=2, smallest=1, generator=torch.Generator().manual_seed(0)
    ... )
    >>> pairs.largest.round(decimals=9).tolist(), pairs.smallest.round(decimals=9).tolist()
    ([3.0, 3.0], [-5.0])
    """
    wanted = largest + smallest
    if not 0 < wanted <= size:
        raise ValueError(f"wanted {largest} + {smallest} eigenvalues of a matrix of size {size}")
    if max_products < wanted:
        raise ValueError(f"max_products is {max_products}: {wanted} eigenvalues take at least as many")
    spent = 0
    start = None if initial is None else _mixed(initial, generator)
    if rough is not None and max_products >= 3 * wanted:
        search = _Search(rough, size, largest, smallest, block, generator, start, device, torch.float32)
        search.run(0.8 * tol, max_products - 2 * wanted)
        off, checks = search.compared(product, dtype)
        spent = search.products + checks
        pairs = search.pairs(tol, spent, off)
        if pairs.converged or not search.settled:
            return pairs
        start = search.onward(off, dtype)
        del search, pairs  # one basis at a time
    search = _Search(product, size, largest, smallest, block, generator, start, device, dtype)
    search.run(tol, max_products - spent)
    return search.pairs(tol, spent + search.products)


def _mixed(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One random mixture of the rows, `(1, P)`."""
    weights = torch.randn(1, len(rows), generator=generator, dtype=torch.float64)
    return weights.to(rows) @ rows


def _room(size: int, dtype: torch.dtype) -> int:
    """Rows of a basis of `BASIS_BYTES`."""
    return BASIS_BYTES // (size * dtype.itemsize)


def _least(wanted: int, block: int) -> int:
    """Rows before a restart, with fewer of which it would throw away what was just found."""
    return wanted + 2 * block + 4


class _Search:
    """A growing orthonormal basis V: the images of its first `done` rows are known, the other rows are pending.

    `start` are rows to begin with, of any length and dtype; with fewer than `block` random ones are added. The block
    is what is pending. `projected` holds V A Vᵀ where one side is done, and the images have no part outside
    the basis: so the residual of a Ritz vector is the norm of its coefficients on the pending rows.
    """

    def __init__(
        self, product: Product, size: int, largest: int, smallest: int, block: int, generator: torch.Generator,
        start: Tensor | None, device: torch.device | str, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.product, self.size, self.generator = product, size, generator
        self.largest, self.smallest, self.wanted = largest, smallest, largest + smallest
        self.block = min(block if start is None else max(block, 2, len(start)), size)
        least = _least(self.wanted, self.block)
        enough = max(2 * self.wanted + 60, least)
        self.limit = min(size, enough, max(_room(size, dtype), least))  # rows done before a restart
        ends = 2 if largest and smallest else 1
        self.spare = max(1, min(10, (self.limit - least) // (2 * ends)))  # kept at a restart beside what is wanted
        self.basis = torch.empty(self.limit + 2 * self.block, size, dtype=dtype, device=device)
        self.projected = torch.zeros(len(self.basis), len(self.basis), dtype=torch.float64)
        self.done = self.known = self.products = self.steps = 0
        self.coupled = 0  # the first row whose image has a part along what is pending
        self.negligible = NEGLIGIBLE[dtype]
        self.settled = False
        self.scale = 0.0  # the largest |Ritz value|
        if start is not None:
            self._append(start.to(self.basis))
        self._add_random(self.block - self.known)

    def run(self, tol: float, max_products: int) -> None:
        """Advance block by block until the wanted residuals are below tol · scale."""
        probation = 0  # steps until the vectors added last have been run as long as the first
        while not self.settled and self.products < max_products:
            self._advance(min(self.known - self.done, max_products - self.products))
            probation -= 1
            if self.done < self.wanted and self.known > self.done and self.products < max_products:
                continue
            self.values, self.rotation = torch.linalg.eigh(self.projected[: self.done, : self.done])
            self.scale = float(self.values.abs().max())
            if self.done >= self.wanted and bool((self.picked()[2] <= tol * self.scale).all()):
                doubt = self._doubt(tol) if probation <= 0 and self.done < self.size else None
                if self.done == self.size or (probation <= 0 and doubt is None):
                    self.settled = True
                elif doubt is not None and doubt <= tol / 100 * self.scale:
                    probation = self.steps
                    self._widen()
            if not self.settled:
                if self.known == self.done:  # an invariant subspace: leave it
                    self._add_random(self.block)
                if self.done + self.block > self.limit < self.size and self.products < max_products:
                    self._restart()

    def picked(self) -> tuple[Tensor, Tensor, Tensor]:
        """The wanted Ritz values (the largest, descending; then the smallest), their places, and their residuals."""
        top = torch.arange(self.done - 1, self.done - 1 - self.largest, -1)
        places = torch.cat([top, torch.arange(self.smallest)])
        outside = self.projected[self.done : self.known, : self.done] @ self.rotation[:, places]
        return self.values[places], places, outside.norm(dim=0)

    def pairs(self, tol: float, products: int, off: float = 0.0) -> Eigenpairs:
        """What was found; `off` is how far the images of the vectors may be off, and a part of every residual."""
        values, places, residuals = self.picked()
        vectors, residuals, k = self._rotate(self.rotation[:, places]), residuals + off, self.largest
        return Eigenpairs(
            values[:k], residuals[:k], vectors[:k], values[k:], residuals[k:], vectors[k:],
            products, bool((residuals <= tol * self.scale).all()),
        )  # fmt: skip

    def compared(self, product: Product, dtype: torch.dtype) -> tuple[float, int]:
        """How far the images of the wanted Ritz vectors are from those by another product, and how many that took.

        For three vectors or fewer the root of the sum of their squared deviations. For more that sum is estimated: the
        mean over mixtures with Gaussian weights g of ‖Σ gᵢ eᵢ‖², from three of them, times 9. Even where all deviations
        are parallel, which spreads it most (χ² with three degrees of freedom), 19 of 20 estimates are no less.
        """
        values, places, _ = self.picked()
        outside = self.projected[self.done : self.known, : self.done] @ self.rotation[:, places]
        vectors, pending = self._rotate(self.rotation[:, places]), self.basis[self.done : self.known]
        if self.wanted <= CHECKS:
            weights, scale = torch.eye(self.wanted, dtype=torch.float64), 1.0
        else:
            weights = torch.randn(CHECKS, self.wanted, generator=self.generator, dtype=torch.float64)
            scale = 9.0 / CHECKS
        images = product((weights.to(vectors) @ vectors).to(dtype)).double()
        known = (weights * values).to(vectors) @ vectors + (weights @ outside.T).to(vectors) @ pending
        deviations = images - known.double()
        return math.sqrt(scale * float(deviations.square().sum())), len(weights)

    def onward(self, off: float, dtype: torch.dtype) -> Tensor:
        """Rows from which to search on with better products, those of this search having been `off` by so much.

        All wanted Ritz vectors and those whose values come as near to the last wanted one as twice `off`, which may
        have changed places with it: one step with each is mostly enough. Where these are more than a quarter more than
        wanted, the block would be slow to grow, and a basis with it in `dtype` may take more than `BASIS_BYTES`: then
        one mixture of the wanted vectors.
        """
        values, places, _ = self.picked()
        near = torch.zeros(self.done, dtype=torch.bool)
        if self.largest:
            near |= self.values >= values[self.largest - 1] - 2 * off
        if self.smallest:
            near |= self.values <= values[-1] + 2 * off
        count = int(near.sum())
        fits = _least(self.wanted, count) + 2 * count <= _room(self.size, dtype)
        if count <= 1.25 * self.wanted and fits:
            return self._rotate(self.rotation[:, near])
        return _mixed(self._rotate(self.rotation[:, places]), self.generator)

    def _rotate(self, rotation: Tensor) -> Tensor:
        return rotation.T.to(self.basis) @ self.basis[: self.done]

    def _advance(self, count: int) -> None:
        """The images of the next `count` pending rows; what of them is new becomes pending."""
        images = self.product(self.basis[self.done : self.done + count]).to(self.basis)
        self.products += count
        self.steps += 1
        for row, coefficients in enumerate(self._append(images, self.coupled), start=self.done):
            self.projected[row, : len(coefficients)] = self.projected[: len(coefficients), row] = coefficients
        self.coupled = self.done
        self.done += count

    def _append(self, rows: Tensor, coupled: int = 0) -> list[Tensor]:
        """Append what is new in the rows to the basis, orthonormal; each row's coefficients on the basis."""
        coefficients = []
        old = self.known
        overlaps, rest = self._purge(rows, coupled, old)  # all rows at once, the basis is read less often
        for row, overlap in zip(rest, overlaps, strict=True):
            own = overlap
            if self.known > old:
                among, row = self._purge(row[None], old, self.known, old)
                own, row = torch.cat([overlap, among[0]]), row[0]
            length = float(row.norm())
            if not math.isfinite(length):
                raise ValueError("the product with a vector is not finite: is the loss NaN or infinite at this point?")
            if length > self.negligible * max(self.scale, float(own.norm())) and self.known < self.size:
                new = row / length
                if length < 0.1 * float(own.norm()):  # little is left: the rounding of the rest may show
                    _, cleaner = self._purge(new[None], 0, self.known)
                    new = cleaner[0] / cleaner.norm()
                self.basis[self.known] = new
                self.known += 1
                own = torch.cat([own, torch.tensor([length], dtype=torch.float64)])
            coefficients.append(own)
        return coefficients

    def _purge(self, rows: Tensor, coupled: int, stop: int, start: int = 0) -> tuple[Tensor, Tensor]:
        """Overlaps of rows with basis[start:stop], and the rows without them: Gram-Schmidt, twice.

        Before `coupled` the overlaps are rounding only, for which once is enough.
        """
        near, basis = self.basis[max(coupled, start) : stop], self.basis[start:stop]
        first = rows @ near.T
        rows = torch.addmm(rows, first, near, alpha=-1)
        overlaps = rows @ basis.T
        rows = torch.addmm(rows, overlaps, basis, alpha=-1)
        overlaps[:, len(basis) - len(near) :] += first
        return overlaps.double().cpu(), rows

    def _add_random(self, count: int) -> None:
        count = min(count, self.size - self.known)
        self._append(torch.randn(count, self.size, generator=self.generator, dtype=torch.float64).to(self.basis))

    def _doubt(self, tol: float) -> float | None:
        """None where no eigenvalue, away from the last one wanted, can have more copies than the block has vectors.

        Copies differ by at most 2 r² / gap as Ritz values, gap being the distance to the others. Where as many values
        as the block has vectors are that close, the answer is r² / gap: with more steps it shrinks, and they may part.
        """
        values, places, residuals = self.picked()
        padded = torch.nn.functional.pad(self.values, (1, 1), value=torch.inf)
        padded[0] = -torch.inf
        for start, stop in ((0, self.largest), (self.largest, self.wanted)):
            for first in range(start, stop - self.block + 1):
                some = slice(first, first + self.block)
                if float((values[some][-1] - values[stop - 1]).abs()) <= tol * self.scale:
                    break
                low, high = int(places[some].min()), int(places[some].max())
                below, least, most, above = padded[[low, low + 1, high + 1, high + 2]].tolist()
                error, gap = float(residuals[some].norm()), min(least - below, above - most)
                bound = error * min(1.0, error / gap) if gap > 0 else error
                if most - least <= max(2 * bound, 10 * self.negligible * self.scale):
                    return bound
        return None

    def _widen(self) -> None:
        self.block += 1
        self.basis = torch.cat([self.basis, torch.empty_like(self.basis[:2])])
        self.projected = torch.nn.functional.pad(self.projected, (0, 2, 0, 2))
        self._add_random(1)

    def _restart(self) -> None:
        """Keep the Ritz vectors at the wanted ends, some more than wanted, and all that is pending."""
        bottom = self.smallest + self.spare if self.smallest else 0
        top = self.largest + self.spare if self.largest else 0
        places = torch.cat([torch.arange(bottom), torch.arange(self.done - top, self.done)])
        kept, pending = len(places), self.known - self.done
        outside = self.projected[self.done : self.known, : self.done] @ self.rotation[:, places]
        ritz, rows = self._rotate(self.rotation[:, places]), self.basis[self.done : self.known].clone()
        self.basis[:kept], self.basis[kept : kept + pending] = ritz, rows
        self.projected.zero_()
        self.projected[:kept, :kept] = torch.diag(self.values[places])
        self.projected[kept : kept + pending, :kept] = outside
        self.projected[:kept, kept : kept + pending] = outside.T
        self.done, self.known, self.coupled = kept, kept + pending, 0
