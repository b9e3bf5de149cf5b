"""When a search for eigenvalues has found what was wanted: the stopping rule of block Lanczos."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

# How many times finer than the tolerance Ritz values are resolved before they are taken for copies of one eigenvalue.
# Set by hand: with less, values that only lie close widen the block for nothing; with more, copies take more steps.
COPIES_RESOLVED = 100


@dataclass(frozen=True)
class Wanted:
    """How many eigenvalues are wanted at both ends of a spectrum."""

    largest: int
    smallest: int

    @property
    def count(self) -> int:
        return self.largest + self.smallest

    def positions(self, count: int) -> Tensor:
        """Those wanted among `count` ascending values: the largest, descending, then the smallest, ascending."""
        top = torch.arange(count - 1, max(count - self.largest, 0) - 1, -1)
        return torch.cat([top, torch.arange(min(self.smallest, count))])

    def with_spare(self, spare: int, count: int) -> Tensor:
        """Those at the wanted ends among `count` ascending values, `spare` more than wanted at each; ascending."""
        bottom = self.smallest + spare if self.smallest else 0
        top = self.largest + spare if self.largest else 0
        return torch.cat([torch.arange(bottom), torch.arange(count - top, count)])


class Decision(Enum):
    """What a search does next."""

    CONTINUE = "continue"  # with the block as it is
    WIDEN = "widen"  # the block by a random vector: an eigenvalue may have more copies than the block shows
    STOP = "stop"  # everything wanted is found


def decide(
    ritz_values: Tensor,
    residual_norms: Tensor,
    *,
    wanted: Wanted,
    size: int,
    block: int,
    tol: float,
    rounding: float,
    on_trial: bool,
) -> Decision:
    """The stopping rule: whether a search is done, goes on, or needs a wider block.

    It is done where every wanted residual is at most `tol` times the largest |λ|, and no wanted eigenvalue can have
    more copies than the block has vectors. A Krylov space of b vectors shows up to b copies of an eigenvalue.

    Args:
        ritz_values: all of them, `(m,)`, ascending.
        residual_norms: of the wanted ones, `(k + s,)`, in the order of `Wanted.positions`.
        wanted: how many at each end.
        size: of the matrix: with as many Ritz values, all eigenvalues are known.
        block: vectors of the block.
        tol: of the residuals, relative to the largest |λ|.
        rounding: relative to the largest |λ|, below which Ritz values are equal.
        on_trial: whether the vector that widened the block last has had fewer steps than those before it.
    """
    norm = float(ritz_values.abs().max())
    if len(ritz_values) < wanted.count or not bool((residual_norms <= tol * norm).all()):
        return Decision.CONTINUE
    if len(ritz_values) == size:
        return Decision.STOP
    if on_trial:
        return Decision.CONTINUE
    error = saturated_cluster_error(
        ritz_values, residual_norms, wanted=wanted, block=block, tol=tol, rounding=rounding
    )  # fmt: skip
    if error is None:
        return Decision.STOP
    return Decision.WIDEN if error <= tol / COPIES_RESOLVED * norm else Decision.CONTINUE


def saturated_cluster_error(
    ritz_values: Tensor, residual_norms: Tensor, *, wanted: Wanted, block: int, tol: float, rounding: float
) -> float | None:
    """Error bound of the first cluster of as many equal wanted Ritz values as the block has vectors; None without one.

    Copies of an eigenvalue differ by at most 2 r² / gap as Ritz values, r being the norm of their residuals, and `gap`
    the distance to the other values. The answer is r² / gap: with more steps it shrinks, and values that are no copies
    part. A cluster within `tol` of the last wanted eigenvalue is not looked at: a missing copy changes no answer by
    more.

    Args:
        ritz_values, residual_norms, wanted, block, tol, rounding: as in `decide`.
    """
    norm = float(ritz_values.abs().max())
    positions = wanted.positions(len(ritz_values))
    values = ritz_values[positions]
    padded = torch.nn.functional.pad(ritz_values, (1, 1), value=torch.inf)
    padded[0] = -torch.inf
    for start, stop in ((0, wanted.largest), (wanted.largest, wanted.count)):
        for first in range(start, stop - block + 1):
            cluster = slice(first, first + block)
            if float((values[cluster][-1] - values[stop - 1]).abs()) <= tol * norm:
                break
            low, high = int(positions[cluster].min()), int(positions[cluster].max())
            below, lowest, highest, above = padded[[low, low + 1, high + 1, high + 2]].tolist()
            residual, gap = float(residual_norms[cluster].norm()), min(lowest - below, above - highest)
            error = residual * min(1.0, residual / gap) if gap > 0 else residual
            if highest - lowest <= max(2 * error, rounding * norm):
                return error
    return None
