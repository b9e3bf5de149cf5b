"""The matrices of curvature written out, on all data at once: witnesses that share nothing with the products."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas.parameters.layout import Layout

MATRICES = ("hessian", "gauss-newton", "fisher")


def dense(
    matrix: str,
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    layout: Layout,
    theta: Tensor,
    *,
    squared: bool = False,
    weight_decay: float = 0.0,
) -> Tensor:
    """`(P, P)` of the mean cross-entropy, or squared error, plus λ‖θ‖²/2; the curvature in the output by hand."""
    inputs, targets = data

    def outputs(vector: Tensor) -> Tensor:  # (n, c)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no rule for jacrev
            return functional_call(module, layout.unflatten(vector), (inputs,))

    def losses(vector: Tensor) -> Tensor:  # (n,)
        output = outputs(vector)
        if squared:
            return (output - targets).square().mean(1)
        return output.logsumexp(1) - output.gather(1, targets[:, None])[:, 0]

    if matrix == "hessian":
        found = hessian(lambda vector: losses(vector).mean())(theta)
    elif matrix == "fisher":
        gradients = jacrev(losses)(theta)  # (n, P)
        found = gradients.T @ gradients / len(inputs)
    else:
        slopes, output = jacrev(lambda vector: (outputs(vector),) * 2, has_aux=True)(theta)  # (n, c, P), (n, c)
        if squared:
            inner = 2 / output.shape[1] * torch.eye(output.shape[1], dtype=output.dtype).expand(len(output), -1, -1)
        else:
            chances = output.softmax(1)
            inner = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
        found = torch.einsum("ncp,ncd,ndq->pq", slopes, inner, slopes) / len(inputs)
    return found.detach() + weight_decay * torch.eye(len(theta), dtype=theta.dtype)
