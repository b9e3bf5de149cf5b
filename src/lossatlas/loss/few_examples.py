"""A loss on a few of its examples, for questions that these answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from lossatlas.loss.averaging import Averaging
from lossatlas.loss.batches import first_rows
from lossatlas.loss.criteria import Measure
from lossatlas.loss.first_pass import TRIAL_OPERATIONS, TRIAL_ROWS
from lossatlas.loss.loss import Loss
from lossatlas.loss.subsample import graded_strata, sampled

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
