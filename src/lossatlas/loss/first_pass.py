"""The first pass of a batch: what it costs, what it reads and writes, and whether it is a function of θ."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.loss.batches import Batch, contents, describe, first_rows, fresh, has_rows, rows_of, tensors_of
from lossatlas.loss.captured import containers_unchanged, reads_of
from lossatlas.loss.criteria import Measure, name_of
from lossatlas.loss.differentiable_operations import ReplaceableOperations
from lossatlas.loss.functional_module import (
    FunctionalModule,
    plain_transformer,
    untouched_randomness,
    versions,
    written,
)
from lossatlas.loss.metrics import PROBABILITIES
from lossatlas.loss.private_copy import (
    HOOKS_FORWARD,
    Attributes,
    has_hooks,
    hook_functions,
    kept_tensors,
)
from lossatlas.loss.reaching_past import reads_past, second_place
from lossatlas.loss.watch import Watch, storage

# Examples of a large batch that are enough to see what kind of function it goes through. With fewer a criterion that is
# 0 on them tells nothing; with more the dry run takes longer.
PROBED_ROWS = 4096


# Floating-point operations of a trial pass, about a tenth of a second on two cores. With more the first look at a large
# model takes longer; with less a part of a batch tells less about the whole.
TRIAL_OPERATIONS = 5 * 10**9

# Examples of a trial at least, however long they take. With fewer a function of the whole batch may not show.
TRIAL_ROWS = 16

# Examples from which it is learnt what an example costs, where a whole batch may take long.
FIRST_ROWS = 2

# Numbers in the inputs of a batch, and parameters times examples, from which it may take long. Set by hand: below, a
# pass takes some seconds at most.
LONG_INPUTS, LONG_PRODUCTS = 10**7, 2 * 10**9


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

    def affordable(self, rows: int, most: int) -> int:
        """Examples of a trial: `most`, or fewer, down to `TRIAL_ROWS`, where `rows` cost so much that it would take
        long.
        """
        few = TRIAL_OPERATIONS * rows // max(self.operations, 1)
        return min(most, max(few, TRIAL_ROWS))


@torch.no_grad()
def first_pass(functional: FunctionalModule, user: nn.Module, batch: Batch, rows: int, measure: Measure) -> PassCost:
    """What a pass of a batch costs; `functional` knows afterwards what a pass does besides giving an output.

    A forward pass of the batch and one more, of a large batch two more of a part, with the module's own weights. A
    batch that may take long is not passed as a whole: a few of its examples tell what it would cost.

    Args:
        functional: the loss's own copy of the module.
        user: the module that was handed in.
        batch: the largest one.
        rows: examples of it.
        measure: the criterion and the metrics.

    Raises:
        ValueError: the batch does not go through, gives no scalar, or not the same one twice; or a pass reads weights
            of the user's module, or writes to those of the copy.
    """
    with (
        untouched_randomness(),
        plain_transformer(),
        containers_unchanged(hook_functions(functional.module)),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message="Using a target size")  # it would broadcast, to a wrong loss
        warnings.filterwarnings("error", message=PROBABILITIES)
        watched = _affordable_part(functional, user, batch, rows, measure)
        try:
            watch, first = _watched_pass(functional, user, watched, measure)
        except _Refused as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(
                f"a batch, {describe(watched)}, does not go through {type(functional.module).__name__} and "
                f"{name_of(measure.criterion)}: {error}"
            ) from error
        part = first_rows(watched, PROBED_ROWS)
        if part is not watched:
            try:
                first = measure(*functional.call(part))
            except Exception:  # a module or criterion that takes its batches as they are
                part = watched
        _refuse_noise(functional, part, measure, first)
        _take_off_observers(functional, part, measure)
    cost = PassCost(watch.bytes, watch.operations)
    return cost if watched is batch else cost.times(rows / rows_of(watched))


def _affordable_part(functional: FunctionalModule, user: nn.Module, batch: Batch, rows: int, measure: Measure) -> Batch:
    """The first examples of a batch that may take long, as many as a trial may have; else, or where the module does not
    take a part, the whole.
    """
    numbers = sum(tensor.numel() for tensor in tensors_of(batch))
    if (numbers < LONG_INPUTS and functional.layout.size * rows < LONG_PRODUCTS) or not has_rows(batch, rows):
        return batch
    traits = functional.traits
    try:
        watch, _ = _watched_pass(functional, user, first_rows(batch, FIRST_ROWS), measure)
        most = PassCost(watch.bytes, watch.operations).affordable(FIRST_ROWS, rows)
        return first_rows(batch, most) if most < rows else batch
    except Exception:  # a module or criterion that takes its batches as they are, or what the whole will be refused for
        return batch
    finally:
        functional.traits = traits


@torch.no_grad()
def converted_pass(functional: FunctionalModule, batch: Batch, measure: Measure) -> PassCost:
    """What a pass costs of a module that was converted to another precision.

    Args:
        functional: the converted copy.
        batch: the largest one, converted too.
        measure: the criterion and the metrics, likewise.

    Raises:
        ValueError: the pass fails, since something in it has a precision of its own.
    """
    precision = str(functional.coarsest).removeprefix("torch.")
    watch = Watch()
    try:
        with plain_transformer(), watch:
            output, target = functional.call(batch)
            measure.criterion(output, target)
    except Exception as error:
        raise ValueError(
            f"{type(functional.module).__name__} and {name_of(measure.criterion)} do not compute in {precision} "
            f"({str(error).splitlines()[0]}): something in them has a precision of its own; make tensors as the input "
            "has them (x.new_zeros(...), dtype=x.dtype), or measure in the loss's own precision (dtype=loss.dtype; "
            "lossatlas probe --precision float32)"
        ) from error
    if watch.narrowed:
        warnings.warn(
            f"a pass of {type(functional.module).__name__} in {precision} goes through {watch.narrowed} (.float()?): "
            "values and derivatives are no more precise than that",
            stacklevel=3,
        )
    return PassCost(watch.bytes, watch.operations)


class _Refused(ValueError):
    """What a pass does that would make the loss another function, in one line."""


def _watched_pass(
    functional: FunctionalModule, user: nn.Module, batch: Batch, measure: Measure
) -> tuple[Watch, Tensor]:
    """The pass as it was seen, and its values; with gradients on where the module takes derivatives itself."""
    module = functional.module
    weights = {name: (tensor, tensor.data_ptr()) for name, tensor in module.named_parameters()}
    buffers, original, batch = {name: tensor.clone() for name, tensor in module.named_buffers()}, batch, fresh(batch)
    watch, attributes, (structure, tensors) = Watch(), Attributes(module), contents(batch)
    watch.made.update(map(storage, tensors))
    try:
        with functional.with_buffers(buffers):
            before = versions(module)
            with watch, ReplaceableOperations() as replaceable:
                output, target = functional.call(batch)
            writes, keeps, in_forward = written(module, before), attributes.changed(), set(watch.read)
            with watch:
                values = measure(output, target)
            again = measure(*functional.call(fresh(original))) if keeps else values
            carries = not equal_to_rounding(again, values, functional)
    except RuntimeError as error:
        if functional.traits.differentiates or "does not require grad" not in str(error):
            raise
        functional.traits = replace(functional.traits, differentiates=True)
        return _watched_pass(functional, user, original, measure)
    finally:
        attributes.put_back()
    _refuse_written_weights(watch, weights)
    _refuse_reads(watch, functional, user, measure, writes=writes, keeps=keeps, in_forward=in_forward)
    if carries:
        warnings.warn(
            f"the module carries {keeps[0]!r} from one batch to the next, and its value depends on it: here every "
            "batch begins with what the module came with, which is not what your own loop over batches gives",
            stacklevel=6,
        )
    structure_now, tensors_now = contents(batch)
    overwrites = structure_now != structure or [*map(id, tensors_now)] != [*map(id, tensors)]
    overwrites |= not watch.written.isdisjoint(map(storage, tensors))
    own = {storage(tensor) for tensor in module.parameters()} | watch.made
    functional.traits = replace(
        functional.traits, writes=writes, attends=watch.attention, keeps=bool(keeps), overwrites=overwrites,
        replaces=replaceable.seen,
        outside={address: size for address, size in watch.trainable.items() if address not in own},
    )  # fmt: skip
    return watch, values


def _refuse_written_weights(watch: Watch, weights: Mapping[str, tuple[Tensor, int]]) -> None:
    """Weights of the copy, with the addresses that they had, which the pass wrote to or put elsewhere."""
    for name, (tensor, address) in weights.items():
        if storage(tensor) in watch.written or tensor.data_ptr() != address:
            raise _Refused(
                f"a pass writes to its own weights {name!r} (Embedding(max_norm=...), a renormalisation in place): θ "
                "would change while it is looked at; renormalise them once and then take that out (max_norm=None), or "
                "make it a part of the function (torch.nn.utils.parametrize)"
            )


def _refuse_reads(
    watch: Watch, functional: FunctionalModule, user: nn.Module, measure: Measure, *, writes: Collection[str],
    keeps: Collection[str], in_forward: Collection[int],
) -> None:  # fmt: skip
    """What the pass read of the user's module where that is not what the copy has, or from a second place."""
    module, slices = functional.module, functional.layout.slices
    weights = {name: tensor for name, tensor in user.named_parameters() if name in slices}
    moving = weights | {name: tensor for name, tensor in user.named_buffers() if name in writes}
    moving |= {name: tensor for name, tensor in kept_tensors(user) if name in keeps or not tensor.is_leaf}
    for name, tensor in moving.items():
        if storage(tensor) in watch.read:
            where = "forward=, a hook or the forward pass" if storage(tensor) in in_forward else "the criterion"
            raise _Refused(reads_past(name, where))
    kept, places = dict(kept_tensors(module)), {storage(tensor): name for name, tensor in weights.items()}
    for name, tensor in kept_tensors(user):
        view = not isinstance(tensor, nn.Parameter) and storage(tensor) in places
        if view and name in kept and storage(kept[name]) in watch.read:
            raise _Refused(second_place(places[storage(tensor)]))
    functions = [*measure.functions.values(), functional.forward, *hook_functions(module)]
    if found := reads_of(user, keeps, functions):
        raise _Refused(reads_past(found[1], name_of(found[0])))


