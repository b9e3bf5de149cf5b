"""Traces of symmetric matrices that are known only by their products with vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossatlas.hardware import TRACE_VECTOR_BYTES
from lossatlas.numerics.lanczos import Product
from lossatlas.numerics.vectors import inner
from lossatlas.work import Stopped, cut_short, over

# Of a standard error: samples of a rough product are taken as they are if one of them is off by no more. Set by hand:
# with more the rounding of the products shows in the estimate; with less exact ones are taken more often.
ROUGH_DEVIATION = 0.25


def trace(
    product: Product,
    size: int,
    *,
    samples: int,
    generator: torch.Generator,
    deflate: Tensor | None = None,
    deflated_trace: float | None = None,
    rough: Product | None = None,
) -> tuple[float, float]:
    """Hutchinson's estimate of the trace with Rademacher vectors, and its standard error.

    Unbiased, whatever the span of `deflate`, as long as it does not depend on the samples.

    Args:
        product: rows `(n, P)` -> rows `(n, P)`, their products with a symmetric matrix.
        size: P, rows and columns of the matrix.
        samples: Rademacher vectors, 2 at least; as many products.
        generator: of the samples, on the CPU.
        deflate: orthonormal rows `(k, P)`. The trace on their span is computed exactly (k products) and only the rest
            is sampled, so the error comes from the rest of the spectrum alone (the idea of Hutch++, Meyer et al. 2021).
        deflated_trace: the trace on that span where it is known: for Ritz vectors the sum of their values. It saves
            the k products.
        rough: the same product with less precision, and cheaper. The samples are taken with it, one of them again
            with `product`. Where the two differ by more than a quarter of the standard error, all are taken again
            with `product`.

    Where the call is to end there are fewer samples, and with fewer than 2 the estimate is NaN.

    Raises:
        ValueError: fewer than 2 samples.

    >>> trace(lambda rows: 3 * rows, 5, samples=2, generator=torch.Generator().manual_seed(0))
    (15.0, 0.0)
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}: wanted at least 2, for a standard error")
    exact = 0.0
    if deflate is not None:
        exact = _trace_on_span(product, deflate) if deflated_trace is None else deflated_trace
    state = generator.get_state()
    values = _hutchinson_samples(product if rough is None else rough, samples, size, generator, span=deflate)
    if len(values) < 2:  # the call is to end: no standard error, and so no estimate
        return math.nan, math.nan
    if rough is not None and not over():
        again = torch.Generator().set_state(state)  # the same samples: they are not kept, a large one takes much memory
        check = _hutchinson_samples(product, 1, size, again, span=deflate)
        deviation = float((check - values[:1]).abs())
        if not deviation <= ROUGH_DEVIATION * float(values.std()) / samples**0.5:
            values = _hutchinson_samples(product, samples, size, again.set_state(state), span=deflate)
    return exact + float(values.mean()), float(values.std() / len(values) ** 0.5)


def _trace_on_span(product: Product, span: Tensor) -> float:
    return float((product(span).double() * span).sum())


def _hutchinson_samples(
    product: Product, count: int, size: int, generator: torch.Generator, *, span: Tensor | None
) -> Tensor:
    """vᵀAv of `count` Rademacher vectors without their part in the span, `(count,)` in float64 on the CPU.

    Of fewer where the call is to end.
    """
    together = max(1, TRACE_VECTOR_BYTES // (torch.float64.itemsize * size))
    values = []
    for start in range(0, count, together):
        rows = _rademacher(min(together, count - start), size, generator, span=span)
        try:
            images = product(rows)
        except Stopped:
            cut_short()
            break
        values += [inner(image, row) for image, row in zip(images, rows, strict=True)]
    return torch.stack(values).cpu() if values else torch.empty(0, dtype=torch.float64)


def _rademacher(count: int, size: int, generator: torch.Generator, *, span: Tensor | None) -> Tensor:
    """Rademacher vectors, without their part in the span; in the precision of the span, float64 where there is none."""
    signs = torch.randint(0, 2, (count, size), generator=generator, dtype=torch.int8)
    if span is None:
        return signs.double().mul_(2).sub_(1)
    signs = signs.to(span).mul_(2).sub_(1)
    return signs.addmm_(signs @ span.T, span, alpha=-1)
