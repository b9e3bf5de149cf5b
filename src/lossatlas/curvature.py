"""The Hessian of a loss as products with vectors, and as a matrix where it is small."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lossatlas.loss import Loss


class Hessian:
    """V -> V H at one point by double backpropagation (Pearlmutter 1994): rows `(k, P)` -> `(k, P)`.

    With one batch of data the graph of the gradient is built once and kept; with several it is built anew for
    each product, so that memory is bounded by one batch. Rows go through the graph several at a time, as many as
    points are evaluated at once (`Loss.chunk`).
    """

    def __init__(self, loss: Loss, theta: Tensor) -> None:
        loss.layout.check(theta)
        self._loss = loss
        self._leaf = theta.detach().to(loss.dtype, copy=True).requires_grad_()
        self._kept = list(self._gradients()) if loss.batches == 1 else None

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.to(self._leaf)
        product = torch.zeros_like(rows)
        chunk = self._loss.chunk
        for gradient in self._kept if self._kept is not None else self._gradients():
            if not gradient.requires_grad:  # a loss linear in θ
                continue
            for start in range(0, len(rows), chunk):
                part = rows[start : start + chunk]
                one = len(part) == 1
                (image,) = torch.autograd.grad(
                    gradient, self._leaf, part[0] if one else part, retain_graph=True, is_grads_batched=not one
                )
                product[start : start + chunk] += image
        return product

    @torch.enable_grad()
    def _gradients(self) -> Iterator[Tensor]:
        for share in self._loss.batch_losses(self._leaf):
            if share.requires_grad:
                yield torch.autograd.grad(share, self._leaf, create_graph=True)[0]


def dense_hessian(loss: Loss, theta: Tensor) -> Tensor:
    """The whole Hessian, `(P, P)`, at the cost of P products."""
    return Hessian(loss, theta)(torch.eye(loss.layout.size, dtype=loss.dtype))
