"""Inner products of large vectors, summed in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas.hardware import INNER_PRODUCT_BYTES


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩, a float64 scalar, without a copy of a whole vector in float64.

    Args:
        a: vector `(P,)` of any floating type.
        b: vector `(P,)` of any floating type, on the same device.

    >>> inner(torch.full((3,), 0.5), torch.ones(3)).item()
    1.5
    """
    entries = INNER_PRODUCT_BYTES // torch.float64.itemsize
    chunks = zip(a.split(entries), b.split(entries), strict=True)
    return torch.stack([(one.double() * two).sum() for one, two in chunks]).sum()
