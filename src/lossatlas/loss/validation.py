"""Is what `Loss.of` is given of use? Its kinds and names, and a dry run: what a pass does and what it takes."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lossatlas.loss.batches import Batch, describe, first_rows, tensors_of
from lossatlas.loss.criteria import Measure, name_of
from lossatlas.loss.functional_module import (
    FunctionalModule,
    plain_transformer,
    untouched_randomness,
    versions,
    written,
)
from lossatlas.parameters.layout import Layout

# Examples of a large batch that are enough to see what kind of function it goes through. With fewer a criterion that is
# 0 on them tells nothing; with more the dry run takes longer.
PROBED_ROWS = 4096

# Names of variables and dimensions in results: no metric may have one of them.
RESERVED_NAMES = ("loss", "penalty", "objective", "split", "alpha", "beta", "draw", "weight_decay", "measured")

METRIC_NAME = re.compile(r"\w([ -.0-~]*[!-.0-~])?", re.ASCII)  # of a netCDF variable


def check_kinds(module: Any, criterion: Any, metrics: Any) -> None:
    """Say what is no module, no criterion or no metrics, which would fail later and less clearly.

    Args:
        module, criterion, metrics: what `Loss.of` was given.

    Raises:
        ValueError: what came, and what was wanted.
    """
    check_recording()
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"the module is {kind}: wanted an nn.Module, with its weights loaded")
    for name, function in {"the criterion": criterion, **(metrics if isinstance(metrics, Mapping) else {})}.items():
        if isinstance(function, type):
            raise ValueError(f"{name} is the class {function.__name__}: wanted an instance, {function.__name__}()")
        if function is not None and not callable(function):
            raise ValueError(f"{name} is a {type(function).__name__}: wanted a function of output and target")
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ValueError(
            f'metrics is a {type(metrics).__name__}: wanted functions by name, {{"accuracy": lossatlas.accuracy}}'
        )
    errors = {f"{name}_error" for name in (*RESERVED_NAMES, *(metrics or ()))}  # beside a quantity that splines fill
    unavailable = [name for name in metrics or () if name in RESERVED_NAMES or name in errors]
    if unavailable:
        raise ValueError(
            f"a metric is called {unavailable[0]!r}: wanted another name than {', '.join(RESERVED_NAMES)}, and none "
            'that is another\'s with "_error" added'
        )
    malformed = [name for name in metrics or () if not (isinstance(name, str) and METRIC_NAME.fullmatch(name))]
    if malformed:
        raise ValueError(
            f"a metric is called {malformed[0]!r}: wanted ASCII letters, digits and signs but no slash, a letter, a "
            "digit or an underscore first, as files of results take them"
        )


def check_recording() -> None:
    """Raise ValueError where torch records nothing, whatever is asked for."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "inside torch.inference_mode() nothing can be differentiated: leave it, or use torch.no_grad()"
        )


@dataclass(frozen=True)
class PassCost:
    """What a pass of one batch at one point takes.

    Args:
        bytes: of the largest activation.
        operations: floating-point ones, of matrix products and convolutions.
    """

    bytes: int
    operations: int

    def times(self, share: float) -> PassCost:
        """That of a `share` of the examples."""
        return PassCost(math.ceil(self.bytes * share), math.ceil(self.operations * share))


