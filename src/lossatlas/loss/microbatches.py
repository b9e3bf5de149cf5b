"""Large batches cut into microbatches that stay in the cache of a CPU."""

from __future__ import annotations

import torch

from lossatlas import hardware
from lossatlas.loss.batch_norm import BatchStatistics
from lossatlas.loss.batches import Batch, Batches, cut, has_rows
from lossatlas.loss.criteria import Averaging, Measure, WeighBy
from lossatlas.loss.functional_module import FunctionalModule
from lossatlas.loss.validation import PassCost


def microbatches(
    functional: FunctionalModule,
    statistics: BatchStatistics,
    *,
    batches: list[Batch],
    data: Batches,
    cost: PassCost,
    measure: Measure,
    weigh_by: WeighBy | None,
    summed: bool,
) -> list[Batch]:
    """The batches, cut where that leaves the loss and the metrics as they are, up to the rounding of their sums.

    It does not where examples see each other (statistics of a batch, a contrastive criterion), for a metric that is no
    mean (the largest error, F1, the root of a mean) or where batches weigh by a function of their own. Whether it does
    is tried on a microbatch and a half of the largest batch, at the module's weights and at others: at a minimum, or
    with the last layer at zero, all examples can be alike.

    Args:
        functional: the loss's own copy of the module.
        statistics: where those of batch norms come from.
        batches: as they were given.
        data: the same where they are computed on.
        cost: of the largest one.
        measure: the criterion and the metrics.
        weigh_by: what the caller says that batches are weighted by.
        summed: whether the criterion adds up over a batch.
    """
    rows = max(data.rows)
    weights = functional.layout.size * functional.coarsest.itemsize  # bytes: every microbatch reads all of them
    least = max(hardware.MICROBATCH_BYTES, weights)
    size = max(hardware.MICROBATCH_ROWS, rows * least // cost.bytes) if cost.bytes else rows
    half = torch.finfo(functional.coarsest).bits < 32
    if size >= rows or half or not hardware.microbatches_pay(data.device):
        return batches
    if statistics.couple_examples or callable(weigh_by):
        return batches
    if not all(map(has_rows, batches, data.rows)):
        return batches
    part, theta = cut(data.largest(), size + size // 2)[0], functional.layout.theta_of(functional.module)
    noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).to(theta)
    moved = theta + theta.square().mean().sqrt().clamp_min(0.1) * noise
    for point in (theta, moved):
        with functional.at(point):
            if not _values_agree(functional, part, size, measure, weigh_by, summed=summed):
                return batches
    return [microbatch for batch in batches for microbatch in cut(batch, size)]


@torch.no_grad()
def _values_agree(
    functional: FunctionalModule, batch: Batch, size: int, measure: Measure, weigh_by: WeighBy | None, *, summed: bool
) -> bool:
    """Whether microbatches have the values of the whole, with the weights that the module's copy holds."""
    try:
        parts = cut(batch, size)
        outputs = [functional.call(part) for part in parts]
        values = torch.stack([measure(output, target) for output, target in outputs])
        averaging = Averaging.of(parts, [target for _, target in outputs], measure, weigh_by, summed)
        whole = measure(*functional.call(batch))
    except Exception:  # whatever a module or criterion that wants its batches as they are raises
        return False
    joined = (values.cpu() * averaging.weights).sum(0) / averaging.divisors
    return torch.allclose(joined, whole.cpu(), rtol=30 * torch.finfo(functional.coarsest).eps, atol=0)
