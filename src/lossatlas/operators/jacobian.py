"""Products with matrices that the derivative of the module's output stands on both sides of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lossatlas.loss.criteria import own_loss
from lossatlas.loss.loss import Loss
from lossatlas.loss.second_derivatives import check_graph
from lossatlas.loss.shares import Share
from lossatlas.operators.graphs import ParameterBlock, keep_graphs, pull, rows_at_once
from lossatlas.work import answered

Inner = Callable[[Tensor], Tensor]  # rows `(k, *output)` -> `(k, *output)`
Factors = tuple[Tensor, Tensor, Tensor, Inner | None]


class OutputProduct(ABC):
    """V -> V Σ Jᵀ B J over the batches: rows `(k, P)` -> `(k, P)`, with J the derivative of the module's output, a
    tensor, and B a symmetric matrix of the output's size. A penalty on θ counts with its own Hessian.

    `params` means what it does for `Hessian`, and graphs are kept as its are. J is multiplied with by differentiating
    Jᵀw, which is linear in w.
    """

    def __init__(self, loss: Loss, theta: Tensor, params: Sequence[str] | None = None) -> None:
        self._loss, self._block = loss, ParameterBlock(loss, theta, params)
        with self._block.held():
            self._kept = keep_graphs(self._factors(), loss.batches)

    @abstractmethod
    def _inner(self, output: Tensor, share: Share) -> Inner | None:
        """Rows times B at this output, where no graph is followed; None where B is 0."""

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.to(self._block.leaf)
        return answered(rows, lambda: self._times(rows), products=len(rows)).to(rows.device)

    def _times(self, rows: Tensor) -> Tensor:
        leaf = self._block.leaf
        product = torch.zeros_like(rows)
        at_once = rows_at_once(self._loss)
        with self._block.held():
            for output, outward, pullback, inner in self._kept if self._kept is not None else self._factors():
                if inner is None:
                    continue
                for start in range(0, len(rows), at_once):
                    some = slice(start, start + at_once)
                    product[some] += pull(output, leaf, inner(pull(pullback, outward, rows[some])))
        if self._loss.penalty:
            product += self._of_penalty(rows)
        return product

    def of_examples(self, vectors: Tensor) -> Tensor:
        """vᵀAᵢv of each row v of `vectors` `(k, P)` and each row i of the outputs, in order: `(k, n)`, in float64.

        They add up to vᵀAv without the penalty's part. Only where B couples no two rows of the output is Aᵢ the matrix
        of an example.
        """
        rows = vectors.to(self._block.leaf)
        at_once = rows_at_once(self._loss)
        found = []
        with self._block.held():
            for output, outward, pullback, inner in self._kept if self._kept is not None else self._factors():
                forms = torch.zeros(len(rows), len(output), dtype=torch.float64, device=output.device)
                for start in range(0, len(rows), at_once):
                    some = slice(start, start + at_once)
                    if inner is not None:
                        images = pull(pullback, outward, rows[some])  # (m, n, ...): J v
                        forms[some] = (images * inner(images)).flatten(2).double().sum(2)
                found.append(forms)
        return torch.cat(found, 1)

    @torch.enable_grad()
    def _factors(self) -> Iterator[Factors]:
        for output, share in self._loss.batch_outputs(self._block.point()):
            if share.criterion is own_loss or not isinstance(output, Tensor):
                raise ValueError(
                    f"{type(self).__name__} wants a module whose output is a tensor, and a criterion of it: the module "
                    + ("computes its own loss" if share.criterion is own_loss else f"gives a {type(output).__name__}")
                )
            if output.requires_grad:
                check_graph(output)
                outward = torch.zeros_like(output, requires_grad=True)
                (pullback,) = torch.autograd.grad(output, self._block.leaf, outward, create_graph=True)
                yield output, outward, pullback, self._inner(output.detach().requires_grad_(), share)

    @torch.enable_grad()
    def _of_penalty(self, rows: Tensor) -> Tensor:
        point = self._block.point()
        theta = point if isinstance(point, Tensor) else self._loss.layout.flatten(point)
        (gradient,) = torch.autograd.grad(self._loss.penalty(theta), self._block.leaf, create_graph=True)
        return pull(gradient, self._block.leaf, rows) if gradient.requires_grad else torch.zeros_like(rows)
