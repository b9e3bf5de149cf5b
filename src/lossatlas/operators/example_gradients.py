"""How long the gradients of single examples are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossatlas.loss.few_examples import examples_apart
from lossatlas.loss.loss import Loss
from lossatlas.operators.graphs import ParameterBlock, pull

# Examples whose gradients are taken, 16 of each of eight strata by their loss. On trained networks of the moons study
# the mean over them was within 5 % of that over all 1,024, and of 8,192; of evenly spread ones it was off by up to a
# factor of 6, since a few examples hold most of a trained network's gradient (docs/design/eigenvalues.md).
EXAMPLES = 128

# Of a batch in whose graph each example's gradient is taken: every one goes backward through all of them. With fewer,
# calling the operations costs more; with more, their backward passes do (docs/design/eigenvalues.md).
ROWS = 16


def mean_gradient_norm(loss: Loss, theta: Tensor) -> float:
    """Σ wᵢ‖gᵢ‖, with gᵢ the gradient of a single example's loss and wᵢ what it weighs in L = Σ wᵢ ℓᵢ: 1 / n in a mean.

    The gradient of L itself, Σ wᵢgᵢ, is no longer than that, and as long where all examples pull one way. Of more than
    128 examples it is an estimate from about so many, always the same ones. A penalty is no example's.

    NaN where single examples have no gradients of their own: there is one only, they cannot be told apart, weigh
    unequally or see each other (as in `Loss.subset`), or a row of the targets has several labels.

    Costs a pass over the data, and the gradients of 128 examples.

    Args:
        loss: in the precision of the gradients.
        theta: the point, `(P,)`.
    """
    apart = examples_apart(loss, theta, most=EXAMPLES, rows=ROWS) if loss.examples > 1 else None
    if apart is None:
        return math.nan
    block, total = ParameterBlock(apart, theta, None), 0.0
    with block.held(), torch.enable_grad():
        for output, share in apart.batch_outputs(block.point()):
            try:
                losses, weights = share.of_examples(output)
            except ValueError:  # it says why its examples cannot be told apart
                return math.nan
            if losses.requires_grad:
                total += _weighted_norms(losses, weights[weights > 0], block.leaf, apart.chunk)
    return total


def _weighted_norms(losses: Tensor, weights: Tensor, leaf: Tensor, at_once: int) -> float:
    """Σ w‖∇ℓ‖ over the examples of a batch, `losses` and `weights` `(m,)`."""
    rows = torch.eye(len(losses), dtype=losses.dtype, device=losses.device).split(at_once)
    norms = torch.cat([pull(losses, leaf, some).norm(dim=1, dtype=torch.float64) for some in rows])
    return float(weights.double() @ norms)
