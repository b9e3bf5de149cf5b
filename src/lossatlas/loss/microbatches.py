"""Large batches cut into microbatches that stay in the cache of a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossatlas import hardware
from lossatlas.loss.averaging import Averaging, Count
from lossatlas.loss.batch_norm import BatchStatistics
from lossatlas.loss.batches import Batch, Batches, cut, has_rows, rows_of, take_rows, tensors_of
from lossatlas.loss.criteria import Measure
from lossatlas.loss.first_pass import PassCost
from lossatlas.loss.functional_module import FunctionalModule

# Of the points at which it is tried, relative to the size of the weights. At a minimum, or with the last layer at zero,
# all examples can be alike; far away every example can have the same class.
DISTANCES = (0.0, 0.3, 1.0)


def microbatches(
    functional: FunctionalModule,
    statistics: BatchStatistics,
    *,
    batches: list[Batch],
    data: Batches,
    cost: PassCost,
    measure: Measure,
    counts: Sequence[Count],
) -> list[Batch]:
    """The batches, cut where that leaves the loss and the metrics as they are, up to the rounding of their sums.

    It does not where examples see each other (statistics of a batch, a contrastive criterion), for a metric that is no
    mean (the largest error, F1, the root of a mean) or where batches weigh by a function of their own. Whether it does
    is tried on a microbatch and a half of the largest batch, or fewer examples of a large model, at the module's
    weights and at others.

    Args:
        functional: the loss's own copy of the module.
        statistics: where those of batch norms come from.
        batches: as they were given.
        data: the same where they are computed on.
        cost: of the largest one.
        measure: the criterion and the metrics.
        counts: what a batch counts, for the loss and every metric.
    """
    rows = max(data.rows)
    size = rows_in_cache(functional, cost, rows)
    half = torch.finfo(functional.coarsest).bits < 32
    if size >= rows or half or not hardware.microbatches_pay(data.device):
        return batches
    if statistics.couple_examples or measure.accumulates or any(count.name == "weigh_by" for count in counts):
        return batches
    if not all(map(has_rows, batches, data.rows)):
        return batches
    largest, tried = data.largest(), cost.affordable(rows, size)
    part = take_rows(largest, telling_rows(largest, rows, tried + tried // 2), rows)
    for distance in DISTANCES:
        with functional.at(functional.elsewhere(distance)):
            if not _values_agree(functional, part, tried, measure, counts):
                return batches
    return [microbatch for batch in batches for microbatch in cut(batch, size)]


def rows_in_cache(functional: FunctionalModule, cost: PassCost, rows: int) -> int:
    """Examples of a microbatch, `rows` where a batch need not be cut.

    Args:
        functional: the loss's own copy of the module.
        cost: of a batch of so many `rows`.
        rows: examples of it.
    """
    weights = functional.layout.size * functional.coarsest.itemsize  # bytes: every microbatch reads all of them
    least = max(hardware.MICROBATCH_BYTES, weights)
    few = max(1, hardware.MICROBATCH_OPERATIONS * rows // max(cost.operations, 1))
    size = max(min(hardware.MICROBATCH_ROWS, few), rows * least // cost.bytes) if cost.bytes else rows
    return min(size, rows)


def telling_rows(batch: Batch, rows: int, wanted: int) -> Tensor:
    """Which of a batch's `rows`, in order, may show that its examples cannot be cut apart: `(wanted,)` or fewer.

    A third are its first, a third its last, since batches may be sorted, by class or by length; one has each label that
    there is, one each of 0 and NaN among other numbers; the others are drawn at random.

    Args:
        batch: with labels, masks or weights `(rows,)` among its tensors, if any.
        rows: of every tensor in it.
        wanted: how many; from 3 up.
    """
    third = wanted // 3
    chosen = torch.zeros(rows, dtype=torch.bool)
    chosen[:third] = chosen[rows - third :] = True
    for labels in tensors_of(batch):
        if labels.ndim == 1 and not labels.is_complex():
            kinds = 2 * labels.isnan() + (labels == 0) if labels.is_floating_point() else labels
            _, inverse = kinds.cpu().unique(return_inverse=True)
            first = torch.full((int(inverse.max()) + 1,), rows).scatter_reduce(0, inverse, torch.arange(rows), "amin")
            chosen[first[: wanted - 2 * third]] = True
    rest = (~chosen).nonzero()[:, 0]
    drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))[: max(0, wanted - int(chosen.sum()))]
    chosen[rest[drawn]] = True
    return chosen.nonzero()[:, 0]


@torch.no_grad()
def _values_agree(
    functional: FunctionalModule, batch: Batch, size: int, measure: Measure, counts: Sequence[Count]
) -> bool:
    """Whether microbatches have the values of the whole, with the weights that the module's copy holds."""
    try:
        parts = cut(batch, size)
        outputs = [functional.call(part) for part in parts]
        values = torch.stack([measure(output, target) for output, target in outputs])
        averaging = Averaging.of(counts, parts, [target for _, target in outputs], [*map(rows_of, parts)])
        whole = measure(*functional.call(batch))
    except Exception:  # whatever a module or criterion that wants its batches as they are raises
        return False
    together = (values.cpu() * averaging.weights).sum(0) / averaging.divisors
    tolerance = torch.finfo(functional.coarsest).eps ** 0.6  # above rounding, which is that of other kernels too
    return torch.allclose(together, whole.cpu(), rtol=tolerance, atol=0)
