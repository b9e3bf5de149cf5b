"""Products with the Hessian of a loss, and the Hessian itself where it is small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.loss.second_derivatives import check_graph
from lossatlas.numerics.lanczos import Product
from lossatlas.operators.graphs import ParameterBlock, keep_graphs, pull, rows_at_once
from lossatlas.work import answered


class Hessian:
    """V -> V H at one point by double backpropagation (Pearlmutter 1994): rows `(k, P)` -> `(k, P)`.

    The graph of the gradient is built once and kept, for all batches of data when they take at most
    `hardware.KEPT_GRAPH_BYTES` together, and always for a single batch; otherwise it is built anew for each call, one
    batch at a time.

    Args:
        loss: whose Hessian it is.
        theta: the point, `(P,)`.
        params: names of `loss.layout`: H is then their diagonal block and P their number of entries; the other
            parameters stay at θ. The graph holds no more than what leads to the block, so that a product costs less.
    """

    def __init__(self, loss: Loss, theta: Tensor, params: Sequence[str] | None = None) -> None:
        self._loss, self._block = loss, ParameterBlock(loss, theta, params)
        with self._block.held():
            self._kept = keep_graphs(self._gradients(), loss.batches)

    def __call__(self, vectors: Tensor) -> Tensor:
        """H times each row of `vectors`, `(k, P)` -> `(k, P)`, in the loss's precision."""
        rows = vectors.to(self._block.leaf)
        return answered(rows, lambda: self._times(rows), products=len(rows)).to(rows.device)

    def _times(self, rows: Tensor) -> Tensor:
        leaf = self._block.leaf
        product = torch.zeros_like(rows)
        at_once = rows_at_once(self._loss)
        with self._block.held():
            for gradient in self._kept if self._kept is not None else self._gradients():
                if not gradient.requires_grad:  # a loss linear in θ
                    continue
                for start in range(0, len(rows), at_once):
                    some = slice(start, start + at_once)
                    product[some] += pull(gradient, leaf, rows[some])
        return product

    @torch.enable_grad()
    def _gradients(self) -> Iterator[Tensor]:
        for share in self._loss.batch_losses(self._block.point()):
            if share.requires_grad:
                check_graph(share)
                yield torch.autograd.grad(share, self._block.leaf, create_graph=True)[0]


def scaled(product: Product, scale: Tensor) -> Product:
    """V -> V D A D, with A that of `product` and D the diagonal of `scale` `(P,)`.

    With |θ| it is the curvature per relative change of each weight; with the inverse square root of Adam's
    preconditioner, what its edge of stability is about (Cohen et al. 2022).
    """
    return lambda rows: product(rows * scale) * scale


def dense_hessian(loss: Loss, theta: Tensor) -> Tensor:
    """The whole Hessian of `loss` at `theta` `(P,)`, `(P, P)`, at the cost of P products."""
    return Hessian(loss, theta)(torch.eye(loss.layout.size, dtype=loss.dtype))
