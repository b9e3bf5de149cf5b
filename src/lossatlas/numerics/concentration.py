"""How much of a sum its largest terms hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Concentration:
    """Of the terms of a sum, largest first.

    Args:
        shares: `(k,)`, what the one, two, ... largest terms hold of the sum; of fewer than k terms all hold all.
        errors: `(k,)`, the standard error of each share; 0 where the terms are exact.
        effective: (Σ t)² / Σ t², the number of equal terms that would be as concentrated: 1 where one term holds all,
            n where all are alike.
        order: `(k,)` of int, which terms are the largest; −1 beyond the number of terms.
    """

    shares: Tensor
    errors: Tensor
    effective: float
    order: Tensor


def concentration(terms: Tensor, count: int) -> Concentration:
    """How concentrated a sum is, of terms that are known exactly, or of which there are independent estimates.

    Of estimates, one half says which terms are the largest and the other how large these are, and the other way round:
    otherwise the largest would be those that chance made large. Such terms may not be quite the largest, so that shares
    are a little low.

    Args:
        terms: `(m, n)`, estimates of each of n terms, m of 4 at least; m = 1: exact ones.
        count: k, of largest terms.

    All is NaN, and the order −1, where a term is negative or not finite, or their sum is 0: it has no shares.

    >>> found = concentration(torch.tensor([[1.0, 6.0, 0.0, 3.0]]), 2)
    >>> found.shares.tolist(), round(found.effective, 3), found.order.tolist()
    ([0.6, 0.9], 2.174, [1, 3])
    """
    terms = terms.double()
    halves = (terms, terms) if len(terms) == 1 else terms.tensor_split(2)
    first, second = (half.mean(0) for half in halves)
    both = (first + second) / 2
    shares, errors = torch.full((2, count), torch.nan, dtype=torch.float64)
    order = torch.full((count,), -1)
    if not bool(((both >= 0) & torch.isfinite(both)).all()) or not float(both.sum()) > 0:
        return Concentration(shares, errors, torch.nan, order)
    there = min(count, len(both))
    order[:there] = both.topk(there).indices
    held = [_held(first.topk(there).indices, halves[1]), _held(second.topk(there).indices, halves[0])]
    shares[:there] = (held[0][0] + held[1][0]) / 2
    errors[:there] = (held[0][1] ** 2 + held[1][1] ** 2).sqrt() / 2
    shares[there:], errors[there:] = shares[there - 1], errors[there - 1]
    return Concentration(shares, errors, float(first.sum() * second.sum() / (first * second).sum()), order)


def _held(chosen: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
    """What the first, the first two, ... of the `chosen` terms hold of the sum `(k,)`, each with its standard error:
    that of a ratio of two means over the estimates.
    """
    held, total = terms[:, chosen].cumsum(1), terms.sum(1, keepdim=True)  # (m, k), (m, 1)
    share = held.mean(0) / total.mean()
    if len(terms) == 1:
        return share, torch.zeros_like(share)
    return share, (held - share * total).std(0) / (len(terms) ** 0.5 * total.mean())
