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
    at_last_start: Tensor | None = None

    while True:
        fresh = False
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
        settled = built >= wanted and bool((residuals[picked] <= tol / 2 * scale).all())
        if settled and built < size:
            # One Krylov space holds one copy of each eigenvalue: trust the pairs only when another one, from a fresh
            # random vector in what is left, has converged at the same ends without anything new.
            now = values[picked]
            if at_last_start is None or bool(((now - at_last_start).abs() > tol * scale).any()):
                settled, at_last_start, fresh = False, now, True
            else:
                beyond = ([built - 1 - largest] if largest else []) + ([smallest] if smallest else [])
                settled = built > wanted and bool((residuals[beyond] <= tol * scale).all())
        if settled or products >= max_products:
            break
        if fresh:  # lock: what is dropped here is at most half of tol, and measured at the end
            basis[:wanted] = vectors[:, picked].T.to(basis.device) @ basis[:built]
            projected.zero_()
            projected[:wanted, :wanted] = torch.diag(values[picked])
            built = wanted
        elif built == limit:  # thick restart: keep the Ritz vectors at both ends
            keep_top, keep_bottom = largest + 10, (smallest + 10 if smallest else 0)
            kept = torch.cat([torch.arange(keep_bottom), torch.arange(built - keep_top, built)])
            ritz = vectors[:, kept].T.to(basis.device) @ basis[:built]
            basis[: len(kept)] = ritz
            projected.zero_()
            projected[: len(kept), : len(kept)] = torch.diag(values[kept])
            built = len(kept)
        basis[built] = _fresh(basis[:built], size, generator, device) if breakdown or fresh else image / coupling

    found = vectors[:, picked].T.to(basis.device) @ basis[:built]
    residuals = residuals[picked]
    if at_last_start is not None and built < size:
        residuals = (product(found).double() - values[picked, None].to(found) * found).norm(dim=-1).cpu()
        products += len(found)
    k = len(top)
    return Eigenpairs(
        largest=values[top],
        largest_residuals=residuals[:k],
        largest_vectors=found[:k],
        smallest=values[bottom],
        smallest_residuals=residuals[k:],
        products=products,
        converged=settled and bool((residuals <= tol * scale).all()),
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