def _refuse_noise(functional: FunctionalModule, batch: Batch, measure: Measure, first: Tensor) -> None:
    second = measure(*functional.call(batch))
    if not equal_to_rounding(first, second, functional):
        name, source = type(functional.module).__name__, _source_of_noise(functional, batch)
        raise ValueError(
            f"{name} gives {float(first[0]):.6g} and then {float(second[0]):.6g} for the same batch and weights"
            f"{source}: a landscape wants a function of θ; switch off what is random in eval mode (F.dropout with "
            "training=True?)"
        )


def _take_off_observers(functional: FunctionalModule, batch: Batch, measure: Measure) -> None:
    """Forward hooks that change no value are taken off the copy, so that they do not see its passes.

    Tried at other weights: what a hook has kept for somebody to read is then not what it would be. ValueError where the
    criterion reads what a hook keeps.
    """
    module = functional.module
    if not has_hooks(module):
        return
    tables = [table for part in module.modules() for name in HOOKS_FORWARD if (table := getattr(part, name))]
    elsewhere = functional.elsewhere(0.1)
    with functional.at(elsewhere):
        wanted = _pass(functional, batch, measure)
    for table in tables:
        for key, hook in list(table.items()):
            _pass(functional, batch, measure)  # what hooks keep is of the module's own weights now
            before = dict(table)
            del table[key]
            with functional.at(elsewhere):
                output, values = _pass(functional, batch, measure)
            if not _same(values, wanted[1]):
                table.clear()
                table.update(before)  # in their order
                if _same(output, wanted[0]):
                    raise ValueError(
                        f"the criterion or a metric reads what the forward hook {name_of(hook)} keeps: wanted a "
                        "function of output and target alone; let forward= hand it over: give the module an output "
                        "that holds it, or register the hook inside forward= and take it off there"
                    )
    functional.traits = replace(functional.traits, hooked=has_hooks(module))


def _pass(functional: FunctionalModule, batch: Batch, measure: Measure) -> tuple[list[Tensor] | None, Tensor | None]:
    """Tensors of the output, and values; None for what fails."""
    output = values = None
    with suppress(Exception):  # whatever is missing without a hook
        given = functional.call(batch)
        output = tensors_of(given[0])
        values = measure(*given)
    return output, values


def _same(one: list[Tensor] | Tensor | None, other: list[Tensor] | Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True))


def equal_to_rounding(first: Tensor, second: Tensor, functional: FunctionalModule) -> bool:
    """Whether values are equal up to the order of sums, which some kernels do not keep.

    Args:
        first: `(names,)`, the loss first, which alone is looked at.
        second: the same of another pass.
        functional: whose precision it is.
    """
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
