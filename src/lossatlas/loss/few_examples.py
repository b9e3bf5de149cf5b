"""A loss on a few of its examples, for questions that these answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lossatlas.loss.averaging import Averaging
from lossatlas.loss.batches import cut, first_rows, rows_of
from lossatlas.loss.construction import Components
from lossatlas.loss.criteria import Measure
from lossatlas.loss.first_pass import TRIAL_OPERATIONS, TRIAL_ROWS
from lossatlas.loss.loss import Loss
from lossatlas.loss.microbatches import rows_in_cache
from lossatlas.loss.subsample import graded_strata, sampled, strata, why_together

FEW = 32  # examples of a batch; more take longer, and cross more kinks of ReLU networks on the way to a difference


def few_examples(loss: Loss, most: int = FEW) -> Loss:
    """Some terms of a loss: its first batch and its smallest, each cut to a few examples where it can be cut.

    Another function of θ than the whole, computed by the same operations: who watches the whole is not told of it.

    Args:
        loss: the whole.
        most: examples of each batch.
    """
    parts = loss._components
    counting = [index for index, weight in enumerate(parts.averaging.weights[:, 0]) if weight]
    smallest = min(counting, key=lambda index: parts.data.rows[index])
    chosen = list(dict.fromkeys([counting[0], smallest]))
    batches = [parts.data[index] for index in chosen]
    if parts.data.plain and not parts.statistics.couple_examples:
        batches = [first_rows(batch, most) for batch in batches]
        data = type(parts.data)(batches, parts.data.device, budget=parts.data.budget)
    else:
        rows = [parts.data.rows[index] for index in chosen]
        data = type(parts.data)(batches, parts.data.device, budget=parts.data.budget, rows=rows)
    weights = parts.averaging.weights[chosen]
    averaging = Averaging(weights, parts.averaging.divisors, parts.averaging.weighted_by)
    return Loss(replace(parts, data=data, averaging=averaging, callbacks=()))


def drawn_examples(loss: Loss, at: Tensor, rows: Tensor, count: int, generator: torch.Generator) -> Loss | None:
    """An estimate of the loss from `count` of the examples in `rows`, which stand for all: the hardest quarter of them,
    and others at random (`subsample.strata`). Unbiased where `rows` are an even sample. Costs a pass over `rows`.

    None where examples cannot be told apart, weigh unequally, or see each other, as of `Loss.subset`.

    Args:
        loss: the whole; its metrics are left out.
        at: the point `(P,)` that says how hard each example is.
        rows: `(n,)` of int, counted through all batches.
        count: how many of them.
        generator: of the draw, on the CPU.
    """
    parts = loss._components
    data, means = parts.data, parts.averaging
    if why_together(parts) or not means.counts(data.rows):
        return None
    some = data.taking(rows.split(max(data.rows)))
    counts = torch.tensor(some.rows, dtype=torch.float64)[:, None]
    summed = means.weighted_by == "sum"
    averaging = Averaging(
        torch.ones_like(counts) if summed else counts,
        torch.tensor([len(rows) / sum(data.rows) if summed else float(len(rows))], dtype=torch.float64),
        means.weighted_by,
    )
    even = replace(
        parts, data=some, averaging=averaging, measure=Measure(parts.measure.criterion, {}),
        cost=parts.cost.times(max(some.rows) / max(data.rows)), callbacks=(),
    )  # fmt: skip
    sample = sampled(even, at.to(loss.theta), partial(strata, count=count, generator=generator))
    return None if sample is None else Loss(_in_small_batches(sample))


def glimpse(loss: Loss) -> Loss:
    """The loss itself where an evaluation is short, else a few of its examples: to time what the whole takes, and to
    tell it from others, before anything is measured.

    Args:
        loss: the whole.
    """
    if loss.operations <= TRIAL_OPERATIONS:
        return loss
    each = loss.operations / loss.examples
    return few_examples(loss, max(TRIAL_ROWS, int(TRIAL_OPERATIONS / each)))


def examples_apart(loss: Loss, at: Tensor, *, most: int, rows: int) -> Loss | None:
    """An estimate of the loss from some of its examples, always the same ones, in batches of a few (`graded_strata`).

    None where examples cannot be told apart, weigh unequally, or see each other, as of `Loss.subset`.

    Args:
        loss: the whole; its metrics are left out.
        at: the point `(P,)` that says how hard each example is.
        most: examples; all of them where there are no more.
        rows: of a batch.
    """
    parts = loss._components
    means = parts.averaging
    alone = replace(
        parts, measure=Measure(parts.measure.criterion, {}),
        averaging=Averaging(means.weights[:, :1], means.divisors[:1], means.weighted_by),
    )  # fmt: skip
    sample = sampled(alone, at.to(loss.theta), partial(graded_strata, count=most, size=rows))
    return None if sample is None else Loss(sample)


def _in_small_batches(parts: Components) -> Components:
    """The same with batches cut as microbatches are, each with its share of the weight: their graphs take less memory.

    Args:
        parts: of a sample, whose examples stand alone.
    """
    size = rows_in_cache(parts.functional, parts.cost, max(parts.data.rows))
    summed = parts.averaging.weighted_by == "sum"
    batches, weights = [], []
    for batch, rows, weight in zip(parts.data, parts.data.rows, parts.averaging.weights, strict=True):
        pieces = cut(batch, size)
        batches += pieces
        weights += [weight if summed else weight * (rows_of(piece) / rows) for piece in pieces]
    data = type(parts.data)(batches, parts.data.device, budget=parts.data.budget)
    averaging = Averaging(torch.stack(weights), parts.averaging.divisors, parts.averaging.weighted_by)
    cost = parts.cost.times(max(data.rows) / max(parts.data.rows))
    return replace(parts, data=data, averaging=averaging, cost=cost)
