"""Products with the generalized Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.operators.hessian import (
    keep_graphs,
    pull,
    rows_at_once,
)


class GaussNewton:
    """V -> V G, G = Σ Jᵀ L″ J the generalized Gauss-Newton matrix (Schraudolph 2002): positive semi-definite for convex
    criteria, and the Hessian without the curvature of the network itself. A penalty on θ counts with its own Hessian.

    J is the derivative of the module's output, a tensor, and L″ the criterion's second derivative in the output. Costs
    per row what a Hessian-vector product does; graphs are kept as those of `Hessian` are.
    """

    def __init__(self, loss: Loss, theta: Tensor) -> None:
        loss.layout.check(theta, single=True)
        self._loss = loss
        self._leaf = theta.detach().to(loss.theta, copy=True).requires_grad_()
        self._kept = keep_graphs(self._factors(), loss.batches)

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.to(self._leaf)
        product = torch.zeros_like(rows)
        at_once = rows_at_once(self._loss)
        for output, outward, pullback, at, slope in self._kept if self._kept is not None else self._factors():
            for start in range(0, len(rows), at_once):
                some = slice(start, start + at_once)
                moved = pull(pullback, outward, rows[some])  # V Jᵀ
                if slope.requires_grad:  # not so where the criterion is linear
                    product[some] += pull(output, self._leaf, pull(slope, at, moved))
        if self._loss.penalty:
            product += self._of_penalty(rows)
        return product

    @torch.enable_grad()
    def _factors(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        for output, criterion in self._loss.batch_outputs(self._leaf):
            if not isinstance(output, Tensor):
                raise TypeError(f"the module's output is {type(output).__name__}: Gauss-Newton wants a tensor")
            if output.requires_grad:
                outward = torch.zeros_like(output, requires_grad=True)
                (pullback,) = torch.autograd.grad(output, self._leaf, outward, create_graph=True)  # Jᵀw, linear in w
                at = output.detach().requires_grad_()
                (slope,) = torch.autograd.grad(criterion(at), at, create_graph=True)
                yield output, outward, pullback, at, slope

    @torch.enable_grad()
    def _of_penalty(self, rows: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(self._loss.penalty(self._leaf), self._leaf, create_graph=True)
        return pull(gradient, self._leaf, rows) if gradient.requires_grad else torch.zeros_like(rows)
