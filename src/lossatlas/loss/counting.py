"""What a batch counts, on the evidence of a batch and its pieces: the mean of the pieces is to be that of the whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lossatlas.loss.accumulation import accumulates
from lossatlas.loss.averaging import EXAMPLES, SUM, Count, other_counts, prior_count
from lossatlas.loss.batches import Batch, Batches, describe, take_rows, tensors_of
from lossatlas.loss.criteria import Measure, Reduction, WeighBy, name_of, own_loss
from lossatlas.loss.functional_module import FunctionalModule
from lossatlas.loss.microbatches import DISTANCES, telling_rows

EVIDENCE_ROWS = 256  # examples of the batch that is taken to pieces; more take longer and tell no more
EVIDENCE_PASSED = 32  # the same where every piece takes a pass of its own
COMPARED_ROWS = 8  # examples whose outputs alone are compared with those in their batch
WITNESSES = 3  # batches that are taken to pieces where their examples do not fit into one
TELLING_BATCHES = 50  # batches that are looked through for one whose pieces tell counts apart
DISTINCT = 1e-3  # relative difference of two pieces' values from which they tell counts apart


@dataclass(frozen=True)
class Cut:
    """A batch, or a piece of one, and what it gives.

    Args:
        batch: its tensors.
        target: of them.
        rows: its examples.
        values: of the loss and every metric `(names,)`.
    """

    batch: Batch
    target: Any
    rows: int
    values: Tensor


@dataclass(frozen=True)
class Evidence:
    """A batch as a `whole` and in two `pieces`."""

    whole: Cut
    pieces: tuple[Cut, Cut]


def find_counts(
    functional: FunctionalModule,
    data: Batches,
    measure: Measure,
    *,
    stated: Reduction | None,
    reduction: Reduction | None,
    weigh_by: WeighBy | None,
    counted: bool,
    couple_examples: bool,
    most: int = EVIDENCE_ROWS,
) -> list[Count]:
    """A count for the loss and one for every metric.

    What the caller says holds. What the criterion seems to say (`reduction`, `ignore_index`, `weight`) holds where the
    pieces of a batch agree; else the first count that they agree with is taken. Where there is none and there are
    several batches, that is said.

    Args:
        functional: the loss's own copy of the module.
        data: every batch.
        measure: the criterion and the metrics.
        stated: "mean" or "sum", where the caller or the criterion says it.
        reduction: the same, where the caller says it.
        weigh_by: what the caller says that batches are weighted by.
        counted: whether the caller says how many examples a batch has.
        couple_examples: whether the module's output for an example depends on the others, as with batch statistics.
        most: examples that are taken to pieces.
    """
    evidence, target = gather(functional, data, measure, couple_examples=couple_examples, most=most)
    tolerance = torch.finfo(functional.coarsest).eps ** 0.6  # above rounding, below what another count makes
    criterion, counts = measure.criterion, []
    for column, (name, function) in enumerate(measure.functions.items()):
        prior = prior_count(criterion, weigh_by, target, metric=column > 0)
        if column == 0 and stated == "sum":
            prior = SUM
        said = weigh_by is not None or accumulates(function)
        if counted and not said:
            prior, said = _sum_or(EXAMPLES, evidence, column, tolerance), True
        said |= column == 0 and reduction == "sum"
        chosen = prior if said else _chosen(evidence, column, prior, criterion, tolerance)
        if column == 0 and reduction == "mean" and chosen is SUM:
            chosen = prior
        silent = stated is not None and not any(_tells(one, column) for one in evidence)
        if chosen is None and len(data) > 1 and not silent:
            _warn(name, function, prior, evidence, column)
        elif column == 0 and not (evidence or said or couple_examples or stated) and len(data) > 1:
            _warn_of_whole_batches(data[0], prior)
        counts.append(chosen or prior)
    return counts


@torch.no_grad()
def gather(
    functional: FunctionalModule, data: Batches, measure: Measure, *, couple_examples: bool, most: int = EVIDENCE_ROWS
) -> tuple[list[Evidence], Any]:
    """A batch taken to pieces in several ways, at the module's weights and, if need be, at others; and its target.

    The batch is one of examples of all batches, which differ where these are sorted; where they do not fit together, a
    few batches are taken. Others follow only where the loss is 0 or not finite on them. No pieces where a batch cannot
    be taken apart.

    Args:
        functional: the loss's own copy of the module.
        data: every batch.
        measure: the criterion and the metrics.
        couple_examples, most: as in `find_counts`.
    """
    most = min(most, EVIDENCE_PASSED) if measure.criterion is own_loss else most
    evidence: list[Evidence] = []
    target = None
    mixed = _mixed(functional, data, most)
    batches = _telling_batches(functional, data, most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pieces and at weights that are nobody's
        for number, (rows, batch) in enumerate(batches if mixed is None else chain([mixed], batches)):
            enough = not evidence or any(_tells(one, 0) for one in evidence)
            if enough and number >= (WITNESSES if mixed is None else 1):
                break
            found, target = _evidence_of(functional, measure, batch, rows, couple_examples=couple_examples)
            evidence += found
    return evidence, target


def _evidence_of(
    functional: FunctionalModule, measure: Measure, batch: Batch, rows: int, *, couple_examples: bool
) -> tuple[list[Evidence], Any]:
    """That of one batch, at the weights and, where its pieces are all alike there, at others; and its target."""
    evidence: list[Evidence] = []
    target = None
    for distance in DISTANCES:
        with functional.at(functional.elsewhere(distance)):
            output, target = functional.call(batch)
            with suppress(Exception):  # whatever a module or criterion that wants its batches whole raises
                evidence += _cuts(functional, measure, batch, output, target, rows, couple_examples=couple_examples)
        if not evidence or _tell_apart(evidence):
            break
    return evidence, target


def joined(values: Sequence[Tensor], weights: Sequence[float], *, added: bool) -> Tensor:
    """What pieces give together; a piece of weight 0 is left out.

    Args:
        values: vᵢ of every piece.
        weights: wᵢ of every piece.
        added: whether it is Σ wᵢ vᵢ; otherwise that over Σ wᵢ.
    """
    total = sum((weight * value for weight, value in zip(weights, values, strict=True) if weight), torch.zeros(()))
    return torch.as_tensor(total if added else total / sum(weights))


def _cuts(
    functional: FunctionalModule,
    measure: Measure,
    batch: Batch,
    output: Any,
    target: Any,
    rows: int,
    *,
    couple_examples: bool,
) -> list[Evidence]:
    whole = Cut(batch, target, rows, measure(output, target).cpu())
    by_output = measure.criterion is not own_loss and _has_row_each(output, rows) and _has_row_each(target, rows)
    if rows < 2 or not _separable(batch, rows) or (not by_output and couple_examples):
        return []
    by_output = by_output and (couple_examples or _outputs_are_separate(functional, batch, output, rows))
    found = []
    for order, size in _orders(target, rows):
        pieces = []
        for part in (order[:size], order[size:]):
            piece = take_rows(batch, part, rows)
            if by_output:
                given = take_rows(output, part, rows), take_rows(target, part, rows)
            else:
                given = functional.call(piece)
            pieces.append(Cut(piece, given[1], len(part), measure(*given).cpu()))
        found.append(Evidence(whole, (pieces[0], pieces[1])))
    return found


def _separable(batch: Batch, rows: int) -> bool:
    numbers, of_one = (sum(t.numel() for t in tensors_of(b)) for b in (batch, take_rows(batch, torch.arange(1), rows)))
    return of_one < numbers


def _outputs_are_separate(functional: FunctionalModule, batch: Batch, output: Any, rows: int) -> bool:
    """Whether a few examples have the outputs that they have among all; yes where a few do not go through."""
    few = torch.arange(min(rows // 2, COMPARED_ROWS))
    try:
        alone, _ = functional.call(take_rows(batch, few, rows))
    except Exception:  # a module that wants its batches whole
        return True
    tolerance = torch.finfo(functional.coarsest).eps ** 0.5
    return all(
        bool((one - other).abs().max() <= tolerance * other.abs().max())
        for one, other in zip(tensors_of(alone), tensors_of(take_rows(output, few, rows)), strict=True)
        if one.shape == other.shape and other.is_floating_point() and bool(other.isfinite().all())
    )


def _orders(target: Any, rows: int) -> list[tuple[Tensor, int]]:
    """Three orders of the rows, and the size of the first piece in each: as they are, by target, at random."""
    key = (
        target.reshape(len(target), -1).double().nan_to_num().mean(1)
        if _has_row_each(target, rows) and isinstance(target, Tensor)
        else torch.arange(rows)
    )
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    return [
        (torch.arange(rows), rows // 2),
        (key.cpu().argsort(), max(1, rows // 3)),
        (shuffled, max(1, 2 * rows // 3)),
    ]


def _has_row_each(tree: Any, rows: int) -> bool:
    found = tensors_of(tree)
    return bool(found) and all(tensor.ndim and len(tensor) == rows for tensor in found)


def _tell_apart(evidence: Sequence[Evidence]) -> bool:
    """Whether the values of pieces differ, in every column."""
    first, second = (torch.stack([one.pieces[side].values for one in evidence]) for side in (0, 1))
    apart = (first - second).abs() > DISTINCT * first.abs().maximum(second.abs())
    return bool((apart.any(0) | ~first.isfinite().any(0)).all())


def _telling_batches(functional: FunctionalModule, data: Batches, most: int) -> Iterator[tuple[int, Batch]]:
    """At most so many rows of a batch in which some labels are below zero, or of the largest; then of the others."""
    largest = max(range(len(data)), key=lambda index: data.rows[index])
    some = range(min(len(data), TELLING_BATCHES))
    labelled = [index for index in some if data.rows[index] > 1 and _has_labels_below_zero(data[index])]
    for index in dict.fromkeys([*labelled[:1], largest, *some]):
        rows, batch = data.rows[index], data[index]
        yield _part(functional, rows, batch, most)


def _has_labels_below_zero(batch: Batch) -> bool:
    return any(bool((tensor < 0).any()) for tensor in tensors_of(batch) if _is_of_labels(tensor))


def _is_of_labels(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)


def _part(functional: FunctionalModule, rows: int, batch: Batch, most: int) -> tuple[int, Batch]:
    if rows <= most:
        return rows, batch
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:most].sort().values
    try:
        part = take_rows(batch, order, rows)
        functional.call(part)
    except Exception:  # a module that wants its batches whole
        return rows, batch
    return most, part


def _mixed(functional: FunctionalModule, data: Batches, most: int) -> tuple[int, Batch] | None:
    """At most so many examples of all batches as one; None where they do not fit together."""
    if len(data) < 2 or not data.stackable:
        return None
    rows = telling_rows(data.vectors(), sum(data.rows), min(most, sum(data.rows)))
    try:
        batch = data.taking([rows])[0]
        functional.call(batch)
    except Exception:  # a module that wants its batches whole
        return None
    return len(rows), batch


def _chosen(evidence: Sequence[Evidence], column: int, prior: Count, criterion: Any, tolerance: float) -> Count | None:
    """The first count that all the evidence agrees with, the prior before the others; None where there is none."""
    if not evidence:
        return prior
    telling = [one for one in evidence if _tells(one, column)]
    if not telling:
        return None
    if all(_agrees(one, column, prior, tolerance) for one in telling):
        return prior
    first = telling[0].whole
    for count in other_counts(criterion, first.batch, first.target, first.rows):
        if all(_agrees(one, column, count, tolerance) for one in telling):
            return count
    return None


def _sum_or(prior: Count, evidence: Sequence[Evidence], column: int, tolerance: float) -> Count:
    telling = [one for one in evidence if _tells(one, column)]
    return SUM if telling and all(_agrees(one, column, SUM, tolerance) for one in telling) else prior


def _tells(evidence: Evidence, column: int) -> bool:
    value = float(evidence.whole.values[column])
    return value != 0 and abs(value) < float("inf")


def _agrees(evidence: Evidence, column: int, count: Count, tolerance: float) -> bool:
    try:
        weights = [count.of(piece.batch, piece.target, piece.rows) for piece in evidence.pieces]
    except Exception:  # a count that makes no sense of such a target
        return False
    values = [piece.values[column] for piece in evidence.pieces]
    if min(weights) < 0 or sum(weights) == 0:
        return False
    whole = evidence.whole.values[column]
    largest = max(abs(float(value)) for value, weight in zip([*values, whole], [*weights, 1], strict=True) if weight)
    found = joined(values, weights, added=count is SUM)
    return bool((found - whole).abs() <= tolerance * largest)


def _warn(name: str, function: Any, prior: Count, evidence: Sequence[Evidence], column: int) -> None:
    called = name_of(function) if name == "loss" else f"the metric {name!r}"
    if not any(_tells(one, column) for one in evidence):
        text = (
            f"{called} is 0 or not finite on all data, so that it does not show whether it sums over a batch or takes "
            'its mean: a mean is assumed; say which by reduction="sum" or "mean"'
        )
    else:
        text = (
            f"{called} of a batch is not the mean of its values on parts of it, whatever they count (examples, "
            f"targets, masks, a sum): what is given is the mean over your batches by {prior.name}, and other batches "
            "give another; say what a batch counts by weigh_by=, or give the data as one batch"
            + (" or the metric as a torchmetrics.Metric" if name != "loss" else "")
        )
    warnings.warn(text, stacklevel=6)


def _warn_of_whole_batches(batch: Batch, prior: Count) -> None:
    warnings.warn(
        f"a batch, {describe(batch)}, cannot be taken apart, so that it does not show what it counts: what is given is "
        f"the mean over your batches by {prior.name}; say how many examples a batch has by count=, or what its value "
        'is weighted by by weigh_by=, or reduction="mean" or "sum"',
        stacklevel=6,
    )
