"""Graphs of derivatives that products with a matrix go through, and for how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas import hardware
from lossatlas.loss.functional_module import Point
from lossatlas.loss.loss import Loss

Graph = TypeVar("Graph")


class ParameterBlock:
    """The parameters that are differentiated by at θ `(P,)`: all of them, or those of `params`; the others stay."""

    def __init__(self, loss: Loss, theta: Tensor, params: Sequence[str] | None) -> None:
        loss.layout.check(theta, single=True)
        point = theta.detach().to(loss.theta, copy=True)
        self._loss, self._theta = loss, point.detach()
        if params is None:
            self._layout, self._others, self.leaf = None, {}, point.requires_grad_()
        else:
            self._layout, self._others = loss.layout.only(params), loss.layout.unflatten(point)
            self.leaf = self._layout.flatten(self._others).requires_grad_()

    def held(self) -> AbstractContextManager[None]:
        """Around everything that goes backward through a graph at the point (`Loss.holding`)."""
        return self._loss.holding(self._theta)

    def point(self) -> Point:
        """θ as a function of `leaf`: the leaf itself, or all tensors by name."""
        return self.leaf if self._layout is None else self._others | self._layout.unflatten(self.leaf)


def rows_at_once(loss: Loss) -> int:
    """Rows that go through a kept graph together."""
    return hardware.rows_at_once(loss.chunk, loss.theta.device)


def pull(outputs: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """Each row times the derivative of `outputs` by `inputs`; one after the other where they do not go together."""
    if len(rows) > 1:
        with suppress(RuntimeError):  # of an operation that vmap cannot take, such as a product with a sparse matrix
            return torch.autograd.grad(outputs, inputs, rows, retain_graph=True, is_grads_batched=True)[0]
    return torch.stack([torch.autograd.grad(outputs, inputs, row, retain_graph=True)[0] for row in rows])


def keep_graphs(graphs: Iterator[Graph], batches: int) -> list[Graph] | None:
    """The graphs of all batches, or None where they take more than `hardware.KEPT_GRAPH_BYTES`; one is always kept."""
    kept: list[Graph] = []
    with _BytesMade() as made:
        for graph in graphs:
            kept.append(graph)
            if batches > 1 and made.bytes / len(kept) * batches > hardware.KEPT_GRAPH_BYTES:
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
