"""Metrics that are no mean over examples, such as F1, AUROC or R²: accumulated over all batches at every point."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossatlas.loss.batches import describe

# Bytes of outputs that are given to a metric together. torchmetrics decides for every update whether its outputs are
# logits or probabilities, by whether one of them leaves 0 to 1; with less, small batches of logits pass for the latter.
JOINED_BYTES = 2**28

METHODS = ("reset", "update", "compute")  # of torchmetrics, and of torcheval


def accumulates(metric: Any) -> bool:
    """Whether a `metric` gathers over batches: an instance of `torchmetrics.Metric`, or of what has its methods."""
    return not isinstance(metric, type) and all(callable(getattr(metric, method, None)) for method in METHODS)


class Accumulators:
    """Copies of those metrics that gather over batches: reset at a point, updated with all batches, then computed.

    Their value is that on all data at once, however these are batched; what batches weigh does not matter. Batches are
    joined before an update, up to `JOINED_BYTES`, where they are tensors of like shape.

    Args:
        metrics: all metrics by name; functions among them are passed over.
        device: where outputs and targets are.
    """

    def __init__(self, metrics: Mapping[str, Any], device: torch.device) -> None:
        self.columns = [column for column, metric in enumerate(metrics.values(), start=1) if accumulates(metric)]
        self._metrics = {name: _copied(metric, device) for name, metric in metrics.items() if accumulates(metric)}
        self._pending: list[tuple[Any, Any]] = []  # outputs and targets that no metric has seen yet

    def __bool__(self) -> bool:
        return bool(self._metrics)

    def reset(self) -> None:
        """Forget every batch."""
        self._pending = []
        for metric in self._metrics.values():
            metric.reset()

    def update(self, output: Any, target: Any) -> None:
        """Take in the `output` of a batch and its `target`."""
        if self._metrics:
            self._pending.append((output, target))
            if not _can_be_joined(self._pending):
                newest = self._pending.pop()
                self._flush()
                self._pending = [newest]

    def values(self) -> Tensor:
        """What the batches since `reset` give, one value for each of `columns`, float64.

        Raises ValueError where a value is no scalar.
        """
        self._flush()
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        for name, value in computed.items():
            if isinstance(value, (Mapping, tuple, list)) or torch.as_tensor(value).ndim:
                raise ValueError(
                    f"the metric {name} computes {describe(value)}: wanted a scalar; of a collection give its members, "
                    'metrics=dict(collection), of one value a class their mean, average="macro"'
                )
        return torch.tensor([float(value) for value in computed.values()], dtype=torch.float64)

    def _flush(self) -> None:
        if not self._pending:
            return
        output, target = (
            parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*self._pending, strict=True)
        )
        for metric in self._metrics.values():
            metric.update(output, target)
        self._pending = []


def _can_be_joined(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether outputs and targets are tensors with a row per example that are alike, and not too many."""
    if len(pairs) == 1:
        return True
    first, newest = pairs[0], pairs[-1]
    for one, other in zip(first, newest, strict=True):
        if not (isinstance(one, Tensor) and isinstance(other, Tensor) and one.ndim and other.ndim):
            return False
        if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
            return False
    return len(newest[0]) == len(newest[1]) and sum(output.nbytes for output, _ in pairs) <= JOINED_BYTES


def _copied(metric: Any, device: torch.device) -> Any:
    copied = copy.deepcopy(metric)
    return copied.to(device) if hasattr(copied, "to") else copied
