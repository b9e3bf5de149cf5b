"""Cheaper functions close to a loss: some of its examples, and products in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lossatlas.hardware import BFLOAT16_ENOUGH, coarse_products, has_bfloat16
from lossatlas.loss.loss import Loss
from lossatlas.numerics.lanczos import Product

MANY = 4096  # examples, from which a sample is smooth enough to be a good stand-in
WORTH = 10**8  # floating-point operations of an evaluation, below which calling them costs more than doing them


def rough_losses(losses: Mapping[str, Loss], theta: Callable[[], Tensor]) -> dict[str, Loss] | None:
    """For each loss one on 24 √N of its N examples, drawn with a fixed seed; None where that would not pay.

    The hardest examples at `theta()` `(P,)` are among them: see `Loss.subset`. At most a quarter of all are taken.

    With √N the cost of the sample vanishes beside that of all examples as N grows, and so does its error. Losses on
    few examples, or cheap ones, stay as they are: where their products are large, bfloat16 is cheaper by itself.
    """
    found = {name: _sample(loss, theta) or loss for name, loss in losses.items()}
    cost, rough = (sum(loss.operations for loss in some.values()) for some in (losses, found))
    return found if rough <= cost / 3 or (rough >= BFLOAT16_ENOUGH and eased(losses)) else None


def eased(losses: Mapping[str, Loss]) -> bool:
    """Whether `coarse_products` makes all of these losses cheaper."""
    return has_bfloat16() and all(
        loss.dtype is torch.float32 and loss.theta.device.type == "cpu" for loss in losses.values()
    )


def coarsened(product: Product, operations: float) -> Product:
    """The same product by `coarse_products`, of a matrix whose loss takes so many operations."""

    def coarse(rows: Tensor) -> Tensor:
        with coarse_products(operations):
            return product(rows)

    return coarse


def _sample(loss: Loss, theta: Callable[[], Tensor]) -> Loss | None:
    if loss.operations < WORTH or loss.examples < MANY:
        return None
    count = min(round(24 * math.sqrt(loss.examples)), loss.examples // 4)
    return loss.subset(count, at=theta(), generator=torch.Generator().manual_seed(0))
