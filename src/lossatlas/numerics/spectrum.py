"""Both ends of a symmetric matrix's spectrum, and its trace, from products with vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.numerics.lanczos import Product, extremal_eigenpairs
from lossatlas.numerics.trace import trace


@dataclass(frozen=True)
class Ends:
    """What is known of a matrix of size P, in float64 on the CPU, with its errors and its cost."""

    largest: Tensor  # (k,), descending, algebraic; NaN beyond P
    residuals: Tensor  # (k,), ‖Hv − λv‖
    smallest: float
    smallest_residual: float
    trace: float
    trace_error: float  # standard error; 0 where the trace is exact
    products: int  # those of lower precision included
    rough_products: int
    converged: bool


def search_ends(
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
) -> Ends:
    """By block Lanczos (`krylov.extremal_eigenpairs`) and Hutchinson's trace on what is left of the eigenvectors.

    `rough` is the product with less precision for the search, `coarse` with still less for the samples of the trace,
    whose own error is far larger.
    """
    exact, lower = _Counted(product), None if rough is None else _Counted(rough)
    pairs = extremal_eigenpairs(
        exact, size, largest=k, smallest=1, generator=generator, tol=tol, max_products=max_products, rough=lower,
        device=device, dtype=dtype,
    )  # fmt: skip
    lowest = lower if coarse is None else _Counted(coarse)
    value, error = trace(
        exact, size, samples=samples, generator=generator, rough=lowest,
        deflate=torch.cat([pairs.largest_vectors, pairs.smallest_vectors]),
        deflated=float(pairs.largest.sum() + pairs.smallest.sum()),
    )  # fmt: skip
    spent = sum(counted.rows for counted in {lower, lowest} if counted is not None)
    return Ends(
        pairs.largest, pairs.largest_residuals, float(pairs.smallest[0]), float(pairs.smallest_residuals[0]),
        value, error, exact.rows + spent, spent, pairs.converged,
    )  # fmt: skip


def dense_ends(product: Product, size: int, *, k: int, device: torch.device | str = "cpu") -> Ends:
    """From the whole matrix, by `size` products: for small ones. The k largest are NaN beyond what there is.

    Raises ValueError where a product is not finite.

    >>> found = dense_ends(lambda rows: rows * torch.tensor([2.0, -1.0]), 2, k=3)
    >>> found.largest.tolist(), found.smallest, found.trace
    ([2.0, -1.0, nan], -1.0, 1.0)
    """
    matrix = product(torch.eye(size, dtype=torch.float64, device=device)).double().cpu()  # (P, P)
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("the product with a vector is not finite: is the loss NaN or infinite at this point?")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    residuals = (matrix @ vectors - values * vectors).norm(dim=0)
    missing = max(k - size, 0)
    largest, beside = (
        torch.nn.functional.pad(of.flip(0)[:k], (0, missing), value=torch.nan) for of in (values, residuals)
    )
    return Ends(
        largest, beside, float(values[0]), float(residuals[0]), float(matrix.trace()), 0.0, size, 0, True
    )  # fmt: skip


class _Counted:
    """A product that counts the rows it has multiplied."""

    def __init__(self, product: Product) -> None:
        self.rows = 0
        self._product = product

    def __call__(self, vectors: Tensor) -> Tensor:
        self.rows += len(vectors)
        return self._product(vectors)
