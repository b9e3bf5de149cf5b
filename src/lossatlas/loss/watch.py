"""Seeing every operation of a pass: what it costs, and which memory it reads and writes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Watch(TorchDispatchMode):
    """Sees every operation inside the block.

    `bytes` of the largest tensor made, `operations` of matrix products and convolutions, whether `attention` is fused,
    the addresses of memory that is `read` (or looked at by a view, which may go on to numpy), `written` and `made`, and
    of `trainable` leaves with their sizes; a type to which something more precise was `narrowed`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0
        self.attention = False
        self.read: set[int] = set()  # addresses of storages
        self.written: set[int] = set()
        self.made: set[int] = set()
        self.narrowed = ""  # a type that something more precise was cast to
        self.trainable: dict[int, int] = {}  # sizes of leaves that ask for a gradient, by address

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.attention |= "scaled_dot_product" in str(func)
        self._look_at(func, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and _narrows(args[0], out):
            self.narrowed = str(out.dtype).removeprefix("torch.")
        count = flop_registry.get(func._overloadpacket)
        with suppress(Exception):  # a formula that does not know such shapes is no fault of the module's
            self.operations += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor) and not func.is_view:  # a transposed weight is no activation
                self.made.add(storage(value))
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return out

    def _look_at(self, func: Any, args: Any, kwargs: Any) -> None:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self.read.add(storage(tensor))
                if not func.is_view and tensor.requires_grad and tensor.is_leaf:
                    self.trainable[storage(tensor)] = tensor.numel()
        arguments = func._schema.arguments
        given = [
            *zip(arguments, args, strict=False),
            *((one, kwargs[one.name]) for one in arguments if one.name in kwargs),
        ]
        for argument, value in given:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.written.update(storage(one) for one in tree_leaves(value) if isinstance(one, Tensor))


def _narrows(before: Tensor, after: Tensor) -> bool:
    floating = before.is_floating_point() and after.is_floating_point()
    return floating and torch.finfo(after.dtype).eps > torch.finfo(before.dtype).eps


def storage(tensor: Tensor) -> int:
    """The address of the memory that a `tensor`, or a view of it, lies in; 0 where it has none."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # torch has none for sparse tensors and those inside vmap
        return 0
