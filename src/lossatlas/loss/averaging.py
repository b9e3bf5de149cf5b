"""How the values of a criterion and of metrics on batches become those on all data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossatlas.loss.batches import Batch, tensors_of
from lossatlas.loss.captured import captured
from lossatlas.loss.criteria import IGNORED, Criterion, WeighBy, ignored_index, own_loss, setting_of


@dataclass(frozen=True)
class Count:
    """What a batch counts in a mean over batches.

    Args:
        name: what is counted: "examples", "tokens", ...; "sum": nothing, the values of batches are added up.
        of: (batch, target, rows) -> the number, from 0 up.
        wants_target: whether it depends on the target.
    """

    name: str
    of: Callable[[Batch, Any, int], float]
    wants_target: bool = False


SUM = Count("sum", lambda batch, target, rows: 1.0)
EXAMPLES = Count("examples", lambda batch, target, rows: float(rows))
ELEMENTS = Count("elements", lambda batch, target, rows: float(target.numel()), wants_target=True)


def tokens(ignored: int = IGNORED, by_class: Tensor | None = None, *, shifted: bool = False) -> Count:
    """Targets that count, each with its class's weight.

    Args:
        ignored: the label of those that do not.
        by_class: weights `(classes,)`.
        shifted: without the first of every row, which a causal language model has nothing to predict from.
    """

    def count(batch: Batch, target: Any, rows: int) -> float:
        labels = target[..., 1:] if shifted else target
        counted = labels[labels != ignored].cpu()
        return float(counted.numel() if by_class is None else by_class.cpu()[counted].double().sum())

    return Count("shifted tokens" if shifted else "tokens", count, wants_target=True)


def prior_count(criterion: Criterion, said: WeighBy | None, target: Any, *, metric: bool = False) -> Count:
    """What a batch counts as far as the caller and the criterion say.

    Args:
        criterion: of the loss.
        said: `weigh_by` of `Loss.of`.
        target: of a batch.
        metric: whether the count is meant for a metric, which has no weights of classes.
    """
    if callable(said):
        weigh = said
        return Count("weigh_by", lambda batch, target, rows: float(weigh(batch)))
    labels = isinstance(target, Tensor) and not target.is_floating_point() and target.dtype is not torch.bool
    ignored, weights = ignored_index(criterion), setting_of(criterion, "weight")
    if said == "examples" or not labels or (said is None and criterion is not own_loss and ignored is None):
        return EXAMPLES
    if said is None and criterion is own_loss:
        return EXAMPLES if target.ndim < 2 else tokens(shifted=True)
    by_class = weights if isinstance(weights, Tensor) and not metric else None
    return tokens(IGNORED if ignored is None else ignored, by_class)


def other_counts(criterion: Criterion, batch: Batch, target: Any, rows: int) -> list[Count]:
    """What else a batch may count: kinds of targets, masks and lengths in it, example weights, or a sum.

    Args:
        criterion: of the loss.
        batch: whose tensors are looked through.
        target: of the batch.
        rows: its examples.
    """
    counts = [SUM, EXAMPLES]
    if isinstance(target, Tensor) and target.ndim:
        counts.append(ELEMENTS)
        if target.is_floating_point():
            counts.append(Count("targets that are numbers", lambda b, t, r: float((~t.isnan()).sum()), True))
        else:
            counts += _label_counts(criterion, target)
    return counts + _counts_in(batch, rows)


def _label_counts(criterion: Criterion, target: Tensor) -> list[Count]:
    ignored = {IGNORED, -1, 0, int(target.min()), int(target.max())}  # padding is mostly at one end of the labels
    ignored |= {value for value in (ignored_index(criterion),) if value is not None}
    counts = [tokens(value) for value in sorted(ignored)]
    if target.ndim > 1:
        counts += [tokens(value, shifted=True) for value in sorted(ignored)]
    counts.append(Count("targets from 0 up", lambda b, t, r: float((t >= 0).sum()), True))
    for weights in _class_weights(criterion):
        counts += [tokens(value, weights) for value in sorted(ignored)]
    return counts


def _class_weights(criterion: Criterion) -> list[Tensor]:
    """Tensors that a criterion has, or a function captures, which may hold a weight for each class."""
    tensors = [setting_of(criterion, "weight"), *captured(criterion)]
    return [one for one in tensors if isinstance(one, Tensor) and one.ndim == 1 and one.is_floating_point()]


def _counts_in(batch: Batch, rows: int) -> list[Count]:
    """Sums of tensors of the batch that may be masks, lengths or weights: none below zero, with a row per example."""
    counts = []
    for place, tensor in enumerate(tensors_of(batch)):
        if not tensor.ndim or len(tensor) != rows or tensor.is_complex() or bool((tensor < 0).any()):
            continue
        kind = f"the sum of tensor {place + 1} of the batch"
        counts.append(Count(kind, lambda b, t, r, place=place: float(tensors_of(b)[place].double().sum())))
        if tensor.ndim > 1:
            counts.append(
                Count(
                    f"{kind}, shifted", lambda b, t, r, place=place: float(tensors_of(b)[place][:, 1:].double().sum())
                )
            )
    return counts


@dataclass(frozen=True)
class Averaging:
    """How values on batches become one: Σ weight · value / divisor, for the loss and for every metric.

    Args:
        weights: `(batches, names)`, float64.
        divisors: `(names,)`, float64; 1 where values are added up.
        weighted_by: what the loss's batches count, or "sum".
    """

    weights: Tensor
    divisors: Tensor
    weighted_by: str

    @classmethod
    def of(
        cls, counts: Sequence[Count], batches: Sequence[Batch], targets: Sequence[Any], rows: Sequence[int]
    ) -> Averaging:
        """The averaging of batches that count so much.

        Args:
            counts: one for the loss and one for every metric.
            batches: all of them.
            targets: of each batch; None where no count wants it.
            rows: examples of each batch.

        Raises:
            ValueError: nothing counts, or a count is negative.
        """
        weights = torch.tensor(
            [
                [count.of(batch, target, size) for count in counts]
                for batch, target, size in zip(batches, targets, rows, strict=True)
            ],
            dtype=torch.float64,
        )
        added = torch.tensor([count is SUM for count in counts])
        divisors = torch.where(added, 1.0, weights.sum(0))
        if not bool((divisors > 0).all()) or not bool((weights >= 0).all()):
            raise ValueError(
                f"the batches weigh {weights[:5, 0].tolist()}...: wanted weights from 0 up and one target that counts "
                "at least (are all of them ignore_index?)"
            )
        by_rows = torch.tensor(rows, dtype=torch.float64)
        name = counts[0].name
        if name not in (SUM.name, "weigh_by") and bool((weights[:, 0] == by_rows).all()):
            name = EXAMPLES.name
        if name == ELEMENTS.name and bool((weights[:, 0] * by_rows[0] == weights[0, 0] * by_rows).all()):
            weights[:, 0], divisors[0], name = by_rows, by_rows.sum(), EXAMPLES.name  # each example counts as much
        return cls(weights, divisors, name)

    def counts(self, rows: Sequence[int]) -> bool:
        """Whether batches weigh by their examples, `rows`, or, where the criterion sums, are added up."""
        wanted = torch.tensor(rows, dtype=torch.float64)[:, None].expand_as(self.weights)
        same = self.weights == wanted
        return bool(same[:, 1:].all()) and (self.weighted_by == "sum" or bool(same.all()))

    def of_samples(self, sizes: Sequence[int], populations: Sequence[int]) -> Averaging:
        """The same for batches of `sizes` examples that stand for `populations`: weighted by examples, or summed."""
        weights = torch.tensor(populations, dtype=torch.float64)[:, None].repeat(1, self.weights.shape[1])
        if self.weighted_by == "sum":
            weights[:, 0] /= torch.tensor(sizes)
        return Averaging(weights, self.divisors, self.weighted_by)
