"""How a batch enters a module, and how the criterion's values on batches become the value on all data."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lossatlas import hardware
from lossatlas.loss.accumulation import accumulates
from lossatlas.loss.batches import Batch, describe

Criterion = Callable[[Any, Any], Any]  # (output, target) -> scalar
Forward = Callable[[nn.Module, Batch], tuple[Any, Any]]  # (module, batch) -> (output, target)
Reduction = Literal["mean", "sum"]
WeighBy = Literal["examples", "tokens"] | Callable[[Batch], float | Tensor]

IGNORED = -100  # torch's and Hugging Face's label of a position that does not count


def supervised(module: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Output of `module` and target, of a `batch` (inputs, targets), a mapping with "labels" that the module takes by
    name, or an object with everything in it and its target as `.y` (PyTorch Geometric).

    Inputs that are a tuple or list are passed one by one, a mapping by name.
    """
    if isinstance(batch, Mapping):
        return module(**batch), target_of(batch)
    if not isinstance(batch, (tuple, list)):  # a graph with everything in it
        return module(batch), target_of(batch)
    inputs = batch[0]
    if isinstance(inputs, Mapping):
        output = module(**inputs)
    elif isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
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
    if isinstance(target := getattr(batch, "y", None), Tensor):
        return target
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
    reduction = said or setting_of(criterion, "reduction")
    if reduction is None:
        return None
    if reduction == "batchmean":  # nn.KLDivLoss: the mean over examples
        return "mean"
    if reduction not in ("mean", "sum"):
        raise ValueError(f"the reduction is {reduction!r}: wanted a criterion that gives a scalar, by 'mean' or 'sum'")
    return reduction


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

    @property
    def functions(self) -> dict[str, Criterion]:
        """The criterion and the metrics by name."""
        return {"loss": self.criterion, **self.metrics}

    @property
    def accumulates(self) -> bool:
        """Whether a metric gathers over batches, so that it has no value of one."""
        return any(map(accumulates, self.metrics.values()))

    def __call__(self, output: Any, target: Any) -> Tensor:
        """Every value of `output` and `target`, `(names,)` in float64: the criterion computes as it does, nothing is
        lost after. NaN for a metric that gathers over batches (`accumulation.Accumulators`).

        Raises ValueError where a value is no scalar.
        """
        values = [
            self.criterion(output, target),
            *(math.nan if accumulates(metric) else metric(output, target) for metric in self.metrics.values()),
        ]
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

    def to(self, device: torch.device, dtype: torch.dtype | None = None, *, module: nn.Module | None = None) -> Measure:
        """The same with the criterion's own tensors (class weights) in a copy on `device` and in `dtype`.

        What it holds of the `module` without registering it is not copied: that it is read is then seen.

        Args:
            device: where to.
            dtype: of floating-point tensors; None: as they are.
            module: the user's; None: it holds none.
        """
        criterion = self.criterion
        if isinstance(criterion, nn.Module) and (criterion.state_dict() or any(True for _ in criterion.buffers())):
            memo = {} if module is None else _parts_by_identity(module)
            for registered in _parts_by_identity(criterion):
                memo.pop(registered, None)
            criterion = copy.deepcopy(criterion, memo).to(device, dtype)
        return replace(self, criterion=criterion)


def _parts_by_identity(module: nn.Module) -> dict[int, Any]:
    return {id(part): part for part in (*module.modules(), *module.parameters(), *module.buffers())}


def target_weights(criterion: Criterion, target: Tensor) -> Tensor:
    """What each of `target` `(n, ...)` counts in the mean or sum of `criterion` over a batch: `(n,)`, float64, CPU.

    1; of labels with `ignore_index` the class's weight, or 0 where it is ignored.
    """
    if target.is_floating_point():  # probabilities or regression
        return torch.ones(len(target), dtype=torch.float64)
    ignored = ignored_index(criterion)
    labels = target.reshape(len(target)).cpu()
    counted = labels != (IGNORED if ignored is None else ignored)
    by_class = setting_of(criterion, "weight")
    if ignored is None or not isinstance(by_class, Tensor):
        return counted.double()
    return torch.where(counted, by_class.cpu().double()[torch.where(counted, labels, 0)], 0.0)


def has_class_weights(criterion: Criterion) -> bool:
    """Whether the `criterion` weighs targets by their class."""
    return isinstance(setting_of(criterion, "weight"), Tensor)


def name_of(function: Any) -> str:
    """What a `function`, module or partial is called, for messages."""
    return getattr(function, "__name__", type(function).__name__)


def setting_of(criterion: Criterion, name: str) -> Any:
    """The option `name` of a `criterion`: attribute of a module, default in the signature of a function or partial."""
    if isinstance(criterion, nn.Module):
        return getattr(criterion, name, None)
    try:
        option = inspect.signature(criterion).parameters.get(name)
    except (TypeError, ValueError):
        return None
    return None if option is None or option.default is inspect.Parameter.empty else option.default


def ignored_index(criterion: Criterion) -> int | None:
    """The label that a `criterion` says it leaves out."""
    index = setting_of(criterion, "ignore_index")
    return index if isinstance(index, int) else None