@torch.no_grad()
def dry_run(functional: FunctionalModule, batch: Batch, measure: Measure) -> PassCost:
    """What a pass costs; `functional` knows afterwards what a pass does to its buffers.

    A forward pass of the batch and one more, of a large batch two more of a part, with the module's own weights.

    Args:
        functional: the loss's own copy of the module.
        batch: the largest one.
        measure: the criterion and the metrics.

    Raises:
        ValueError: the batch does not go through, gives no scalar, or not the same one twice.
    """
    fresh = {name: tensor.clone() for name, tensor in functional.module.named_buffers()}
    with untouched_randomness(), plain_transformer(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")  # it would broadcast, to a wrong loss
        try:
            with functional.with_buffers(fresh):
                before = versions(functional.module)
                first, counter = _counted_pass(functional, batch, measure)
                writes = written(functional.module, before)
                functional.traits = replace(functional.traits, writes=writes, attends=counter.attention)
        except Exception as error:
            raise ValueError(
                f"a batch, {describe(batch)}, does not go through {type(functional.module).__name__} and "
                f"{name_of(measure.criterion)}: {error}"
            ) from error
        part = first_rows(batch, PROBED_ROWS)
        if part is not batch:
            try:
                first = measure(*functional.call(part))
            except Exception:  # a module or criterion that takes its batches as they are
                part = batch
        second = measure(*functional.call(part))
        if not _equal_to_rounding(first, second, functional):
            name, source = type(functional.module).__name__, _source_of_noise(functional, part)
            raise ValueError(
                f"{name} gives {float(first[0]):.6g} and then {float(second[0]):.6g} for the same batch and weights"
                f"{source}: a landscape wants a function of θ; switch off what is random in eval mode (F.dropout with "
                "training=True?)"
            )
    return PassCost(counter.bytes, counter.operations)


def _counted_pass(functional: FunctionalModule, batch: Batch, measure: Measure) -> tuple[Tensor, _OperationCounter]:
    """Values and what was counted; with gradients on where the module takes derivatives itself."""
    try:
        with _OperationCounter() as counter:
            values = measure(*functional.call(batch))
        return values, counter
    except RuntimeError as error:
        if functional.traits.differentiates or "does not require grad" not in str(error):
            raise
        functional.traits = replace(functional.traits, differentiates=True)
        return _counted_pass(functional, batch, measure)


def warn_of_numbers(layout: Layout, theta: Tensor, coarsest: torch.dtype) -> None:
    """Say so, to the caller of `Loss.of`, when the module's own numbers limit what can be measured.

    Args:
        layout: where the tensors lie in θ.
        theta: θ `(P,)`.
        coarsest: of the parameters' types.
    """
    broken = [name for name, tensor in layout.unflatten(theta).items() if not torch.isfinite(tensor).all()]
    if broken:
        warnings.warn(
            f"the module's weights {broken[:5]} are not finite: the loss is NaN wherever they are kept", stacklevel=4
        )
    precision = torch.finfo(coarsest)
    if precision.bits < 32:
        warnings.warn(
            f"there are parameters in {precision.dtype}: differences of the loss below about {precision.eps:.1g} of "
            "its value are noise; loss.to(torch.float32) resolves more",
            stacklevel=4,
        )


def _equal_to_rounding(first: Tensor, second: Tensor, functional: FunctionalModule) -> bool:
    """Equal up to the order of sums, which some kernels do not keep."""
    tolerance = min(max(10 * torch.finfo(functional.coarsest).eps, 1e-12), 1e-2)
    return torch.allclose(first[:1], second[:1], rtol=tolerance, atol=tolerance, equal_nan=True)


def _source_of_noise(functional: FunctionalModule, batch: Batch) -> str:
    """The first part of the module whose output differs between two passes, as a half-sentence."""
    names = {part: name for name, part in functional.module.named_modules() if name}
    passes: list[list[tuple[str, list[Tensor]]]] = []

    def record(part: nn.Module, _: Any, output: Any) -> None:
        passes[-1].append((names[part], tensors_of(output)))

    handles = [part.register_forward_hook(record) for part in names]
    try:
        for _ in range(2):
            passes.append([])
            functional.call(batch)
    finally:
        for handle in handles:
            handle.remove()
    for (name, first), (_, second) in zip(*passes, strict=False):
        if any(not torch.equal(a, b) for a, b in zip(first, second, strict=False)):
            return f", from {name!r} on"
    return ""


class _OperationCounter(TorchDispatchMode):
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
