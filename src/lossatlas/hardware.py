"""What a device can do, and what fits on it: every budget of the library, in one place.

A size is in bytes unless its name says otherwise. It changes how much is in memory together and how long that takes;
where it changes a number by more than the rounding of sums, it says so. docs/design/evaluation.md has the measurements;
they are of CPUs. What holds for CUDA and MPS was set without one, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Points and batches of a loss -----------------------------------------------------------------------------------

# Of the largest activation in one chunk of points, on a CPU. With more the activations fall out of its cache and a
# point costs more; with less calling the operations costs more than doing them. Of 0.5 to 16 MiB, 4 was the best for
# 2x100 and 8 for 4x250.
CHUNK_BYTES = 4 * 2**20

# The same on CUDA, which wants large kernels. Not measured. MPS has the CPU's, not measured either.
GPU_CHUNK_BYTES = 256 * 2**20

# Points in a chunk on a CPU, below which they are evaluated sooner one by one than by `vmap` (measured: 1x50, 2x100).
LOOP_BELOW = 32

# The same on CUDA: everything that is more than one point. Not measured.
GPU_LOOP_BELOW = 2

# Points in a chunk that is evaluated one by one. With more nothing is gained, since a chunk's own cost is then nothing
# beside theirs (2x100: 0.207 ms a point with 10, 0.192 ms with 64); with more there are more copies of θ in memory.
LOOPED_POINTS = 64

# Of the largest activation of a batch on a CPU; larger batches are cut to it. With more it falls out of the cache
# (4x250 on 20,480 examples: 51 ms at once, 27 ms cut).
MICROBATCH_BYTES = 2 * 2**20

# Examples that a batch is cut to at least. With fewer calling the operations costs more than the cache saves.
MICROBATCH_ROWS = 512

# Floating-point operations of a microbatch, with which it may have fewer examples than that: calling the operations
# then costs nothing beside doing them. Set by hand, from a ResNet-18 on images of 32x32.
MICROBATCH_OPERATIONS = 10**10

# Floating-point operations of an evaluation, below which a sample of the examples saves no time: calling the operations
# then costs more than doing them. It decides which surfaces are filled from a sample, within the error they state.
SAMPLED_OPERATIONS = 10**8


def chunk_bytes(device: torch.device) -> int:
    """Bytes that the largest activation of the points evaluated together may take."""
    return GPU_CHUNK_BYTES if device.type == "cuda" else CHUNK_BYTES


def vectorization_pays(points: int, device: torch.device) -> bool:
    """Whether so many points are evaluated sooner together than one by one."""
    return points >= (GPU_LOOP_BELOW if device.type == "cuda" else LOOP_BELOW)


def microbatches_pay(device: torch.device) -> bool:
    """Whether large batches are cut to stay in a cache: on a CPU. Nobody measured it elsewhere."""
    return device.type == "cpu"


# Derivatives and directions -------------------------------------------------------------------------------------

# Of the graphs of the gradient that are kept between products, on every device. With less they are built anew for every
# product, which takes longer; with more a large model runs out of memory. Set by hand, not measured.
KEPT_GRAPH_BYTES = 2**30

# Of gradients of single examples that are computed together, on every device. With more they fall out of the cache,
# with less calling the operations costs more than doing them (2x100 on one core: 49 ms with 4 MiB, 38 ms with 16).
EXAMPLE_GRADIENT_BYTES = 2**24

# Of directions in float64 that are drawn once and kept: 100 of 330,000 parameters. Above it each has a random stream of
# its own and is drawn again when it is asked for: other directions, and one at a time in memory.
KEPT_DIRECTION_BYTES = 2**28

# Parameters of θ that are in float64 at once, 32 MiB, where sums over all of θ are taken. With more there is another
# copy of a large θ in memory; the order of the sums, and so their last bits, depend on it.
FLOAT64_PARAMETERS = 2**22


def rows_at_once(points: int, device: torch.device) -> int:
    """Rows that go through a kept graph together, where so many points are evaluated together.

    On CUDA and MPS as many rows as points: not measured. On a CPU a row costs less in company only where calling an
    operation costs more than doing it, below about 64 KiB an activation, and from four rows up.
    """
    if device.type != "cpu":
        return points
    few = points // 16
    return few if few >= 4 else 1


# Precision ------------------------------------------------------------------------------------------------------

# Floating-point operations, below which converting to bfloat16 costs more than it saves (one processor with AMX).
BFLOAT16_WORTH = 15 * 10**7

# The same, from which on bfloat16 alone makes a good stand-in for the loss, without a sample of the examples.
BFLOAT16_ENOUGH = 4 * 10**9


def supports_float64(device: torch.device) -> bool:
    """Whether the device computes in float64: MPS does not."""
    return device.type != "mps"


def takes_bfloat16(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `coarse_products` makes products of such matrices cheaper."""
    return has_bfloat16() and dtype is torch.float32 and device.type == "cpu"


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

    Args:
        operations: floating-point ones of the block; below `BFLOAT16_WORTH` products stay as they are.
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


# Workers --------------------------------------------------------------------------------------------------------


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# For numerics ---------------------------------------------------------------------------------------------------

# Bytes of the basis of a search for eigenvalues before it restarts: 16,000 rows of 2x100, 64 of 4 million parameters in
# float64. Set by hand: with less, searches of large networks restart earlier and take more products; with more they run
# out of memory. Restarts change the last digits of eigenvalues.
LANCZOS_BASIS_BYTES = 2**31

# Bytes, in float64, of the bases of the draws of a spectral density that advance together: 10 draws of 80 steps of
# 80,000 parameters. Set by hand: with less, draws advance in more groups, whose products are less efficient. Each group
# holds its basis alone.
QUADRATURE_BASIS_BYTES = 2**29

# Bytes, in float64, of the random vectors that a trace multiplies together, 8 million entries. Set by hand: with less,
# products are done with fewer rows each; with more, large vectors take more memory than the loss.
TRACE_VECTOR_BYTES = 2**26

# Bytes of a vector in float64 at once while an inner product is summed, 4 million entries. With less, more operations
# are called; with more there is another copy of a large vector in memory. The order of a sum, and so its last bits,
# depend on it.
INNER_PRODUCT_BYTES = 2**25
