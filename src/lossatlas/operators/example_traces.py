"""What each example adds to the trace of the Gauss-Newton matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas.hardware import TRACE_VECTOR_BYTES
from lossatlas.loss.loss import Loss
from lossatlas.loss.shares import Share
from lossatlas.loss.single_examples import batches_of_examples
from lossatlas.operators.gauss_newton import GaussNewton, output_curvature

# Outputs of an example up to which its trace is computed exactly, by a gradient for each but one of them: the ten
# classes of digits. With more, random vectors take their place, and the traces have an error.
EXACT_OUTPUTS = 10


@torch.no_grad()
def example_traces(loss: Loss, theta: Tensor, *, vectors: int, generator: torch.Generator) -> Tensor:
    """Independent estimates of tr wᵢ JᵢᵀBᵢJᵢ for every example i `(m, n)`, in float64; a single one is exact.

    J is the derivative of the module's output by θ and B the criterion's second derivative in it: what the examples
    add to the trace of the Gauss-Newton matrix (`GaussNewton`). With B = Σ λ u uᵀ the trace is Σ λ ‖Jᵀu‖², a gradient
    of single examples for each λ that is not 0: classes less one, for cross-entropy. Examples with more than 10
    outputs have vᵀJᵀBJv of random signs v in its place (Hutchinson), which no gradient of a single example is made for.

    Args:
        loss: one that has `example_losses`.
        theta: the point, `(P,)`.
        vectors: of random signs, where the traces are not exact.
        generator: of these, on the CPU.
    """
    found = []
    for batch in batches_of_examples(loss, theta):
        outputs = batch.output[0].numel()
        if outputs > EXACT_OUTPUTS:
            return _estimates(loss, theta, vectors, generator)
        values, factors = _factors(batch.output, batch.share)
        squares = batch.squared_gradients(factors).double() if values.shape[1] else values
        found.append((values * squares).sum(1).cpu())
    return torch.cat(found)[None]


def _estimates(loss: Loss, theta: Tensor, vectors: int, generator: torch.Generator) -> Tensor:
    """vᵀGᵢv of so many vectors v of random signs and every example i, `(vectors, n)`."""
    product = GaussNewton(loss, theta)
    together = max(1, TRACE_VECTOR_BYTES // (torch.float64.itemsize * len(theta)))
    signs = (
        torch.randint(0, 2, (min(together, vectors - start), len(theta)), generator=generator, dtype=torch.int8)
        for start in range(0, vectors, together)
    )
    return torch.cat([product.of_examples(2 * some.to(loss.theta) - 1).cpu() for some in signs])


def _factors(output: Tensor, share: Share) -> tuple[Tensor, Tensor]:
    """Eigenvalues λ `(n, r)` of the second derivative of a batch's share in each example's output, and eigenvectors
    `(n, r, ...)` of the output's shape; those that are 0 for all examples, but for rounding, are left out.
    """
    examples, outputs = len(output), output[0].numel()
    inner = output_curvature(output.detach().requires_grad_(), share)
    unit = torch.eye(outputs).to(output)[:, None].expand(-1, examples, -1)  # (c, n, c)
    if inner is None:
        return output.new_zeros(examples, 0), output.new_zeros(examples, 0, *output.shape[1:])
    matrices = inner(unit.reshape(outputs, *output.shape)).reshape(outputs, examples, outputs).transpose(0, 1).double()
    values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)  # (n, c), (n, c, c), a vector a column
    kept = values.abs().amax(0) > torch.finfo(output.dtype).eps * values.abs().max()
    rows = vectors.mT[:, kept].to(output)
    return values[:, kept], rows.reshape(examples, -1, *output.shape[1:])
