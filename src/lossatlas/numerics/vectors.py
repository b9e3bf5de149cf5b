"""Inner products of large vectors, summed in float64."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 2**22  # entries that are in float64 at once, 32 MiB


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩ of two vectors `(P,)`, a float64 scalar: no copy of the whole is made.

    >>> inner(torch.full((3,), 0.5), torch.ones(3)).item()
    1.5
    """
    pieces = zip(a.split(PIECE), b.split(PIECE), strict=True)
    return torch.stack([(one.double() * two).sum() for one, two in pieces]).sum()
