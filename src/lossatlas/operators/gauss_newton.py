"""Products with the generalized Gauss-Newton matrix."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lossatlas.loss.shares import Share
from lossatlas.operators.graphs import pull
from lossatlas.operators.jacobian import Inner, OutputProduct


class GaussNewton(OutputProduct):
    """V -> V G, G = Σ Jᵀ L″ J the generalized Gauss-Newton matrix (Schraudolph 2002): positive semi-definite for convex
    criteria, and the Hessian without the curvature of the network itself. A penalty on θ counts with its own Hessian.

    J is the derivative of the module's output, a tensor, and L″ the criterion's second derivative in the output. For a
    criterion that is the negative logarithm of a likelihood of an exponential family in its natural parameters, it is
    also the Fisher information, the mean over targets that the model itself would draw (Martens 2020): so for
    cross-entropy of logits, and for squared errors with the noise that they stand for.

    Args:
        loss: its module gives a tensor.
        theta: the point, `(P,)`.
        params: names of `loss.layout` whose diagonal block is meant; P is then their number of entries.
    """

    def _inner(self, output: Tensor, share: Share) -> Inner | None:
        return output_curvature(output, share)


def output_curvature(output: Tensor, share: Share) -> Inner | None:
    """Rows `(k, *output)` times the second derivative of a batch's share in its output; None where that is 0.

    Args:
        output: of the module, which asks for a gradient and has no graph.
        share: of the batch in the loss on the data.
    """
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(share(output), output, create_graph=True)
    return partial(pull, slope, output) if slope.requires_grad else None  # not so where the criterion is linear
