"""The first pass through a new loss: does a batch go through, is it a function, and how much memory does it take?"""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lossatlas.loss.batches import Batch, describe, first_rows, tensors_of
from lossatlas.loss.criteria import Measure, name_of
from lossatlas.loss.functional_module import ModuleState, plain_transformer, untouched_randomness, versions, written
from lossatlas.parameters.layout import Layout

SOME_ROWS = 4096  # of a large batch are enough to see what kind of function it goes through


@dataclass(frozen=True)
class Cost:
    """What a pass of one batch at one point takes."""

    bytes: int  # of the largest activation
    operations: int  # floating-point ones, of matrix products and convolutions

    def times(self, share: float) -> Cost:
        return Cost(math.ceil(self.bytes * share), math.ceil(self.operations * share))


@torch.no_grad()
def first_pass(state: ModuleState, batch: Batch, measure: Measure) -> Cost:
    """What a pass costs; `state` knows afterwards what a pass does to its buffers.

    A forward pass of the batch and one more, of a large batch two more of a part, with the module's own weights.

    Raises ValueError when the batch does not go through, gives no scalar, or not the same one twice.
    """
    fresh = {name: tensor.clone() for name, tensor in state.module.named_buffers()}
    with untouched_randomness(), plain_transformer(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")  # it would broadcast, to a wrong loss
        try:
            with state.with_buffers(fresh):
                before = versions(state.module)
                first, seen = _watched(state, batch, measure)
                state.traits = replace(state.traits, writes=written(state.module, before), attends=seen.attention)
        except Exception as error:
            raise ValueError(
                f"a batch, {describe(batch)}, does not go through {type(state.module).__name__} and "
                f"{name_of(measure.criterion)}: {error}"
            ) from error
        some = first_rows(batch, SOME_ROWS)
        if some is not batch:
            try:
                first = measure(*state.call(some))
            except Exception:  # a module or criterion that takes its batches as they are
                some = batch
        second = measure(*state.call(some))
        if not _agree(first, second, state):
            raise ValueError(
                f"{type(state.module).__name__} gives {float(first[0]):.6g} and then {float(second[0]):.6g} for the "
                f"same batch and weights{_noisy(state, some)}: a landscape wants a function of θ; switch off what is "
                "random in eval mode (F.dropout with training=True?)"
            )
    return Cost(seen.bytes, seen.operations)


def _watched(state: ModuleState, batch: Batch, measure: Measure) -> tuple[Tensor, _Watch]:
    """Values and what was seen; with gradients on where the module takes derivatives itself."""
    try:
        with _Watch() as seen:
            values = measure(*state.call(batch))
        return values, seen
    except RuntimeError as error:
        if state.traits.differentiates or "does not require grad" not in str(error):
            raise
        state.traits = replace(state.traits, differentiates=True)
        return _watched(state, batch, measure)


def warn_of_numbers(layout: Layout, theta: Tensor, coarsest: torch.dtype) -> None:
    """Say so when the module's own numbers limit what can be measured."""
    broken = [name for name, tensor in layout.unflatten(theta).items() if not torch.isfinite(tensor).all()]
    if broken:
        warnings.warn(
            f"the module's weights {broken[:5]} are not finite: the loss is NaN wherever they are kept", stacklevel=3
        )
    precision = torch.finfo(coarsest)
    if precision.bits < 32:
        warnings.warn(
            f"there are parameters in {precision.dtype}: differences of the loss below about {precision.eps:.1g} of "
            "its value are noise; loss.to(torch.float32) resolves more",
            stacklevel=3,
        )


def _agree(first: Tensor, second: Tensor, state: ModuleState) -> bool:
    """Equal up to the order of sums, which some kernels do not keep."""
    tolerance = min(max(10 * torch.finfo(state.coarsest).eps, 1e-12), 1e-2)
    return torch.allclose(first[:1], second[:1], rtol=tolerance, atol=tolerance, equal_nan=True)


def _noisy(state: ModuleState, batch: Batch) -> str:
    """The first part of the module whose output differs between two passes, as a half-sentence."""
    names = {part: name for name, part in state.module.named_modules() if name}
    passes: list[list[tuple[str, list[Tensor]]]] = []

    def record(part: nn.Module, _: Any, output: Any) -> None:
        passes[-1].append((names[part], tensors_of(output)))

    handles = [part.register_forward_hook(record) for part in names]
    try:
        for _ in range(2):
            passes.append([])
            state.call(batch)
    finally:
        for handle in handles:
            handle.remove()
    for (name, first), (_, second) in zip(*passes, strict=False):
        if any(not torch.equal(a, b) for a, b in zip(first, second, strict=False)):
            return f", from {name!r} on"
    return ""


class _Watch(TorchDispatchMode):
    """Sees every operation inside the block: the largest tensor made, the work, and whether attention is fused."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0
        self.attention = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.attention |= "scaled_dot_product" in str(func)
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        with suppress(Exception):  # a formula that does not know such shapes is no fault of the module's
            self.operations += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor) and not func.is_view:  # a transposed weight is no activation
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return out
