"""What torch cannot differentiate, or not twice, told in one line: the layer, the operation and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas.loss.batches import Batches
from lossatlas.loss.differentiable_operations import NO_CHECKPOINTS
from lossatlas.loss.functional_module import VIEWED_AS_COMPLEX, FunctionalModule, untouched_randomness

NOT_IMPLEMENTED = re.compile(r"derivative for '?(?:aten::)?(\w+)'? is not implemented")

# By the beginning of the operation's name.
REMEDIES = {
    "_scaled_dot_product": "let torch choose the kernel, without torch.nn.attention.sdpa_kernel in forward",
    "_segment_reduce": "take index_add or scatter_reduce, which have a second derivative",
    "_ctc_loss": "take torch.nn.functional.ctc_loss, for which lossatlas has a second derivative",
}
REMEDY = "write it with operations that have a second derivative"

# Nodes of a graph whose second derivative is wrong in torch 2.13, and what can be done. Outside TorchScript the first
# two are replaced before they get there.
WRONG_NODES = {
    "WeightNormInterfaceBackward0": "weight norm inside TorchScript: take the module from before torch.jit",
    "NativeGroupNormBackward0": "group norm inside TorchScript: take the module from before torch.jit",
    "CrossMapLRN2dBackward": "nn.CrossMapLRN2d, whose gradient is not that of its values: take nn.LocalResponseNorm",
}
ONCE = torch.autograd.function.once_differentiable(lambda context: None).__code__  # of every function so decorated


@contextmanager
def explained(functional: FunctionalModule, data: Batches) -> Iterator[None]:
    """A block in which errors of torch's that a derivative is missing become a ValueError with the layer and a remedy.

    Args:
        functional: the loss's own copy of the module.
        data: a batch of it goes through the module once more to find the layer, after such an error.
    """
    try:
        yield
    except RuntimeError as error:
        missing = NOT_IMPLEMENTED.search(str(error))
        if missing:
            operation = missing[1].removesuffix("_backward")
            remedy = next((text for name, text in REMEDIES.items() if operation.startswith(name)), REMEDY)
            place = _place(functional, data, operation)
            raise ValueError(f"{place} has {operation}, of which torch has no second derivative: {remedy}") from error
        if "divisible by 2" in str(error):
            raise ValueError(VIEWED_AS_COMPLEX) from error
        if NO_CHECKPOINTS in str(error):
            raise ValueError(NO_CHECKPOINTS) from error
        if "use_reentrant" in str(error):
            raise ValueError(
                "a checkpoint of torch.utils with use_reentrant=True has no derivative by weights that are handed in: "
                "say use_reentrant=False"
            ) from error
        raise


def check_graph(value: Tensor) -> None:
    """Raise ValueError where second derivatives through the graph of `value` would be wrong without an error."""
    for node in nodes_of(value):
        if node.name() in WRONG_NODES:
            raise ValueError(f"torch's second derivative is wrong for {WRONG_NODES[node.name()]}")
        function = getattr(node, "_forward_cls", None)
        if function is not None and getattr(function.backward, "__code__", None) is ONCE:
            raise ValueError(
                f"{function.__name__}, an autograd.Function, is marked once_differentiable, so that its second "
                "derivative would be left out: write its backward with operations of torch and without the mark"
            )


def nodes_of(value: Tensor) -> Iterator[Any]:
    """Every node of the autograd graph of `value`."""
    seen, pending = set(), [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(following for following, _ in node.next_functions)
            yield node


def _place(functional: FunctionalModule, data: Batches, operation: str) -> str:
    """The layers that do an operation, or else the criterion, for a message."""
    layers = _Layers(operation)
    with untouched_randomness(), layers.followed(functional.module), layers:
        functional.call(data.largest())
    parts = dict(functional.module.named_modules())
    named = [f"{name!r} ({type(parts[name]).__name__})" if name else "the module itself" for name in layers.names]
    if not named:
        return "the criterion"
    return named[0] if not named[1:] else ", ".join(named[:3]) + (f" and {len(named) - 3} more" if named[3:] else "")


class _Layers(TorchDispatchMode):
    """Collects the names of the layers that do an operation inside the block."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self._operation, self._entered = operation, [""]
        self.names: list[str] = []

    @contextmanager
    def followed(self, module: nn.Module) -> Iterator[None]:
        """While it lasts, the mode knows which part of `module` is passed through."""
        with ExitStack() as stack:
            for name, part in module.named_modules():
                for handle in (
                    part.register_forward_pre_hook(self._enter(name)),
                    part.register_forward_hook(self._leave, always_call=True),
                ):
                    stack.callback(handle.remove)
            yield

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self._entered.append(name)

    def _leave(self, *_: Any) -> None:
        self._entered.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        done, wanted = func._schema.name.removeprefix("aten::").lstrip("_"), self._operation.lstrip("_")
        if (done.startswith(wanted) or wanted.startswith(done)) and self._entered[-1] not in self.names:
            self.names.append(self._entered[-1])
        return func(*args, **(kwargs or {}))
