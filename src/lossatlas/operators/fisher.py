"""Products with the empirical Fisher matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lossatlas.loss.loss import Loss
from lossatlas.loss.shares import Share
from lossatlas.operators.jacobian import Inner, OutputProduct


class EmpiricalFisher(OutputProduct):
    """V -> V F, F = Σ wᵢ gᵢᵀgᵢ over the examples, with gᵢ the gradient of a single example's loss ℓᵢ at the target that
    it has, and wᵢ what the example weighs in L = Σ wᵢ ℓᵢ: 1 / n in a mean over n. It is positive semi-definite.

    This is the matrix of second moments of the gradients, the *empirical* Fisher. The Fisher information in the sense
    of statistics has targets drawn from the model's own distribution in place of those of the data; for cross-entropy
    of logits and for squared errors that is `GaussNewton`, without a draw. The two agree where the model has learned
    the distribution of the targets, and can differ by any factor elsewhere (Kunstner, Hennig and Balles 2019).

    With Jᵢ the derivative of the output and sᵢ that of ℓᵢ in it, gᵢ is sᵢJᵢ, so that products go through the output as
    those of `GaussNewton` do, and no gradient of a single example is in memory. A penalty on θ is no example's: it
    counts with its own Hessian, as in the other two matrices.

    Args:
        loss: output and target are tensors with a row for each example. Targets that the criterion ignores weigh
            nothing, classes what the criterion says.
        theta: the point, `(P,)`.
        params: names of `loss.layout` whose diagonal block is meant; P is then their number of entries.

    Raises ValueError where examples cannot be told apart: several labels for each row, a criterion that is no mean or
    sum of its values on single examples, batch norm with the statistics of the batch.
    """

    def __init__(self, loss: Loss, theta: Tensor, params: Sequence[str] | None = None) -> None:
        norms = [part for part in loss.module.modules() if isinstance(part, _BatchNorm) and part.running_mean is None]
        if norms:
            raise ValueError(
                f"{type(norms[0]).__name__} takes the statistics of the batch, so that its examples see each other: "
                'the empirical Fisher wants them apart; take buffers="stored" or "re-estimated"'
            )
        super().__init__(loss, theta, params)

    def _inner(self, output: Tensor, share: Share) -> Inner | None:
        losses, weights = share.of_examples(output)
        if not losses.requires_grad:
            return None
        (slopes,) = torch.autograd.grad(losses.sum(), output)  # (n, ...): sᵢ
        weights = weights.to(slopes).reshape(-1, *[1] * (slopes.ndim - 1))

        def inner(rows: Tensor) -> Tensor:
            along = (rows * slopes).flatten(2).sum(2) if rows.ndim > 2 else rows * slopes  # (k, n): gᵢ V
            return along.reshape(*along.shape, *[1] * (slopes.ndim - 1)) * (weights * slopes)

        return inner
