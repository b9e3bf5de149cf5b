"""Traces of symmetric matrices that are known only by their products with vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from lossatlas.numerics.lanczos import Product
from lossatlas.numerics.vectors import inner

TOGETHER = 2**23  # entries of the vectors that are multiplied together, 64 MiB in float64


@dataclass(frozen=True)
class Trace:
    """An estimate with its standard error, the number of products it took, and whether it is as good as asked."""

    value: float
    error: float
    products: int
    converged: bool


def trace(
    product: Product,
    size: int,
    *,
    samples: int,
    generator: torch.Generator,
    deflate: Tensor | None = None,
    deflated: float | None = None,
    rough: Product | None = None,
) -> tuple[float, float]:
    """Hutchinson's estimate of the trace with Rademacher vectors, and its standard error.

    `deflate` `(k, P)`, orthonormal: the trace on their span is computed exactly (k products) and only the rest is
    sampled, so the error comes from the rest of the spectrum alone (the idea of Hutch++, Meyer et al. 2021).
    Unbiased for any such span that does not depend on the samples. `deflated` is that part where it is known: for
    Ritz vectors the sum of their values; it saves the k products.

    `rough` is the same product with less precision, and cheaper: the samples are taken with it, one of them again with
    `product`. Where the two differ by more than a quarter of the standard error, all are taken again with `product`.
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    exact = 0.0
    if deflate is not None:
        exact = _on_span(product, deflate) if deflated is None else deflated
    state = generator.get_state()
    draws = _draws(product if rough is None else rough, samples, size, generator, deflate)
    if rough is not None:
        again = torch.Generator().set_state(state)  # the same samples: they are not kept, a large one takes much memory
        off = float((_draws(product, 1, size, again, deflate) - draws[:1]).abs())
        if not off <= 0.25 * float(draws.std()) / samples**0.5:
            draws = _draws(product, samples, size, again.set_state(state), deflate)
    return exact + float(draws.mean()), float(draws.std() / samples**0.5)


def hutch_pp(
    product: Product,
    size: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.01,
    confidence: float = 0.95,
    sketch: int = 10,
    batch: int = 10,
    max_products: int = 1000,
    deflate: Tensor | None = None,
) -> Trace:
    """The trace to a relative tolerance, by Hutch++ (Meyer, Musco, Musco and Woodruff 2021).

    The range of A on `sketch` random vectors, with the rows of `deflate` `(k, P)` if any, is taken exactly, and the
    rest sampled by Hutchinson in batches until the half-width t · s / √m of the interval of that `confidence`, with
    Student's t, is at most `rtol` · |trace|. `error` is s / √m. Costs 2 · `sketch` + k + m products; `sketch=0` is
    plain Hutchinson with the same rule. No fewer than 10 samples are taken, since looking at the interval after every
    batch, to stop at the first that is narrow, makes it cover less often than it says.
    """
    if batch < 2:
        raise ValueError(f"batch is {batch}: wanted at least 2, for a standard error")
    known = 0 if deflate is None else len(deflate)
    span, products = deflate, 0
    if sketch:
        signs = _signs(min(sketch, size - known), size, generator, deflate)
        found = product(signs).double()
        span = _orthonormal(found if deflate is None else torch.cat([deflate, found]))
        products += len(signs)
    exact = 0.0
    if span is not None:
        exact = _on_span(product, span)
        products += len(span)
    draws = torch.zeros(0, dtype=torch.float64)
    while True:
        draws = torch.cat([draws, _draws(product, batch, size, generator, span)])
        products += batch
        value, error = exact + float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
        factor = float(student.ppf((1 + confidence) / 2, len(draws) - 1))
        converged = len(draws) >= 10 and factor * error <= rtol * abs(value)
        if converged or products + batch > max_products or math.isnan(value):
            return Trace(value, error, products, converged)


def _on_span(product: Product, span: Tensor) -> float:
    return float((product(span).double() * span).sum())


def _draws(product: Product, count: int, size: int, generator: torch.Generator, span: Tensor | None) -> Tensor:
    """vAvᵀ of `count` Rademacher vectors without their part in the span, `(count,)` in float64 on the CPU."""
    at_once = max(1, TOGETHER // size)
    forms = []
    for start in range(0, count, at_once):
        rows = _signs(min(at_once, count - start), size, generator, span)
        images = product(rows)
        forms += [inner(image, row) for image, row in zip(images, rows, strict=True)]
    return torch.stack(forms).cpu()


def _signs(count: int, size: int, generator: torch.Generator, span: Tensor | None) -> Tensor:
    """Rademacher vectors, without their part in the span; in the precision of the span, float64 where there is none."""
    signs = torch.randint(0, 2, (count, size), generator=generator, dtype=torch.int8)
    if span is None:
        return signs.double().mul_(2).sub_(1)
    signs = signs.to(span).mul_(2).sub_(1)
    return signs.addmm_(signs @ span.T, span, alpha=-1)


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the rows' span, directions below rounding left out."""
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[values > 1e-12 * values.max()]
