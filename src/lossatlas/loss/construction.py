"""How a loss is built: what it is given is read, copied, tried once, cut to the cache and weighted."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas import hardware
from lossatlas.loss.batch_norm import BatchStatistics, Buffers, InterpolatedStatistics
from lossatlas.loss.batches import Batches, first_rows, read
from lossatlas.loss.criteria import (
    Averaging,
    Criterion,
    Forward,
    Measure,
    Reduction,
    WeighBy,
    adds_up,
    name_of,
    needs_target,
    own_loss,
    reduction_of,
    supervised,
    target_of,
)
from lossatlas.loss.functional_module import FunctionalModule, private_copy, untouched_randomness
from lossatlas.loss.microbatches import microbatches
from lossatlas.loss.penalty import Penalty
from lossatlas.loss.validation import PROBED_ROWS, PassCost, check_kinds, dry_run
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
        cost: of the largest batch at one point; None: a dry run finds it when it is asked for.
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
    cost: PassCost | None = None
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
    buffers: Buffers,
    between: Sequence[nn.Module | Mapping[str, Tensor]] | None,
    batch_size: int | None,
    reduction: Reduction | None,
    weigh_by: WeighBy | None,
    device: torch.device | str | None,
    memory: int | None,
) -> Components:
    """The components of the loss of a module on data.

    Args:
        module, data, criterion, metrics, forward, params, include_frozen, weight_decay, penalty: as in `Loss.of`.
        buffers, between, batch_size, reduction, weigh_by, device, memory: as in `Loss.of`.
    """
    check_kinds(module, criterion, metrics)
    if memory is not None and memory < 1:
        raise ValueError(f"memory is {memory}: wanted a number of bytes from 1 up")
    layout = Layout.of(module, params, include_frozen=include_frozen)
    terms = Penalty(weight_decay, penalty)
    measure = Measure(own_loss if criterion is None else criterion, dict(metrics or {}))
    stated = reduction_of(measure.criterion, reduction)
    with untouched_randomness(getattr(data, "generator", None)):
        batches = read(data, batch_size)
        copied = private_copy(module, device)
        models = None if between is None else InterpolatedStatistics(layout, copied, between)
        functional = FunctionalModule(copied, layout, forward or supervised)
        statistics = BatchStatistics(functional, buffers, models)
        place = next(copied.parameters()).device
        measure = measure.to(place)
        budget = chunk_budget(memory, place)
        moved = Batches(batches, place, budget=budget)
        cost = dry_run(functional, moved.largest(), measure)
        summed = stated == "sum" or (stated is None and _sums_over_batch(functional, moved, measure))
        parts = microbatches(
            functional, statistics, batches=batches, data=moved, cost=cost, measure=measure, weigh_by=weigh_by,
            summed=summed,
        )  # fmt: skip
        if len(parts) > len(batches):
            batches, whole = parts, max(moved.rows)
            moved = Batches(batches, place, budget=budget)
            cost = cost.times(max(moved.rows) / whole)
        if forward is None or not needs_target(measure.criterion, weigh_by):
            targets = [target_of(batch) if forward is None else None for batch in batches]
        else:  # only a pass over the data tells
            targets = functional.targets(moved)
        averaging = Averaging.of(batches, targets, measure, weigh_by, summed)
    attrs = {"buffers": buffers, "weighted_by": averaging.weighted_by, **_choices(params, terms, models)}
    return Components(
        functional=functional, statistics=statistics, data=moved, measure=measure, averaging=averaging, penalty=terms,
        memory=memory, attrs=attrs, cost=cost,
    )  # fmt: skip


def chunk_budget(memory: int | None, device: torch.device) -> int:
    """Bytes that the largest activation, and the points, of one chunk may take: `memory`, or what suits the
    `device`.
    """
    return memory or hardware.chunk_bytes(device)


@torch.no_grad()
def _sums_over_batch(functional: FunctionalModule, data: Batches, measure: Measure) -> bool:
    """Whether the criterion sums over a batch: what a part of the largest one says, or else the first one that tells.

    Where none does and there are several, that is said: a mean is assumed.
    """
    if measure.criterion is own_loss:
        return False
    try:
        for batch in itertools.chain([first_rows(data.largest(), PROBED_ROWS)], data):
            summed = adds_up(measure.criterion, *functional.call(batch))
            if summed is not None:
                return summed
    except Exception:  # a criterion that takes batches of one size only cannot be asked
        return False
    if len(data) > 1:
        warnings.warn(
            f"{name_of(measure.criterion)} is 0 or not finite on all data, so that it does not show whether it sums "
            'over a batch or takes its mean: a mean is assumed; say which by reduction="sum" or "mean"',
            stacklevel=5,
        )
    return False


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
