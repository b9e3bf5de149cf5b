"""A computation on tensors that stay where they are: recorded once, its memory allotted once, then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

Step = Callable[[], object]
_aten = torch.ops.aten


class Replay:
    """What `function(*inputs)` computes, written into `outputs` anew at every call, from what the inputs then hold.

    The function is run once, and the tensor operations that it comes to are kept. Nothing moves, so every view is
    made once; an operation writes where its result lay the first time, one on single elements where its operand lies
    that nobody reads any more, and the function's results go straight into `outputs`. A call costs the kernels and a
    Python call for each: no `vmap`, no autograd, no views, no allocation.

    The operations must be the same whatever the inputs hold, write to nothing, and draw no random numbers.

    >>> x, y = torch.ones(2, 2), torch.empty(2, 2)
    >>> add_transposed = Replay(lambda a: [a + a.T], [x], [y])
    >>> x[0, 1] = 5.0
    >>> add_transposed()
    >>> y
    tensor([[2., 6.],
            [6., 2.]])
    """

    @torch.no_grad()
    def __init__(
        self, function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        with _Recording() as recording:
            results = function(*inputs)
        self._steps = _steps(recording.calls, list(results), outputs)

    @torch.no_grad()
    def __call__(self) -> None:
        for step in self._steps:
            step()


@dataclass(frozen=True)
class _Call:
    """An operation as it was recorded; its tensors are alive, so that they can be told apart by their ids."""

    operation: OpOverload
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    result: Any

    @cached_property
    def read(self) -> list[Tensor]:
        return _tensors((self.arguments, self.named))

    @cached_property
    def made(self) -> list[Tensor]:
        """The results that are no views of what was read."""
        read = {_memory(tensor) for tensor in self.read}
        return [tensor for tensor in _tensors(self.result) if _memory(tensor) not in read]


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _aten.mul.Scalar and args[1] == 1:  # a factor of `addmm`, which `vmap` takes apart
            func, args = _aten.alias.default, args[:1]
        elif func is _aten.relu.default:  # which has no kernel that writes where it is told to
            func, args = _aten.clamp_min.default, (*args, 0)
        if func._schema.is_mutable:
            raise ValueError(f"{func} writes to its argument: only functions that write to nothing can be replayed")
        result = func(*args, **(kwargs or {}))
        self.calls.append(_Call(func, args, kwargs or {}, result))
        return result


def _steps(calls: list[_Call], results: list[Tensor], outputs: Sequence[Tensor]) -> list[Step]:
    """Calls that write where the recorded ones wrote, or to a better place."""
    last_read = {_memory(tensor): number for number, call in enumerate(calls) for tensor in call.read}
    last_read |= {_memory(result): len(calls) for result in results}
    made = {_memory(tensor): tensor for call in calls for tensor in call.made}
    given = _given(made, results, outputs)
    places: dict[int, Tensor] = {}  # by the id of the recorded tensor

    def placed(value: Any) -> Any:
        return tree_map_only(Tensor, lambda tensor: places.get(id(tensor), tensor), value)

    def free(call: _Call, number: int) -> Tensor | None:
        """The place of an operand that is read for the last time by an operation on single elements."""
        if torch.Tag.pointwise not in call.operation.tags:
            return None
        memories = [_memory(tensor) for tensor in call.read]
        for operand, memory in zip(call.read, memories, strict=True):
            whole = made.get(memory) is operand and memories.count(memory) == 1  # not beside a view of itself
            if whole and last_read[memory] == number and _form(placed(operand)) == _form(call.result):
                return placed(operand)
        return None

    steps: list[Step] = []
    for number, call in enumerate(calls):
        arguments, named = placed(call.arguments), placed(call.named)
        if call.made:
            place = given.get(id(call.result))
            place = free(call, number) if place is None else place
            place = call.result if place is None else place
            steps.append(_writing(call.operation, arguments, named, place))
        else:
            place = call.operation(*arguments, **named)  # a view
        places |= {id(was): now for was, now in zip(_tensors(call.result), _tensors(place), strict=True)}
    for result, output in zip(placed(results), outputs, strict=True):
        if result.data_ptr() != output.data_ptr() or _form(result) != _form(output):
            steps.append(partial(output.copy_, result))
    return steps


def _given(made: dict[int, Tensor], results: list[Tensor], outputs: Sequence[Tensor]) -> dict[int, Tensor]:
    """The outputs as the places of those tensors, by id, whose elements in their order they are to hold."""
    given: dict[int, Tensor] = {}
    for result, output in zip(results, outputs, strict=True):
        whole = made.get(_memory(result))
        if (
            whole is not None
            and id(whole) not in given
            and whole.numel() == result.numel()
            and all(tensor.is_contiguous() for tensor in (whole, result, output))
        ):
            given[id(whole)] = output.view(whole.shape)
    return given


def _writing(operation: OpOverload, arguments: tuple[Any, ...], named: dict[str, Any], place: Any) -> Step:
    """The operation, with its result written there."""
    if operation is _aten.clone.default:
        return partial(place.copy_, arguments[0])
    for name in operation.overloadpacket.overloads() if isinstance(place, Tensor) else ():
        variant = getattr(operation.overloadpacket, name)
        out = [argument.name for argument in variant._schema.arguments if argument.is_out]
        # Generated variants compute elsewhere and copy, and check the shape besides.
        if len(out) == 1 and _signature(variant) == _signature(operation) and torch.Tag.generated not in variant.tags:
            return partial(variant, *arguments, **named, **{out[0]: place})

    def copied() -> None:
        for result, there in zip(_tensors(operation(*arguments, **named)), _tensors(place), strict=True):
            there.copy_(result)

    return copied


def _signature(operation: OpOverload) -> list[tuple[str, str]]:
    return [(a.name, str(a.type)) for a in operation._schema.arguments if not a.is_out]


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
