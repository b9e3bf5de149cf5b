"""The eigenvalues at both ends of a symmetric matrix's spectrum, and its trace, from products with vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.numerics.krylov_basis import NOT_FINITE
from lossatlas.numerics.lanczos import Product, extremal_eigenpairs
from lossatlas.numerics.trace import trace


@dataclass(frozen=True)
class ExtremalSpectrum:
    """What is known of a matrix of size P, in float64 on the CPU, with its errors and its cost."""

    largest: Tensor  # (k,), descending, algebraic; NaN beyond P
    residuals: Tensor  # (k,), ‖Av − λv‖
    smallest: float
    smallest_residual: float
    trace: float
    trace_error: float  # standard error; 0 where the trace is exact
    products: int  # rows multiplied, those of lower precision included
    rough_products: int  # of these, rows of lower precision
    converged: bool  # every residual is at most the tolerance
    vectors: Tensor  # (k + 1, P), of the largest and then of the smallest, in their precision


def extremal_spectrum(
    product: Product,
    size: int,
    *,
    k: int,
    samples: int,
    generator: torch.Generator,
    tol: float,
    max_products: int,
    rough: Product | None = None,
    coarse: Product | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    initial: Tensor | None = None,
) -> ExtremalSpectrum:
    """By block Lanczos (`lanczos.extremal_eigenpairs`), and Hutchinson's trace on what is left of the eigenvectors.

    Args:
        product: rows `(n, P)` -> rows `(n, P)`, their products with a symmetric matrix.
        size: P, rows and columns of the matrix.
        k: how many eigenvalues at the upper end; at the lower end it is one.
        samples: Rademacher vectors of the trace, 2 at least.
        generator: of the start and of the samples, on the CPU.
        tol: of the residuals, relative to the largest |λ|.
        max_products: rows that the search for eigenvalues multiplies at most.
        rough: the product with less precision, for the search.
        coarse: the product with still less, for the samples of the trace, whose own error is far larger.
        device: of the vectors.
        dtype: of the vectors.
        initial: rows `(m, P)` near the wanted eigenvectors, to begin with; None: random ones.

    Raises:
        ValueError: more eigenvalues wanted than there are or `max_products` can find, fewer than 2 samples, or a
            product that is not finite.
    """
    exact, lower = _CountedProduct(product), None if rough is None else _CountedProduct(rough)
    pairs = extremal_eigenpairs(
        exact, size, largest=k, smallest=1, generator=generator, tol=tol, max_products=max_products, rough=lower,
        device=device, dtype=dtype, initial=initial,
    )  # fmt: skip
    lowest = lower if coarse is None else _CountedProduct(coarse)
    vectors = torch.cat([pairs.largest_vectors, pairs.smallest_vectors])
    value, error = trace(
        exact, size, samples=samples, generator=generator, rough=lowest, deflate=vectors,
        deflated_trace=float(pairs.largest.sum() + pairs.smallest.sum()),
    )  # fmt: skip
    rough_products = sum(counted.rows for counted in {lower, lowest} if counted is not None)
    return ExtremalSpectrum(
        largest=pairs.largest,
        residuals=pairs.largest_residuals,
        smallest=float(pairs.smallest[0]),
        smallest_residual=float(pairs.smallest_residuals[0]),
        trace=value,
        trace_error=error,
        products=exact.rows + rough_products,
        rough_products=rough_products,
        converged=pairs.converged,
        vectors=vectors,
    )


def dense_spectrum(product: Product, size: int, *, k: int, device: torch.device | str = "cpu") -> ExtremalSpectrum:
    """From the whole matrix, by `size` products: for small ones.

    Args:
        product: rows `(n, P)` -> rows `(n, P)`, their products with a symmetric matrix.
        size: P, rows and columns of the matrix.
        k: how many eigenvalues at the upper end; they are NaN beyond P.
        device: of the rows that are multiplied.

    Raises:
        ValueError: a product that is not finite.

    >>> spectrum = dense_spectrum(lambda rows: rows * torch.tensor([2.0, -1.0]), 2, k=3)
    >>> spectrum.largest.tolist(), spectrum.smallest, spectrum.trace
    ([2.0, -1.0, nan], -1.0, 1.0)
    """
    matrix = product(torch.eye(size, dtype=torch.float64, device=device)).double().cpu()  # (P, P)
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(NOT_FINITE)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    residuals = (matrix @ vectors - values * vectors).norm(dim=0)
    return ExtremalSpectrum(
        largest=_first_padded(values.flip(0), k),
        residuals=_first_padded(residuals.flip(0), k),
        smallest=float(values[0]),
        smallest_residual=float(residuals[0]),
        trace=float(matrix.trace()),
        trace_error=0.0,
        products=size,
        rough_products=0,
        converged=True,
        vectors=torch.cat([vectors.T.flip(0)[:k], vectors.T[:1]]),
    )


def _first_padded(values: Tensor, k: int) -> Tensor:
    """The first k of them, `(k,)`, NaN beyond what there is."""
    return torch.nn.functional.pad(values[:k], (0, max(k - len(values), 0)), value=torch.nan)


class _CountedProduct:
    """A product that counts the rows it has multiplied."""

    def __init__(self, product: Product) -> None:
        self.rows = 0
        self._product = product

    def __call__(self, vectors: Tensor) -> Tensor:
        self.rows += len(vectors)
        return self._product(vectors)
