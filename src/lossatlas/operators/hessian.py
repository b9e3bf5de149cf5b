"""The curvature of a loss as products with vectors, and as a matrix where it is small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas.loss.loss import Loss
from lossatlas.numerics.lanczos import Product

Graph = TypeVar("Graph")

# Single precision first, where it pays: with fewer parameters a product is mostly the calling of operations, and below
# this tolerance the rounding of the products shows in the residuals.
MIXED_PARAMETERS = 1000
MIXED_TOL = 1e-4

KEPT_BYTES = 2**30  # of the graphs of the gradient that are kept between products


class Hessian:
    """V -> V H at one point by double backpropagation (Pearlmutter 1994): rows `(k, P)` -> `(k, P)`.

    With `params`, names of `loss.layout`, H is their diagonal block and P their number of entries; the other parameters
    stay at θ. The graph then holds no more than what leads to the block, so that a product costs less.

    The graph of the gradient is built once and kept, for all batches of data when they take at most `KEPT_BYTES`
    together, and always for a single batch; otherwise it is built anew for each call, one batch at a time.
    """

    def __init__(self, loss: Loss, theta: Tensor, params: Sequence[str] | None = None) -> None:
        loss.layout.check(theta, single=True)
        self._loss = loss
        point = theta.detach().to(loss.theta, copy=True)
        if params is None:
            self._block, self._others, self._leaf = None, {}, point.requires_grad_()
        else:
            self._block, self._others = loss.layout.only(params), loss.layout.unflatten(point)
            self._leaf = self._block.flatten(self._others).requires_grad_()
        self._kept = keep_graphs(self._gradients(), loss.batches)

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.to(self._leaf)
        product = torch.zeros_like(rows)
        at_once = rows_at_once(self._loss)
        for gradient in self._kept if self._kept is not None else self._gradients():
            if not gradient.requires_grad:  # a loss linear in θ
                continue
            for start in range(0, len(rows), at_once):
                some = slice(start, start + at_once)
                product[some] += pull(gradient, self._leaf, rows[some])
        return product

    @torch.enable_grad()
    def _gradients(self) -> Iterator[Tensor]:
        point = self._leaf if self._block is None else self._others | self._block.unflatten(self._leaf)
        for share in self._loss.batch_losses(point):
            if share.requires_grad:
                yield torch.autograd.grad(share, self._leaf, create_graph=True)[0]


def scaled(product: Product, scale: Tensor) -> Product:
    """V -> V D A D with D the diagonal of `scale` `(P,)`.

    With |θ| it is the curvature per relative change of each weight; with the inverse square root of Adam's
    preconditioner, what its edge of stability is about (Cohen et al. 2022).
    """
    return lambda rows: product(rows * scale) * scale


def dense_hessian(loss: Loss, theta: Tensor) -> Tensor:
    """The whole Hessian, `(P, P)`, at the cost of P products."""
    return Hessian(loss, theta)(torch.eye(loss.layout.size, dtype=loss.dtype))


def pays_in_single(loss: Loss, size: int, dtype: torch.dtype, tol: float) -> bool:
    """Whether eigenvalues wanted in `dtype` to `tol`, of a matrix of `size`, are sought in float32 first."""
    lower = dtype is torch.float64 and loss.dtype is torch.float32
    return lower and size > MIXED_PARAMETERS and tol >= MIXED_TOL


def rows_at_once(loss: Loss) -> int:
    """Rows that go through a kept graph together.

    On a GPU as many as points are evaluated at once. On a CPU a row costs less in company only where it is dominated
    by what calling an operation costs, below about 64 KiB an activation; docs/architecture.md has the measurement.
    """
    if loss.theta.device.type != "cpu":
        return loss.chunk
    few = loss.chunk // 16
    return few if few >= 4 else 1


def pull(outputs: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """Each row times the derivative of `outputs` by `inputs`, which stays 0 where there is none."""
    one = len(rows) == 1
    (image,) = torch.autograd.grad(
        outputs, inputs, rows[0] if one else rows, retain_graph=True, is_grads_batched=not one
    )
    return image[None] if one else image


def keep_graphs(graphs: Iterator[Graph], batches: int) -> list[Graph] | None:
    """The graphs of all batches, or None where they would take more than KEPT_BYTES; one is always kept."""
    kept: list[Graph] = []
    with _BytesMade() as made:
        for graph in graphs:
            kept.append(graph)
            if batches > 1 and made.bytes / len(kept) * batches > KEPT_BYTES:
                return None
    return kept


class _BytesMade(TorchDispatchMode):
    """Adds up the bytes of all tensors made inside the block: no less than what a graph built there holds."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor) and not func.is_view:
                self.bytes += value.numel() * value.element_size()
        return out
