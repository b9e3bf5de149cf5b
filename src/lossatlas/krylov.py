"""Eigenvalues and traces of symmetric matrices that are known only by their products with vectors.

A product maps rows to rows, `(k, P)` -> `(k, P)` in float64: V -> V A for a symmetric A. Nothing here knows of
networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Eigenpairs:
    """Both ends of a spectrum, each eigenvalue with the norm of its residual ‖Av − λv‖."""

    largest: Tensor  # (k,), descending, algebraic: not by magnitude
    largest_residuals: Tensor  # (k,)
    largest_vectors: Tensor  # (k, P), orthonormal
    smallest: Tensor  # (s,), ascending
    smallest_residuals: Tensor  # (s,)
    products: int
    converged: bool  # every residual is below tol · max|λ|


def extremal_eigenpairs(
    product: Product,
    size: int,
    *,
    largest: int,
    smallest: int = 0,
    generator: torch.Generator,
    tol: float = 1e-4,
    max_products: int = 400,
    device: torch.device | str = "cpu",
) -> Eigenpairs:
    """The `largest` largest and `smallest` smallest eigenvalues by thick-restart Lanczos (Wu and Simon 2000).

    Every new vector is orthogonalised twice against the whole basis ("twice is enough", Parlett 1998), so there
    are no ghost eigenvalues; an invariant subspace is left through a fresh random vector, so equal eigenvalues
    are found as often as they occur. One product per step; the basis holds at most 2 (k + s) + 40 vectors.

    Raises:
        ValueError: more eigenvalues wanted than there are, or a product with NaN.
    """
    wanted = largest + smallest
    if not 0 < wanted <= size:
        raise ValueError(f"wanted {largest} + {smallest} eigenvalues of a matrix of size {size}")
    limit = min(size, 2 * wanted + 40)
    basis = torch.zeros(limit + 1, size, dtype=torch.float64, device=device)
    projected = torch.zeros(limit, limit, dtype=torch.float64)  # T = V A Vᵀ
    basis[0] = _fresh(basis[:0], size, generator, device)
    built, products = 0, 0
    at_last_breakdown: Tensor | None = None

    while True:
        image = product(basis[built : built + 1])[0].double()
        products += 1
        if not torch.isfinite(image).all():
            raise ValueError("the product with a vector is not finite: is the loss NaN or infinite at this point?")
        known = basis[: built + 1]
        overlap = known @ image
        image = image - overlap @ known
        again = known @ image
        image = image - again @ known
        overlap = (overlap + again).cpu()
        projected[built, : built + 1] = overlap
        projected[: built + 1, built] = overlap
        coupling = float(image.norm())
        built += 1

        values, vectors = torch.linalg.eigh(projected[:built, :built])
        scale = float(values.abs().max())
        breakdown = built == size or coupling <= 1e-13 * scale or scale == 0
        if breakdown:
            coupling = 0.0
        residuals = coupling * vectors[-1].abs()
        top = torch.arange(built - 1, max(built - 1 - largest, -1), -1)
        bottom = torch.arange(min(smallest, built))
        picked = torch.cat([top, bottom])
        converged = built >= wanted and bool((residuals[picked] <= tol * scale).all())
        if breakdown and built < size:
            # A zero residual says nothing of copies of an eigenvalue outside the invariant subspace:
            # trust it only when one more random vector has brought nothing new.
            now = values[picked]
            converged = (
                converged
                and at_last_breakdown is not None
                and len(now) == len(at_last_breakdown)
                and bool(((now - at_last_breakdown).abs() <= tol * scale).all())
            )
            at_last_breakdown = now
        if converged or products >= max_products:
            break
        if built == limit:  # thick restart: keep the Ritz vectors at both ends
            keep_top, keep_bottom = largest + 10, (smallest + 10 if smallest else 0)
            kept = torch.cat([torch.arange(keep_bottom), torch.arange(built - keep_top, built)])
            ritz = vectors[:, kept].T.to(basis.device) @ basis[:built]
            basis[: len(kept)] = ritz
            projected.zero_()
            projected[: len(kept), : len(kept)] = torch.diag(values[kept])
            built = len(kept)
        basis[built] = _fresh(basis[:built], size, generator, device) if breakdown else image / coupling

    return Eigenpairs(
        largest=values[top],
        largest_residuals=residuals[top],
        largest_vectors=vectors[:, top].T.to(basis.device) @ basis[:built],
        smallest=values[bottom],
        smallest_residuals=residuals[bottom],
        products=products,
        converged=converged,
    )


def trace(
    product: Product,
    size: int,
    *,
    samples: int,
    generator: torch.Generator,
    deflate: Tensor | None = None,
) -> tuple[float, float]:
    """Hutchinson's estimate of the trace with Rademacher vectors, and its standard error.

    `deflate` `(k, P)`, orthonormal: the trace on their span is computed exactly (k products) and only the rest is
    sampled, so the error comes from the rest of the spectrum alone (the idea of Hutch++, Meyer et al. 2021).
    Unbiased for any such span that does not depend on the samples.
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    signs = torch.randint(0, 2, (samples, size), generator=generator).double() * 2 - 1
    exact = 0.0
    if deflate is not None:
        signs = signs.to(deflate.device)
        signs = signs - (signs @ deflate.T) @ deflate
        exact = float((product(deflate).double() * deflate).sum())
    draws = (product(signs).double() * signs).sum(-1)  # (samples,)
    return exact + float(draws.mean()), float(draws.std() / samples**0.5)


def _fresh(basis: Tensor, size: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """A random unit vector orthogonal to the rows of `basis`."""
    vector = torch.randn(size, generator=generator, dtype=torch.float64).to(device)
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector / vector.norm()
