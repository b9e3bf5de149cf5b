"""What this machine can do and what fits on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

BFLOAT16_WORTH = 15 * 10**7  # as many, below which converting to bfloat16 costs more than it saves


BFLOAT16_ENOUGH = 4 * 10**9  # as many, from which bfloat16 alone makes a good stand-in


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


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
