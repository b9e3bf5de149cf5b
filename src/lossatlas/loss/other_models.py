"""The loss of other models than the one it was made with: whose buffers they have, and how they get their own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from lossatlas.loss.batch_norm import BatchStatistics, InterpolatedStatistics, Norm
from lossatlas.loss.batches import Batch, first_rows
from lossatlas.loss.first_pass import PROBED_ROWS
from lossatlas.loss.functional_module import FunctionalModule, untouched_randomness, versions, written
from lossatlas.loss.loss import Loss


def borrowed_buffers(loss: Loss, points: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]] | None:
    """The first of the points where buffers are those of other weights, though nobody said so, and which; or None.

    Buffers that training writes belong to the weights beside which they were written. With those of the loss's module,
    the value at another model's θ is not that model's loss: it can be a hundred times as large.

    Args:
        loss: made with one model.
        points: `(P,)` each, perhaps of others, by name.
    """
    parts = loss._components
    if not any(buffer.is_floating_point() for buffer in loss.module.buffers()):
        return None
    foreign = {
        name: theta
        for name, theta in points.items()
        if parts.statistics.between is not None or not torch.equal(theta.to(loss.theta), loss.theta)
    }
    if not foreign or (parts.statistics.stated and parts.statistics.source in ("stored", "batch")):
        return None
    trained = trained_buffers(parts.functional, first_rows(parts.data.largest(), PROBED_ROWS))
    for name, theta in foreign.items():
        if borrowed := parts.statistics.borrowed(theta, trained):
            return name, borrowed
    return None


def with_buffers(
    loss: Loss,
    buffers: Literal["stored", "interpolated"],
    between: Sequence[nn.Module | Mapping[str, Tensor]] | None = None,
) -> Loss:
    """The same loss and data with buffers from elsewhere, as `Loss.of` would have them.

    Args:
        loss: which is left as it is.
        buffers: "stored" in its module, or "interpolated" between models.
        between: those models, for "interpolated".

    Raises:
        ValueError: as `Loss.of` does, and where the loss was made with others than its module's own statistics.
    """
    parts = loss._components
    if parts.statistics.source != "stored":
        raise ValueError(
            f"buffers is {parts.statistics.source!r} already: wanted a loss with those of its module; make another by "
            "Loss.of"
        )
    models = None if between is None else InterpolatedStatistics(loss.layout, loss.module, between)
    statistics = BatchStatistics(parts.functional, buffers, models)
    attrs = {**parts.attrs, "buffers": buffers} | ({} if models is None else {"between": len(models)})
    return Loss(replace(parts, statistics=statistics, attrs=attrs))


def trained_buffers(functional: FunctionalModule, batch: Batch) -> tuple[str, ...]:
    """Names of the buffers of a state dict that a pass in training mode writes to, floating-point ones.

    Running statistics of norms, the vectors of spectral norms, codebooks that follow an average. Costs a copy of the
    module and a pass, where there are buffers beside those of torch's own norms, which are known.

    Args:
        functional: the loss's own copy of the module, which stays as it is.
        batch: of the data.
    """
    module = functional.module
    kept = {name for name, buffer in module.named_buffers() if buffer.is_floating_point()} & module.state_dict().keys()
    of_norms = {
        f"{name}.{leaf}".lstrip(".")
        for name, part in module.named_modules()
        if isinstance(part, Norm)
        for leaf in ("running_mean", "running_var")
    }
    if kept <= of_norms:
        return tuple(sorted(kept))
    return tuple(sorted(kept & (of_norms | _written_in_training(functional, batch))))


def _written_in_training(functional: FunctionalModule, batch: Batch) -> set[str]:
    training = copy.deepcopy(functional.module).train()
    before = versions(training)
    try:
        with untouched_randomness(), torch.enable_grad():
            functional.forward(training, batch)
    except Exception:  # a module that cannot be trained on such a batch: what it wrote until then counts
        pass
    return set(written(training, before))
