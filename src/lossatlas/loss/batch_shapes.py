"""Batches of unlike shapes: what counts within a batch need not be what counts between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from lossatlas.loss.averaging import ELEMENTS, EXAMPLES, SUM, Count
from lossatlas.loss.batches import Batch, Batches, describe, join, tensors_of
from lossatlas.loss.counting import joined
from lossatlas.loss.criteria import Criterion, Measure
from lossatlas.loss.functional_module import FunctionalModule

LOOKED_THROUGH = 200  # batches whose shapes are compared


@torch.no_grad()
def settled_between(functional: FunctionalModule, data: Batches, measure: Measure, count: Count) -> Count:
    """The count of the loss, where batches of other shapes agree with it; said where they do not.

    Costs nothing where all batches have one shape, and three passes of a batch at most elsewhere.

    Args:
        functional: the loss's own copy of the module.
        data: every batch.
        measure: the criterion and the metrics.
        count: what the pieces of a batch agree with.
    """
    if count is SUM:
        return count
    other = _of_other_shape(data)
    if other is None:
        return count
    pair = [data[0], data[other]]
    rows = [data.rows[0], data.rows[other]]
    outcomes = [functional.call(batch) for batch in pair]
    targets = [target for _, target in outcomes]
    if count is EXAMPLES and all(isinstance(target, Tensor) and target.ndim for target in targets):
        sizes = [target.numel() for target in targets]
        if sizes[0] * rows[1] != sizes[1] * rows[0]:  # an example of one has more elements than one of the other
            if _is_mean_over_elements(measure.criterion):
                return ELEMENTS
            _warn(pair, "their examples and their elements weigh them differently, and both agree with parts of one")
            return count
    together = join(pair, rows)
    if together is None:
        return count
    try:
        whole = measure(*functional.call(together))[0]
    except Exception:  # a module that does not take two batches as one
        return count
    values = [measure(*outcome)[0] for outcome in outcomes]
    weights = [count.of(*one) for one in zip(pair, targets, rows, strict=True)]
    if not sum(weights) or not bool(torch.isfinite(whole)):
        return count
    off = (joined(values, weights, added=False) - whole).abs()
    if off > torch.finfo(functional.coarsest).eps ** 0.6 * max(abs(float(value)) for value in (*values, whole)):
        _warn(pair, f"two of them as one batch do not have the mean of their losses, by {count.name}")
    return count


def _of_other_shape(data: Batches) -> int | None:
    """The first batch that is not the first one with more or fewer examples of the same shapes."""
    first = _shapes(data[0], data.rows[0])
    for index in range(1, min(len(data), LOOKED_THROUGH)):
        if _shapes(data[index], data.rows[index]) != first:
            return index
    return None


def _shapes(batch: Batch, rows: int) -> list[tuple[Any, ...]]:
    """Of every tensor for one example: its first dimension over `rows`, then the others."""
    return [(Fraction(len(tensor), rows), *tensor.shape[1:]) if tensor.ndim else () for tensor in tensors_of(batch)]


def _is_mean_over_elements(criterion: Criterion) -> bool:
    """Whether it is one of torch's own losses with reduction="mean", which are means over elements of the target."""
    own = type(criterion).__module__ == "torch.nn.modules.loss" and getattr(criterion, "reduction", "") == "mean"
    return own or getattr(criterion, "__module__", "") == "torch.nn.functional"


def _warn(pair: Sequence[Batch], why: str) -> None:
    warnings.warn(
        f"the batches have unlike shapes, {describe(pair[0])} and {describe(pair[1])}: {why}; what is given is "
        "a weighted mean over your batches; say what a batch counts by weigh_by=, or give the data as one batch",
        stacklevel=6,
    )
