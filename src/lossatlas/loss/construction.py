"""How a loss is built: what it is given is read, copied, tried once, cut to the cache and weighted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas import hardware
from lossatlas.loss.averaging import Averaging
from lossatlas.loss.batch_norm import BatchStatistics, Buffers, InterpolatedStatistics
from lossatlas.loss.batch_shapes import settled_between
from lossatlas.loss.batches import Batch, Batches, first_rows, rows_of
from lossatlas.loss.counting import EVIDENCE_ROWS, find_counts
from lossatlas.loss.criteria import (
    Criterion,
    Forward,
    Measure,
    Reduction,
    WeighBy,
    name_of,
    own_loss,
    reduction_of,
    supervised,
    target_of,
)
from lossatlas.loss.dependence import warn_of_dependence
from lossatlas.loss.first_pass import PassCost, converted_pass, first_pass
from lossatlas.loss.functional_module import FunctionalModule, plain_transformer, untouched_randomness
from lossatlas.loss.loaders import random_sources
from lossatlas.loss.metric_checks import check_metrics
from lossatlas.loss.microbatches import microbatches
from lossatlas.loss.penalty import Penalty
from lossatlas.loss.private_copy import private_copy
from lossatlas.loss.reaching_past import refuse_array_views, refuse_reads, refuse_shared_parts
from lossatlas.loss.reading import read
from lossatlas.loss.validation import check_kinds
from lossatlas.parameters.coverage import Coverage
from lossatlas.parameters.layout import Layout


@dataclass(frozen=True)
class Components:
    """What a loss is made of; `Loss.of` builds them, `Loss` evaluates them.

    Args:
        functional: the loss's own copy of the module.
        statistics: where those of its batch norms come from.
        data: every batch.
        measure: the criterion and the metrics.
        averaging: what each batch counts.
        penalty: terms of θ alone.
        memory: bytes that a chunk of points may take; None: `hardware.chunk_bytes`.
        attrs: what a result says about the loss that it was measured on.
        cost: of the largest batch at one point.
        callbacks: told of every chunk of points, see `Loss.watched`.
    """

    functional: FunctionalModule
    statistics: BatchStatistics
    data: Batches
    measure: Measure
    averaging: Averaging
    penalty: Penalty
    memory: int | None
    attrs: Mapping[str, Any]
    cost: PassCost
    callbacks: tuple[Callable[[int], Any], ...] = ()


def assemble(
    module: nn.Module,
    data: Any,
    criterion: Criterion | None,
    *,
    metrics: Mapping[str, Criterion] | None,
    forward: Forward | None,
    params: str | Sequence[str],
    include_frozen: bool,
    weight_decay: float,
    penalty: Callable[[Tensor], Tensor] | None,
    buffers: Buffers | None,
    between: Sequence[nn.Module | Mapping[str, Tensor]] | None,
    batch_size: int | None,
    max_batches: int | None,
    reduction: Reduction | None,
    weigh_by: WeighBy | None,
    count: Callable[[Batch], int] | None,
    train_mode_modules: str | Sequence[str],
    device: torch.device | str | None,
    memory: int | None,
) -> Components:
    """The components of the loss of a module on data.

    Args:
        module, data, criterion, metrics, forward, params, include_frozen, weight_decay, penalty: as in `Loss.of`.
        buffers, between, batch_size, max_batches, reduction, weigh_by: as in `Loss.of`.
        count, train_mode_modules, device, memory: as in `Loss.of`.
    """
    check_kinds(module, criterion, metrics)
    if memory is not None and memory < 1:
        raise ValueError(f"memory is {memory}: wanted a number of bytes from 1 up")
    layout = Layout.of(module, params, include_frozen=include_frozen)
    terms = Penalty(weight_decay, penalty)
    measure = Measure(own_loss if criterion is None else criterion, dict(metrics or {}))
    stated = reduction_of(measure.criterion, reduction)
    with untouched_randomness(*random_sources(data)), plain_transformer():
        batches = read(data, batch_size, max_batches, count or rows_of)
        rows = None if count is None else [int(count(batch)) for batch in batches]
        copied = private_copy(module, device, train_mode_modules)
        models = None if between is None else InterpolatedStatistics(layout, copied, between)
        functional = FunctionalModule(copied, layout, forward or supervised)
        statistics = BatchStatistics(functional, buffers, models)
        place = next(copied.parameters()).device
        refuse_shared_parts(module, layout.slices, measure)
        refuse_array_views(module, layout.slices)
        measure = measure.to(place, module=module)
        budget = chunk_budget(memory, place)
        moved = Batches(batches, place, budget=budget, rows=rows)
        cost = first_pass(functional, module, moved.largest(), max(moved.rows), measure)
        few = cost.affordable(max(moved.rows), EVIDENCE_ROWS)
        if count is None and forward is not None and len(batches) > 1 and not moved.plain:
            moved = moved.counted(_rows_of_targets(functional.targets(moved), moved.rows))
        check_metrics(functional, moved.largest(), measure, few)
        counts = find_counts(
            functional, moved, measure, stated=stated, reduction=reduction, weigh_by=weigh_by,
            counted=count is not None, couple_examples=statistics.couple_examples, most=few,
        )  # fmt: skip
        if weigh_by is None and count is None and not statistics.couple_examples:
            counts[0] = settled_between(functional, moved, measure, counts[0])
        parts = microbatches(
            functional, statistics, batches=batches, data=moved, cost=cost, measure=measure, counts=counts,
        )  # fmt: skip
        if len(parts) > len(batches):
            batches, whole = parts, max(moved.rows)
            moved = Batches(batches, place, budget=budget)
            cost = cost.times(max(moved.rows) / whole)
        if terms:
            refuse_reads(lambda: terms(layout.theta_of(copied)), module, layout.names, "penalty=")
        warn_of_dependence(functional, module, first_rows(moved.largest(), few), measure)
        if not any(one.wants_target for one in counts):
            targets: list[Any] = [None] * len(batches)
        elif forward is None:
            targets = [target_of(batch) for batch in batches]
        else:  # only a pass over the data tells
            targets = functional.targets(moved)
        averaging = Averaging.of(counts, batches, targets, moved.rows)
    coverage = Coverage.of(copied, layout)
    if params == "*":
        coverage.warn_of_little()
    attrs = {"buffers": statistics.source, "weighted_by": averaging.weighted_by, **_choices(params, terms, models)}
    attrs |= {} if coverage.whole else {"parameters": coverage.share}
    return Components(
        functional=functional, statistics=statistics, data=moved, measure=measure, averaging=averaging, penalty=terms,
        memory=memory, attrs=attrs, cost=cost,
    )  # fmt: skip


def describe_components(components: Components) -> str:
    """What a loss is made of, its `components`, in one line: module, θ, data, criterion, and how they are used.

    >>> from lossatlas.loss import toys
    >>> toys.bowl(2)
    Loss(_Quadratic, θ all 2 parameters, 1 example in 1 batch, criterion <lambda>, weighted by examples, float32 on cpu)
    """
    functional, attrs, data = components.functional, components.attrs, components.data
    examples, batches = sum(data.rows), len(data)
    criterion = components.measure.criterion
    return ", ".join(
        [
            type(functional.module).__name__,
            f"θ {Coverage.of(functional.module, functional.layout)}",
            f"{examples:,} example{'s' * (examples != 1)} in {batches:,} batch{'es' * (batches != 1)}",
            "the module's own loss" if criterion is own_loss else f"criterion {name_of(criterion)}",
            *([f"metrics {', '.join(components.measure.metrics)}"] if components.measure.metrics else []),
            f"{'summed' if attrs['weighted_by'] == 'sum' else 'weighted by ' + attrs['weighted_by']}",
            *([] if attrs["buffers"] == "stored" else [f"buffers {attrs['buffers']}"]),
            *([f"weight decay {attrs['weight_decay']:g}"] if "weight_decay" in attrs else []),
            *([f"penalty {attrs['penalty_function']}"] if "penalty_function" in attrs else []),
            f"{str(functional.coarsest).removeprefix('torch.')} on {data.device}",
        ]
    )


def converted(parts: Components, dtype: torch.dtype) -> Components:
    """The same with parameters, buffers and floating-point data in another precision.

    Args:
        parts: of a loss, which stay as they are.
        dtype: a floating-point type.

    Raises:
        ValueError: something in the module or the criterion has a precision of its own.
    """
    old = parts.functional
    same = dtype is old.shared_theta().dtype
    functional = FunctionalModule(
        copy.deepcopy(old.module).to(dtype), old.layout, old.forward, converted=None if same else dtype
    )
    functional.traits = old.traits
    data, measure = parts.data.to(dtype), parts.measure.to(parts.data.device, dtype)
    return replace(
        parts, functional=functional, statistics=parts.statistics.of(functional), data=data, measure=measure,
        cost=converted_pass(functional, data.largest(), measure),
    )  # fmt: skip


def _rows_of_targets(targets: Sequence[Any], rows: Sequence[int]) -> list[int]:
    """Examples of every batch by its target, where that is a tensor with a row for each; else as they were counted."""
    if all(isinstance(target, Tensor) and target.ndim and len(target) for target in targets):
        return [len(target) for target in targets]
    return list(rows)


def chunk_budget(memory: int | None, device: torch.device) -> int:
    """Bytes that the largest activation, and the points, of one chunk may take: `memory`, or what suits the
    `device`.
    """
    return memory or hardware.chunk_bytes(device)


def _choices(params: str | Sequence[str], penalty: Penalty, models: InterpolatedStatistics | None) -> dict[str, Any]:
    """What differs from the loss of all parameters without a penalty, as attributes of a result."""
    patterns = [params] if isinstance(params, str) else params
    choices: dict[str, Any] = {} if list(patterns) == ["*"] else {"params": " ".join(patterns)}
    if models is not None:
        choices["between"] = len(models)
    if penalty.weight_decay:
        choices["weight_decay"] = penalty.weight_decay
    if penalty.function is not None:
        choices["penalty_function"] = name_of(penalty.function)
    return choices
