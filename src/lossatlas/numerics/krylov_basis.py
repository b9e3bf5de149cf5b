"""The orthonormal basis of a block Krylov space, and the three steps that change it: append, expand, restart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# What remains of an image after orthogonalization is rounding if it is below this share of the image's norm: the Krylov
# space is then invariant (a breakdown). By hand, some hundred times the rounding unit. With less, rounding becomes a
# direction of the basis; with more, small eigenvalues are missed.
BREAKDOWN = {torch.float64: 1e-13, torch.float32: 1e-6}

# Share of an image's norm, below which what remains of it is orthogonalized once more: it may show the rounding of the
# rest. With more, time is spent on rows that are orthogonal; with less, the basis loses orthogonality.
REORTHOGONALIZE = 0.1

NOT_FINITE = "the product with a vector is not finite: is the loss NaN or infinite at this point?"


@dataclass(frozen=True)
class RitzPairs:
    """Eigenpairs of the projected matrix."""

    values: Tensor  # (m,), ascending
    rotation: Tensor  # (m, m), orthonormal columns: the coefficients of each Ritz vector on the basis


@dataclass
class KrylovBasis:
    """Orthonormal rows V, and the matrix V A Vᵀ as far as products are known.

    The images of the first `multiplied` rows are known; the others are pending. Images have no part outside the basis:
    so the residual of a Ritz vector is the norm of its coefficients on the pending rows.
    """

    rows: Tensor  # (capacity, P); those from `known` on are not yet used
    projected: Tensor  # (capacity, capacity), V A Vᵀ where one of both sides is multiplied; float64 on the CPU
    known: int = 0
    multiplied: int = 0
    recurrence_start: int = 0  # images of pending rows overlap with the rows before it by rounding only
    spectral_norm: float = 0.0  # largest |Ritz value| so far

    @classmethod
    def empty(cls, capacity: int, size: int, *, dtype: torch.dtype, device: torch.device | str) -> Self:
        """Room for `capacity` rows of `size` entries."""
        rows = torch.empty(capacity, size, dtype=dtype, device=device)
        return cls(rows, torch.zeros(capacity, capacity, dtype=torch.float64))

    @property
    def size(self) -> int:
        return self.rows.shape[1]

    @property
    def breakdown(self) -> float:
        return BREAKDOWN[self.rows.dtype]

    @property
    def pending(self) -> Tensor:
        """Rows whose images are not known, `(pending, P)`."""
        return self.rows[self.multiplied : self.known]

    def append(self, rows: Tensor, recurrence_start: int = 0) -> list[Tensor]:
        """Make what is new in some rows orthonormal and pending; each row's coefficients on the basis.

        Where nothing is new in a row, no pending one comes of it.

        Args:
            rows: `(n, P)`, any vectors or images of rows of the basis.
            recurrence_start: overlaps with rows of the basis before it are known to be rounding.
        """
        coefficients = []
        before = self.known
        # All rows at once: the basis is read less often.
        overlaps, remainders = self._orthogonalize(rows, before, recurrence_start=recurrence_start)
        for remainder, overlap in zip(remainders, overlaps, strict=True):
            own = overlap
            if self.known > before:
                among, rest = self._orthogonalize(remainder[None], self.known, start=before, recurrence_start=before)
                own, remainder = torch.cat([overlap, among[0]]), rest[0]
            length = float(remainder.norm())
            if not math.isfinite(length):
                raise ValueError(NOT_FINITE)
            if length > self.breakdown * max(self.spectral_norm, float(own.norm())) and self.known < self.size:
                row = remainder / length
                if length < REORTHOGONALIZE * float(own.norm()):
                    _, rest = self._orthogonalize(row[None], self.known)
                    row = rest[0] / rest.norm()
                self.rows[self.known] = row
                self.known += 1
                own = torch.cat([own, torch.tensor([length], dtype=torch.float64)])
            coefficients.append(own)
        return coefficients

    def append_random(self, count: int, generator: torch.Generator) -> None:
        """Pending rows in random directions, no more than there are dimensions."""
        count = min(count, self.size - self.known)
        self.append(torch.randn(count, self.size, generator=generator, dtype=torch.float64).to(self.rows))

    def expand(self, images: Tensor) -> None:
        """One step of block Lanczos, from the images `(n, P)` of the first n pending rows."""
        coefficients = self.append(images.to(self.rows), self.recurrence_start)
        for row, own in enumerate(coefficients, start=self.multiplied):
            self.projected[row, : len(own)] = self.projected[: len(own), row] = own
        self.recurrence_start = self.multiplied
        self.multiplied += len(images)

    def ritz_pairs(self) -> RitzPairs:
        """Of the rows that are multiplied; their largest |value| is noted as the spectral norm."""
        values, rotation = torch.linalg.eigh(self.projected[: self.multiplied, : self.multiplied])
        self.spectral_norm = float(values.abs().max())
        return RitzPairs(values, rotation)

    def vectors(self, rotation: Tensor) -> Tensor:
        """Vectors `(n, P)` from their coefficients `(multiplied, n)`."""
        return rotation.T.to(self.rows) @ self.rows[: self.multiplied]

    def on_pending(self, rotation: Tensor) -> Tensor:
        """Coefficients `(pending, n)` on the pending rows that the images of these vectors have: their residuals."""
        return self.projected[self.multiplied : self.known, : self.multiplied] @ rotation

    def residual_norms(self, rotation: Tensor) -> Tensor:
        """‖Av − λv‖ `(n,)` of Ritz vectors with these coefficients `(multiplied, n)`."""
        return self.on_pending(rotation).norm(dim=0)

    def enlarge(self, count: int) -> None:
        """Room for more rows."""
        self.rows = torch.cat([self.rows, torch.empty_like(self.rows[:count])])
        self.projected = torch.nn.functional.pad(self.projected, (0, count, 0, count))

    def restart(self, values: Tensor, rotation: Tensor) -> None:
        """Thick restart: keep Ritz pairs, and all rows that are pending.

        Images of the pending rows then overlap with all Ritz vectors: the recurrence reaches back to the first.

        Args:
            values: Ritz values `(n,)`.
            rotation: coefficients `(multiplied, n)` of their vectors on the basis.
        """
        locked, pending = len(values), self.known - self.multiplied
        arrow = self.on_pending(rotation)
        vectors, rows = self.vectors(rotation), self.pending.clone()
        self.rows[:locked], self.rows[locked : locked + pending] = vectors, rows
        self.projected.zero_()
        self.projected[:locked, :locked] = torch.diag(values)
        self.projected[locked : locked + pending, :locked] = arrow
        self.projected[:locked, locked : locked + pending] = arrow.T
        self.multiplied, self.known, self.recurrence_start = locked, locked + pending, 0

    def _orthogonalize(
        self, rows: Tensor, stop: int, *, start: int = 0, recurrence_start: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Overlaps with the rows from `start` to `stop` of the basis, and what remains: Gram-Schmidt, twice.

        Before `recurrence_start` the overlaps are rounding only, for which once is enough.
        """
        recent, basis = self.rows[max(recurrence_start, start) : stop], self.rows[start:stop]
        first = rows @ recent.T
        rows = torch.addmm(rows, first, recent, alpha=-1)
        overlaps = rows @ basis.T
        rows = torch.addmm(rows, overlaps, basis, alpha=-1)
        overlaps[:, len(basis) - len(recent) :] += first
        return overlaps.double().cpu(), rows
