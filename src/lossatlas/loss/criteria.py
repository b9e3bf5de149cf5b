"""How a batch enters a module, and how the criterion's values on batches become the value on all data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lossatlas import hardware
from lossatlas.loss.batches import Batch, describe, rows_of

Criterion = Callable[[Any, Any], Any]  # (output, target) -> scalar
Forward = Callable[[nn.Module, Batch], tuple[Any, Any]]  # (module, batch) -> (output, target)
Reduction = Literal["mean", "sum"]
WeighBy = Literal["examples", "tokens"] | Callable[[Batch], float | Tensor]

IGNORED = -100  # torch's and Hugging Face's label of a position that does not count


def supervised(module: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Output of `module` and target, of a `batch` (inputs, targets) or a mapping with "labels" that the module takes by
    name.

    Inputs that are a tuple or list are passed one by one, a mapping by name.
    """
    if isinstance(batch, Mapping):
        return module(**batch), target_of(batch)
    inputs = batch[0]
    if isinstance(inputs, Mapping):
        output = module(**inputs)
    elif isinstance(inputs, (tuple, list)):
        output = module(*inputs)
    else:
        output = module(inputs)
    return output, target_of(batch)


def target_of(batch: Batch) -> Any:
    """The target of a `batch` as `supervised` understands it; ValueError where it has none."""
    if isinstance(batch, Mapping) and "labels" in batch:
        return batch["labels"]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[1]
    raise ValueError(
        f'a batch is {describe(batch)}: wanted (inputs, targets) or a mapping with "labels"; otherwise say how it '
        "enters the module and what the target is: forward=lambda module, batch: (module(...), target)"
    )


def own_loss(output: Any, target: Any) -> Any:
    """The loss that the module has computed itself: `output.loss`, `output["loss"]`, or a scalar output.

    It takes a `target` as every criterion does, and needs none. Raises ValueError where there is no such loss.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is not None:
        return loss
    if isinstance(output, Tensor) and output.ndim == 0:
        return output
    raise ValueError(
        f"there is no criterion, and the module's output ({describe(output)}) has no loss: give a criterion, or a "
        'module whose output is a scalar or has .loss or ["loss"]'
    )


def reduction_of(criterion: Criterion, said: Reduction | None) -> Reduction | None:
    """ "mean" or "sum", as the caller has `said` or else the `criterion`; None where neither does.

    Raises ValueError where the criterion gives no scalar.
    """
    reduction = said or _setting(criterion, "reduction")
    if reduction is None:
        return None
    if reduction == "batchmean":  # nn.KLDivLoss: the mean over examples
        return "mean"
    if reduction not in ("mean", "sum"):
        raise ValueError(f"the reduction is {reduction!r}: wanted a criterion that gives a scalar, by 'mean' or 'sum'")
    return reduction


def adds_up(criterion: Criterion, output: Any, target: Any) -> bool | None:
    """Whether a criterion is twice as large on a batch that is there twice: it sums, whatever it says.

    None where the batch does not tell, with a value of 0 or one that is not finite.

    Args:
        criterion: `criterion(output, target)` -> a scalar.
        output: of the module for a batch.
        target: of the same batch.
    """
    if not (isinstance(output, Tensor) and isinstance(target, Tensor) and output.ndim and target.ndim):
        return False
    once, twice = (torch.as_tensor(criterion(torch.cat([output] * n), torch.cat([target] * n))) for n in (1, 2))
    if once == 0 or not torch.isfinite(once):
        return None
    return bool(torch.isclose(twice, 2 * once, rtol=1e-3, atol=0))


@dataclass(frozen=True)
class Measure:
    """What one forward pass yields: the loss, then the metrics.

    Args:
        criterion: `criterion(output, target)` -> a scalar.
        metrics: more such functions by name.
    """

    criterion: Criterion
    metrics: Mapping[str, Criterion]

    @property
    def names(self) -> tuple[str, ...]:
        return ("loss", *self.metrics)

    def __call__(self, output: Any, target: Any) -> Tensor:
        """Every value of `output` and `target`, `(names,)` in float64: the criterion computes as it does, nothing is
        lost after.

        Raises ValueError where a value is no scalar.
        """
        values = [self.criterion(output, target), *(metric(output, target) for metric in self.metrics.values())]
        tensors = [value if isinstance(value, Tensor) else torch.as_tensor(value) for value in values]
        for name, tensor in zip(self.names, tensors, strict=True):
            if tensor.ndim:
                raise ValueError(
                    f"{name} of {describe(output)} and {describe(target)} is a tensor of shape {tuple(tensor.shape)}: "
                    "wanted a scalar per batch, its mean or sum over examples (reduction='mean' or 'sum')"
                )
        device = tensors[0].device
        wide = torch.float64 if hardware.supports_float64(device) else torch.float32
        return torch.stack([tensor.to(device, wide) for tensor in tensors])

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Measure:
        """The same with the criterion's own tensors (class weights) on `device` and in `dtype`; others as they are."""
        criterion = self.criterion
        if isinstance(criterion, nn.Module) and any(True for _ in criterion.buffers()):
            criterion = copy.deepcopy(criterion).to(device, dtype)
        return replace(self, criterion=criterion)


