"""Cheaper functions close to a loss: some of its examples, and products in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lossatlas import hardware
from lossatlas.hardware import coarse_products
from lossatlas.loss.loss import Loss
from lossatlas.numerics.lanczos import Product

# Examples, from which a sample is smooth enough to be a good stand-in. With 1,024 a sample of 256 took more time than
# it saved (docs/design/evaluation.md).
SAMPLED_EXAMPLES = 4096


def rough_losses(losses: Mapping[str, Loss], theta: Callable[[], Tensor]) -> dict[str, Loss] | None:
    """For each loss one on 24 √N of its N examples, drawn with a fixed seed; None where that would not pay.

    The hardest examples at `theta()` `(P,)` are among them: see `Loss.subset`. At most a quarter of all are taken.

    With √N the cost of the sample vanishes beside that of all examples as N grows, and so does its error. Losses on
    few examples, or cheap ones, stay as they are: where their products are large, bfloat16 is cheaper by itself.

    Args:
        losses: by the name of their split.
        theta: gives the point `(P,)` at which examples are hard; asked for only where a sample is drawn.
    """
    rough = {name: _sample(loss, theta) or loss for name, loss in losses.items()}
    whole, sampled = (sum(loss.operations for loss in each.values()) for each in (losses, rough))
    coarse = all(hardware.takes_bfloat16(loss.theta.device, loss.dtype) for loss in losses.values())
    return rough if sampled <= whole / 3 or (sampled >= hardware.BFLOAT16_ENOUGH and coarse) else None


def coarsened(product: Product, operations: float) -> Product:
    """The same product from bfloat16 factors, where that pays (`hardware.coarse_products`).

    Args:
        product: rows `(k, P)` -> `(k, P)`.
        operations: floating-point ones of one evaluation of the loss whose matrix it is.
    """

    def coarse(rows: Tensor) -> Tensor:
        with coarse_products(operations):
            return product(rows)

    return coarse


def _sample(loss: Loss, theta: Callable[[], Tensor]) -> Loss | None:
    if loss.operations < hardware.SAMPLED_OPERATIONS or loss.examples < SAMPLED_EXAMPLES:
        return None
    count = min(round(24 * math.sqrt(loss.examples)), loss.examples // 4)
    return loss.subset(count, at=theta(), generator=torch.Generator().manual_seed(0))
