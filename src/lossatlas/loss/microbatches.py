"""Large batches in pieces that stay in the cache of a CPU."""

from __future__ import annotations

import torch

from lossatlas.loss.batches import Batch, Batches, cut, has_rows
from lossatlas.loss.criteria import Averaging, Measure, WeighBy
from lossatlas.loss.functional_module import ModuleState
from lossatlas.loss.validation import Cost

PIECE_BYTES = 2 * 2**20  # of the largest activation: 4x250 on 20,480 examples at once takes twice as long as in pieces
PIECE_ROWS = 512  # at least


def in_pieces(
    state: ModuleState,
    batches: list[Batch],
    data: Batches,
    cost: Cost,
    measure: Measure,
    weigh_by: WeighBy | None,
    *,
    summed: bool,
) -> list[Batch]:
    """The batches, cut where that leaves the loss and the metrics as they are, up to the rounding of their sums.

    It does not where examples see each other (statistics of a batch, a contrastive criterion), for a metric that is no
    mean (the largest error, F1, the root of a mean) or where batches weigh by a function of their own. Whether it does
    is tried on a piece and a half of the largest batch, at the module's weights and at others: at a minimum, or with
    the last layer at zero, all examples can be alike.

    Args:
        batches: as they were given; `data` are the same where they are computed on.
        cost: of the largest one.
    """
    rows = max(data.rows)
    least = max(PIECE_BYTES, state.layout.size * state.coarsest.itemsize)  # every piece reads all weights
    size = max(PIECE_ROWS, rows * least // cost.bytes) if cost.bytes else rows
    alone = state.buffers in ("stored", "interpolated") and not callable(weigh_by)
    if size >= rows or data.device.type != "cpu" or torch.finfo(state.coarsest).bits < 32 or not alone:
        return batches
    if not all(map(has_rows, batches, data.rows)):
        return batches
    some, theta = cut(data.largest(), size + size // 2)[0], state.layout.theta_of(state.module)
    noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).to(theta)
    moved = theta + theta.square().mean().sqrt().clamp_min(0.1) * noise
    for point in (theta, moved):
        with state.at(point):
            if not _same(state, some, size, measure, weigh_by, summed=summed):
                return batches
    return [piece for batch in batches for piece in cut(batch, size)]


@torch.no_grad()
def _same(
    state: ModuleState, batch: Batch, size: int, measure: Measure, weigh_by: WeighBy | None, *, summed: bool
) -> bool:
    """Whether pieces have the values of the whole, with the weights that the module's copy holds."""
    try:
        pieces = cut(batch, size)
        outputs = [state.call(piece) for piece in pieces]
        values = torch.stack([measure(*given) for given in outputs])
        averaging = Averaging.of(pieces, [target for _, target in outputs], measure, weigh_by, summed)
        whole = measure(*state.call(batch))
    except Exception:  # whatever a module or criterion that wants its batches as they are raises
        return False
    joined = (values.cpu() * averaging.weights).sum(0) / averaging.divisors
    return torch.allclose(joined, whole.cpu(), rtol=30 * torch.finfo(state.coarsest).eps, atol=0)
