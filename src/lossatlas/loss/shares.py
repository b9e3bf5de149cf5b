"""What a batch adds to the loss on all data, as a whole and example by example."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lossatlas.loss.batches import describe
from lossatlas.loss.criteria import Criterion, name_of, target_weights
from lossatlas.loss.differentiable_operations import DifferentiableOperations


@dataclass(frozen=True)
class Share:
    """A batch's part of the loss on the data as a function of the module's output.

    Args:
        criterion: of (output, target).
        target: of the batch.
        factor: what the criterion is multiplied by.
        summed: whether the criterion adds up over a batch; otherwise it takes the mean.
    """

    criterion: Criterion
    target: Any
    factor: float
    summed: bool

    def __call__(self, output: Any) -> Tensor:
        """The share at this `output`, a scalar that can be differentiated twice."""
        with DifferentiableOperations():
            value = self.criterion(output, self.target)
        return torch.as_tensor(value) * self.factor

    def of_examples(self, output: Any) -> tuple[Tensor, Tensor]:
        """The losses ℓ `(m,)` at this `output` of the examples whose target counts, and the weights w `(n,)` of all.

        The share is Σ w ℓ over those that count; the others weigh 0. An example is a row of the output and of the
        target, and ℓ what the criterion says of it alone. A class's weight is a part of w.

        Raises ValueError where the examples cannot be told apart.
        """
        target = self.target
        if not all(isinstance(part, Tensor) and part.ndim for part in (output, target)) or len(output) != len(target):
            raise ValueError(
                f"the output is {describe(output)} and the target {describe(target)}: losses of single examples want "
                "tensors with a row for each example, and a criterion outside the module"
            )
        if not target.is_floating_point() and target[0].numel() > 1:
            raise ValueError(
                f"the targets, {describe(target)}, hold several labels for each row: losses of single examples want "
                "one; let forward= flatten output and target, so that every row is one prediction"
            )
        counts = target_weights(self.criterion, target)
        counted = counts > 0
        losses = self._alone(output[counted.to(output.device)], target[counted.to(target.device)])
        if self.summed:
            losses, weights = losses / counts[counted].to(losses), counts * self.factor
        else:
            weights = counts * (self.factor / float(counts.sum()))
        whole, parts = self(output.detach()).cpu().double(), losses.detach().cpu().double() * weights[counted]
        precision = torch.finfo(losses.dtype).eps ** 0.5  # far above rounding, far below what another criterion makes
        if torch.isfinite(whole) and not (whole - parts.sum()).abs() <= precision * parts.abs().sum():
            raise ValueError(
                f"{name_of(self.criterion)} gives {float(whole / self.factor):.6g} for a batch and "
                f"{float(parts.sum() / self.factor):.6g} from its examples one by one: losses of single examples want "
                "a criterion that is their mean or their sum"
            )
        return losses, weights.to(losses)

    def _alone(self, output: Tensor, target: Tensor) -> Tensor:
        """The criterion of every example alone; ValueError where it does not take one."""
        try:
            return single_losses(self.criterion, output, target)
        except Exception as error:  # whatever a criterion of the user's raises
            raise ValueError(
                f"{name_of(self.criterion)} does not take one example alone: wanted a criterion that does ({error})"
            ) from error


def single_losses(criterion: Criterion, output: Tensor, target: Tensor) -> Tensor:
    """The criterion of every example alone, `(n,)`, in a loop where `vmap` cannot take it.

    Args:
        criterion: of (output, target); what it raises on one example comes through.
        output: `(n, ...)`.
        target: `(n, ...)`.
    """
    with suppress(Exception), warnings.catch_warnings():  # whatever a criterion of the user's raises inside vmap
        # Operations without a rule of their own run in a slow loop inside vmap: ours is as fast, and says nothing.
        warnings.filterwarnings("error", message="There is a performance drop")
        return vmap(lambda one, other: criterion(one[None], other[None]))(output, target)
    return torch.stack([criterion(output[i : i + 1], target[i : i + 1]) for i in range(len(output))])
