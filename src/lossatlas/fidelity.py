"""Cheaper functions close to a loss: some of its examples, and products in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lossatlas.krylov import Product
from lossatlas.loss import Loss

MANY = 4096  # examples, from which a sample is smooth enough to be a good stand-in
WORTH = 10**8  # floating-point operations of an evaluation, below which calling them costs more than doing them
BFLOAT16_WORTH = 15 * 10**7  # as many, below which converting to bfloat16 costs more than it saves
BFLOAT16_ENOUGH = 4 * 10**9  # as many, from which bfloat16 alone makes a good stand-in


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


def has_bfloat16() -> bool:
    """Whether the processor has AMX, which does products in bfloat16, and torch a way to ask for them.

    With AVX-512's own instructions for bfloat16 products came out as in float32, and not faster.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in older versions
    return bool(capabilities.get("amx_bf16")) and product_settings() is not None


def product_settings() -> Any:
    """Where torch, from 2.9 on, keeps the precision of products on the CPU; None before."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@contextmanager
def coarse_products(operations: float) -> Iterator[None]:
    """Products of float32 matrices on the CPU from bfloat16 factors, where there are so many that it pays.

    Sums stay in float32: a factor loses 16 of 24 bits, a loss some thousandths.
    """
    if operations < BFLOAT16_WORTH or not has_bfloat16():
        yield
        return
    settings = product_settings()
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


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
