"""The library's own copy of a module: weights come from θ, buffers are never written, the user's stays as it is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas import hardware
from lossatlas.loss.batches import Batch, Batches, describe, fresh
from lossatlas.loss.captured import containers_unchanged
from lossatlas.loss.criteria import Forward
from lossatlas.loss.differentiable_operations import NO_CHECKPOINTS, DifferentiableOperations
from lossatlas.loss.private_copy import Attributes, hook_functions
from lossatlas.parameters.layout import Layout

Point = Tensor | Mapping[str, Tensor]  # θ, or its named tensors

VIEWED_AS_COMPLEX = (
    "torch.view_as_complex wants its numbers at an even place in memory, which a part of θ need not have: write "
    "torch.complex(w[..., 0], w[..., 1])"
)


@dataclass(frozen=True)
class Traits:
    """What a pass through a module does, as its first pass has shown.

    Args:
        writes: names of the buffers that it writes to.
        differentiates: whether it takes derivatives itself, as physics-informed ones do.
        attends: whether it has fused attention.
        keeps: whether it keeps something on itself, such as its last activations.
        overwrites: whether it, or the criterion, writes to its batch.
        hooked: whether forward hooks have a part in its values.
        replaces: whether it has operations that `differentiable_operations` replaces.
        outside: sizes of trainable tensors that are no part of it and that it, or the criterion, reads, by address.
    """

    writes: tuple[str, ...] = ()
    differentiates: bool = False
    attends: bool = True
    keeps: bool = False
    overwrites: bool = False
    hooked: bool = False
    replaces: bool = True
    outside: Mapping[int, int] = field(default_factory=dict)

    @property
    def unstackable(self) -> str:
        """Why a pass cannot be vectorised; empty where nothing speaks against it."""
        if self.writes:
            return f"its forward writes to its buffers {list(self.writes)}"
        if self.differentiates:
            return "it takes derivatives itself"
        return "its forward hooks may keep what they see" if self.hooked else ""


class FunctionalModule:
    """A copy of a module in eval mode as a function of θ and a batch, in two ways with the same values.

    `output` is functional: it can be differentiated and vectorised. Within `at(θ)` the copy holds θ itself, for
    modules and moments where a plain call is wanted. Neither leaves a trace on the copy.

    Args:
        module: the copy, which belongs to this object from now on.
        layout: which of its parameters make up θ.
        forward: `forward(module, batch)` -> `(output, target)`.
        converted: the precision that the module was converted to, in which its forward is to make new tensors as well;
            None: it is as it came.
    """

    def __init__(
        self, module: nn.Module, layout: Layout, forward: Forward, *, converted: torch.dtype | None = None
    ) -> None:
        self.module = module
        self.layout = layout
        self.forward = forward
        self.traits = Traits()
        self._shared: Tensor | None = None
        self._converted = converted
        self._entry = _Entry(module, forward)
        parameters = dict(module.named_parameters())
        self._parameters = {name: parameters[name] for name in layout.names}
        dtypes = {name: parameter.dtype for name, parameter in self._parameters.items()}
        self.coarsest = max(dtypes.values(), key=lambda dtype: torch.finfo(dtype).eps)
        self._dtypes = dtypes if len(set(dtypes.values())) > 1 else {}  # empty: all are θ's

    def shared_theta(self) -> Tensor:
        """The copy's parameters as θ `(P,)`; they become views of it, to have them in memory once."""
        if self._shared is None:
            self._shared = self.layout.theta_of(self.module)
            if not self._dtypes:
                for name, tensor in self.layout.unflatten(self._shared).items():
                    self._parameters[name].data = tensor
        return self._shared

    @torch.no_grad()
    def elsewhere(self, distance: float = 1.0) -> Tensor:
        """θ `(P,)` beside the weights that the copy holds: every entry moved at random, always by the same draw.

        Args:
            distance: of the move, relative to the root mean square of the weights, or to 0.1 where that is larger.
        """
        theta = self.layout.theta_of(self.module)
        scale = distance * (theta.norm() / len(theta) ** 0.5).clamp_min(0.1)
        generator = torch.Generator().manual_seed(0)
        for part in theta.split(hardware.FLOAT64_PARAMETERS):  # not a second θ in memory
            part.add_(torch.randn(len(part), generator=generator).to(part).mul_(scale))
        return theta

    @torch.no_grad()
    def targets(self, batches: Batches) -> list[Any]:
        """The target of each of the `batches` as `forward` gives it: a pass over the data."""
        return [self.call(batch)[1] for batch in batches]

    def output(self, theta: Point, batch: Batch, statistics: Mapping[str, Tensor]) -> tuple[Any, Any]:
        """Output and target at θ, differentiable twice.

        Args:
            theta: θ `(P,)`, or its tensors by name.
            batch: of the data.
            statistics: buffers by name, which replace the module's.
        """
        tensors = {f"module.{name}": tensor for name, tensor in self._named(theta).items()}
        tensors |= {
            f"module.{name}": tensor.clone() if name in self.traits.writes else tensor
            for name, tensor in statistics.items()
        }
        traits = self.traits
        with self._undisturbed(batch) as given, _told_of_complex():
            if not (traits.attends or traits.replaces):
                return functional_call(self._entry, tensors, (given,))
            with self.differentiable():
                return functional_call(self._entry, tensors, (given,))

    @contextmanager
    def at(self, theta: Tensor) -> Iterator[None]:
        """While it lasts, the copy's parameters are views of `theta` `(P,)`."""
        with self.at_each(theta[None]) as rows:
            next(rows)
            yield

    @contextmanager
    def at_each(self, stack: Tensor) -> Iterator[Iterator[Tensor]]:
        """The rows of a `stack` `(m, P)`; the copy's parameters are views of the one that was given last."""
        parameters = list(self._parameters.values())
        held = [parameter.data for parameter in parameters]

        def rows() -> Iterator[Tensor]:
            columns = [tensor.unbind() for tensor in self._named(stack.detach()).values()]
            for theta, *tensors in zip(stack, *columns, strict=True):
                for parameter, tensor in zip(parameters, tensors, strict=True):
                    parameter.data = tensor
                yield theta

        try:
            yield rows()
        finally:
            for parameter, tensor in zip(parameters, held, strict=True):
                parameter.data = tensor

    def call(self, batch: Batch) -> tuple[Any, Any]:
        """Output and target of a `batch` with the parameters that the copy holds; ValueError where `forward` gives
        no pair.
        """
        with torch.set_grad_enabled(self.traits.differentiates), self._undisturbed(batch) as given, _told_of_complex():
            output_and_target = self.forward(self.module, given)
        if not isinstance(output_and_target, tuple) or len(output_and_target) != 2:
            raise ValueError(f"forward= gives {describe(output_and_target)}: wanted (output, target)")
        return output_and_target

    @contextmanager
    def with_buffers(self, statistics: Mapping[str, Tensor]) -> Iterator[None]:
        """While it lasts, buffers with the names of `statistics` are these tensors."""
        held = {}
        try:
            for name, tensor in statistics.items():
                owner, _, leaf = name.rpartition(".")
                part = self.module.get_submodule(owner)
                held[name] = part._buffers, leaf, part._buffers[leaf]
                part._buffers[leaf] = tensor
            yield
        finally:
            for buffers, leaf, tensor in held.values():
                buffers[leaf] = tensor

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        """While it lasts, operations with a second derivative stand in place of those of the module that have none."""
        with ExitStack() as stack:
            if self.traits.attends:
                stack.enter_context(differentiable_attention())
            if self.traits.replaces:
                stack.enter_context(DifferentiableOperations())
                stack.enter_context(disable_saved_tensors_hooks(NO_CHECKPOINTS))
            yield

    def _named(self, theta: Point) -> Mapping[str, Tensor]:
        tensors = self.layout.unflatten(theta) if isinstance(theta, Tensor) else theta
        if not self._dtypes:
            return tensors
        return {name: tensors[name].to(dtype) for name, dtype in self._dtypes.items()}

    @contextmanager
    def _undisturbed(self, batch: Batch) -> Iterator[Batch]:
        """The batch for a pass that leaves no trace: on buffers, on what the module keeps, on the batch."""
        traits = self.traits
        if not (traits.writes or traits.keeps or traits.overwrites or traits.hooked or self._converted):
            yield batch
            return
        kept_by_hooks = containers_unchanged(hook_functions(self.module)) if traits.hooked else nullcontext()
        attributes = Attributes(self.module) if traits.keeps else None
        before = torch.get_default_dtype()
        try:
            if self._converted is not None:
                torch.set_default_dtype(self._converted)
            buffers = {name: self.module.get_buffer(name).clone() for name in traits.writes}
            with self.with_buffers(buffers), kept_by_hooks:
                yield fresh(batch) if traits.overwrites else batch
        finally:
            torch.set_default_dtype(before)
            if attributes is not None:
                attributes.put_back()


