"""The library's own copy of a module: weights come from θ, buffers are never written, the user's stays as it is."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas.loss.batches import Batch, Batches, describe
from lossatlas.loss.criteria import Forward
from lossatlas.parameters.layout import Layout

Point = Tensor | Mapping[str, Tensor]  # θ, or its named tensors


@dataclass(frozen=True)
class Traits:
    """What a pass through a module does, as its first pass has shown.

    Args:
        writes: names of the buffers that it writes to.
        differentiates: whether it takes derivatives itself, as physics-informed ones do.
        attends: whether it has fused attention.
    """

    writes: tuple[str, ...] = ()
    differentiates: bool = False
    attends: bool = True


class FunctionalModule:
    """A copy of a module in eval mode as a function of θ and a batch, in two ways with the same values.

    `output` is functional: it can be differentiated and vectorised. Within `at(θ)` the copy holds θ itself, for
    modules and moments where a plain call is wanted. Neither leaves a trace on the copy.

    Args:
        module: the copy, which belongs to this object from now on.
        layout: which of its parameters make up θ.
        forward: `forward(module, batch)` -> `(output, target)`.
    """

    def __init__(self, module: nn.Module, layout: Layout, forward: Forward) -> None:
        self.module = module.eval()
        self.layout = layout
        self.forward = forward
        self.traits = Traits()
        self._entry = _Entry(module, forward)
        parameters = dict(module.named_parameters())
        self._parameters = {name: parameters[name] for name in layout.names}
        dtypes = {name: parameter.dtype for name, parameter in self._parameters.items()}
        self.coarsest = max(dtypes.values(), key=lambda dtype: torch.finfo(dtype).eps)
        self._dtypes = dtypes if len(set(dtypes.values())) > 1 else {}  # empty: all are θ's

    def shared_theta(self) -> Tensor:
        """The copy's parameters as θ `(P,)`; they become views of it, to have them in memory once."""
        theta = self.layout.theta_of(self.module)
        if not self._dtypes:
            for name, tensor in self.layout.unflatten(theta).items():
                self._parameters[name].data = tensor
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
        if not (self.traits.attends or self.traits.writes):
            return functional_call(self._entry, tensors, (batch,))
        with differentiable_attention(), self._fresh_buffers():
            return functional_call(self._entry, tensors, (batch,))

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
        with torch.set_grad_enabled(self.traits.differentiates), self._fresh_buffers():
            output_and_target = self.forward(self.module, batch)
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

    def _named(self, theta: Point) -> Mapping[str, Tensor]:
        tensors = self.layout.unflatten(theta) if isinstance(theta, Tensor) else theta
        if not self._dtypes:
            return tensors
        return {name: tensors[name].to(dtype) for name, dtype in self._dtypes.items()}

    @contextmanager
    def _fresh_buffers(self) -> Iterator[None]:
        """Copies of the buffers that the module writes to, put back afterwards."""
        if not self.traits.writes:
            yield
            return
        with self.with_buffers({name: self.module.get_buffer(name).clone() for name in self.traits.writes}):
            yield


class _Entry(nn.Module):
    """`forward=` as a module around the module, so that `functional_call` reaches it."""

    def __init__(self, module: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.module = module
        self._call = forward

    def forward(self, batch: Batch) -> tuple[Any, Any]:
        return self._call(self.module, batch)


def private_copy(module: nn.Module, device: torch.device | str | None) -> nn.Module:
    """A deep copy of `module` in eval mode on `device`, without gradients; ValueError where that cannot be had."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    lazy = [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise ValueError(f"{lazy} have no shape yet: run one batch through the module first")
    places = {tensor.device: name for name, tensor in tensors}
    if torch.device("meta") in places:
        name = places[torch.device("meta")]
        raise ValueError(f"{name} is on the meta device, without values: load the weights first")
    if device is None and len(places) > 1:
        listed = ", ".join(f"{name} on {place}" for place, name in places.items())
        raise ValueError(f"the module lies on several devices ({listed}): wanted one; say which by device=")
    computed = [
        f"{name}.{key}".lstrip(".")
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    if computed:
        raise ValueError(
            f"{type(module).__name__} cannot be copied: {computed} are computed from other tensors and kept (as "
            "torch.nn.utils.weight_norm does): use torch.nn.utils.parametrizations, or detach them"
        )
    try:
        copied = copy.deepcopy(module).eval()
    except Exception as error:
        kind = type(module).__name__
        raise ValueError(f"{kind} cannot be copied ({error}): wanted one that copy.deepcopy takes") from error
    try:
        return copied if device is None else copied.to(device)
    except (AssertionError, RuntimeError) as error:  # torch's ways to say that there is no such device
        raise ValueError(
            f"device is {str(device)!r}, which cannot be had here: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def untouched_randomness(*generators: Any) -> Iterator[None]:
    """Every global stream of random numbers, and those of `generators` that are such, are afterwards as before."""
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        for generator in generators:
            if isinstance(generator, torch.Generator):
                stack.callback(generator.set_state, generator.get_state())
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