@dataclass(frozen=True)
class Averaging:
    """How values on batches become one: Σ weight · value / divisor, for the loss and for every metric.

    Args:
        weights: `(batches, names)`, float64.
        divisors: `(names,)`, float64.
        weighted_by: "examples", "tokens", "weigh_by" or, for the loss alone, "sum".
    """

    weights: Tensor
    divisors: Tensor
    weighted_by: str

    @classmethod
    def of(
        cls, batches: list[Batch], targets: Iterable[Any], measure: Measure, weigh_by: WeighBy | None, summed: bool
    ) -> Averaging:
        """Weights that make the mean over batches equal the mean over all data at once.

        Where the criterion sums, its values are added up; metrics are means all the same.

        Args:
            batches: all of them.
            targets: of each batch; None where the weight does not depend on it.
            measure: the criterion and the metrics.
            weigh_by: what the caller says that batches are weighted by.
            summed: whether the criterion adds up over a batch.

        Raises:
            ValueError: no target counts, or a weight is negative.
        """
        pairs = [
            _weights(measure.criterion, weigh_by, batch, target) for batch, target in zip(batches, targets, strict=True)
        ]
        weights = torch.tensor(
            [[1.0 if summed else loss, *[other] * len(measure.metrics)] for loss, other in pairs], dtype=torch.float64
        )
        divisors = weights.sum(0)
        if summed:
            divisors[0] = 1.0
        if not bool((divisors > 0).all()) or not bool((weights >= 0).all()):
            raise ValueError(
                f"the batches weigh {[loss for loss, _ in pairs][:5]}...: wanted weights from 0 up and one target that "
                "counts at least (are all of them ignore_index?)"
            )
        by_rows = all(pair == (rows_of(batch),) * 2 for pair, batch in zip(pairs, batches, strict=True))
        return cls(
            weights, divisors,
            "sum" if summed else "weigh_by" if callable(weigh_by) else "examples" if by_rows else "tokens",
        )  # fmt: skip

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


def needs_target(criterion: Criterion, weigh_by: WeighBy | None) -> bool:
    """Whether a batch's weight depends on its target, with this `criterion` and what the caller says by `weigh_by`."""
    return weigh_by == "tokens" or (weigh_by is None and (criterion is own_loss or _ignored(criterion) is not None))


def _weights(criterion: Criterion, weigh_by: WeighBy | None, batch: Batch, target: Any) -> tuple[float, float]:
    """What a batch counts in the mean of the loss, and in those of the metrics.

    Examples; or, where targets with `ignore_index` do not count, the others, in the loss by their class's weight.
    """
    if callable(weigh_by):
        weight = float(weigh_by(batch))
        return weight, weight
    rows = float(rows_of(batch))
    labels = isinstance(target, Tensor) and not target.is_floating_point()  # not probabilities or regression
    if not needs_target(criterion, weigh_by) or not labels:
        return rows, rows
    if weigh_by is None and criterion is own_loss and target.ndim < 2:
        return rows, rows
    ignored = _ignored(criterion)
    counted = target[target != (IGNORED if ignored is None else ignored)].cpu()
    by_class = _setting(criterion, "weight")
    weight = by_class.cpu()[counted].double().sum() if isinstance(by_class, Tensor) else counted.numel()
    return float(weight), float(counted.numel())


def target_weights(criterion: Criterion, target: Tensor) -> Tensor:
    """What each of `target` `(n, ...)` counts in the mean or sum of `criterion` over a batch: `(n,)`, float64, CPU.

    1; of labels with `ignore_index` the class's weight, or 0 where it is ignored.
    """
    if target.is_floating_point():  # probabilities or regression
        return torch.ones(len(target), dtype=torch.float64)
    ignored = _ignored(criterion)
    labels = target.reshape(len(target)).cpu()
    counted = labels != (IGNORED if ignored is None else ignored)
    by_class = _setting(criterion, "weight")
    if ignored is None or not isinstance(by_class, Tensor):
        return counted.double()
    return torch.where(counted, by_class.cpu().double()[torch.where(counted, labels, 0)], 0.0)


def has_class_weights(criterion: Criterion) -> bool:
    """Whether the `criterion` weighs targets by their class."""
    return isinstance(_setting(criterion, "weight"), Tensor)


def name_of(function: Any) -> str:
    """What a `function`, module or partial is called, for messages."""
    return getattr(function, "__name__", type(function).__name__)


def _setting(criterion: Criterion, name: str) -> Any:
    """An option of a criterion: attribute of a module, or default in the signature of a function or partial."""
    if isinstance(criterion, nn.Module):
        return getattr(criterion, name, None)
    try:
        option = inspect.signature(criterion).parameters.get(name)
    except (TypeError, ValueError):
        return None
    return None if option is None or option.default is inspect.Parameter.empty else option.default


def _ignored(criterion: Criterion) -> int | None:
    index = _setting(criterion, "ignore_index")
    return index if isinstance(index, int) else None