@contextmanager
def _told_of_complex() -> Iterator[None]:
    """A block in which torch's error about numbers at an odd place in memory says what to write instead."""
    try:
        yield
    except RuntimeError as error:
        if "divisible by 2" in str(error):
            raise ValueError(VIEWED_AS_COMPLEX) from error
        raise


class _Entry(nn.Module):
    """`forward=` as a module around the module, so that `functional_call` reaches it."""

    def __init__(self, module: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.module = module
        self._call = forward

    def forward(self, batch: Batch) -> tuple[Any, Any]:
        return self._call(self.module, batch)


@contextmanager
def untouched_randomness(*generators: Any) -> Iterator[None]:
    """Every global stream of random numbers, and those of `generators` that are such, are afterwards as before."""
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        for generator in generators:
            if hasattr(generator, "get_state"):  # torch's, and the older kind of numpy's
                stack.callback(generator.set_state, generator.get_state())
            elif isinstance(generator, np.random.Generator):
                stack.callback(setattr, generator.bit_generator, "state", generator.bit_generator.state)
        yield


@contextmanager
def plain_transformer() -> Iterator[None]:
    """nn.TransformerEncoder without its inference path, which drops padded positions and has no derivative.

    Evaluations and gradients are then of one and the same function.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Attention by matrix products: the fused kernels have no second derivative and no vectorisation."""
    with plain_transformer(), sdpa_kernel(SDPBackend.MATH):
        yield


def written(module: nn.Module, before: Iterable[tuple[str, Tensor, int]]) -> tuple[str, ...]:
    """Names of the buffers of `module` that were written to or replaced since `before`, which `versions(module)`
    gave.
    """
    now = dict(module.named_buffers())
    return tuple(name for name, tensor, version in before if now.get(name) is not tensor or tensor._version != version)


def versions(module: nn.Module) -> list[tuple[str, Tensor, int]]:
    """Every buffer of `module` with the count of its in-place changes."""
    return [(name, tensor, tensor._version) for name, tensor in module.named_buffers()]
