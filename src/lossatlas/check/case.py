"""The network with known answers that is measured, and how a deviation from them is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from lossatlas.loss.loss import Loss

Activation = Callable[[Tensor], Tensor]

SIZES = (10, 5, 15, 3)  # of the parameters of a 2-5-3 network: weight (5, 2), bias, weight (3, 5), bias


@dataclass(frozen=True)
class Measured:
    """A number that should be at most its limit, or at least where `above`."""

    value: float
    limit: float
    above: bool = False


@dataclass(frozen=True)
class Case:
    """A network at a point, with 100 examples; numbers that float32 holds, so that every precision means the same."""

    device: torch.device
    dtype: torch.dtype

    @property
    def rounding(self) -> float:
        """How far values and products may be off, relative to the largest."""
        return 1e-12 if self.dtype is torch.float64 else 2e-5

    @property
    def curvature(self) -> float:
        """How far second derivatives and eigenvalues may be off: finite differences and residuals are in it."""
        return 1e-7 if self.dtype is torch.float64 else 1e-3

    @cached_property
    def data(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(100, 2, generator=seed(1)).double()
        return inputs, (inputs.prod(1) > 0).long() + (inputs[:, 0] > 1).long()

    @cached_property
    def theta(self) -> Tensor:
        """`(33,)`, with rows of unlike norms, so that one scale for a whole layer is not one per filter."""
        weights = torch.randn(sum(SIZES), generator=seed(2)).double()
        weights[:10] *= torch.tensor([0.5, 1.0, 2.0, 0.25, 1.5]).repeat_interleave(2)
        return weights

    def on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)

    def loss(self, theta: Tensor | None = None, *, activation: nn.Module | None = None, **options: Any) -> Loss:
        """The library's view: an ordinary module with θ in it."""
        module = nn.Sequential(nn.Linear(2, 5), activation or nn.Tanh(), nn.Linear(5, 3)).to(self.device, self.dtype)
        vector_to_parameters(self.on_device(self.theta if theta is None else theta), module.parameters())
        data = tuple(map(self.on_device, self.data))
        return Loss.of(module, data, **{"criterion": nn.CrossEntropyLoss(), **options})

    def by_hand(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        """The mean cross-entropy on all examples, from its formula: `(33,)` in float64 -> `()`."""
        logits, targets = self.logits(theta, activation), self.data[1]
        return (logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]).mean()

    def logits(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        first, bias, second, last = theta.split(SIZES)
        return activation(self.data[0] @ first.view(5, 2).T + bias) @ second.view(3, 5).T + last

    def gradient_by_hand(self, theta: Tensor) -> Tensor:
        leaf = theta.detach().requires_grad_()
        return torch.autograd.grad(self.by_hand(leaf), leaf)[0]

    def hessian_by_hand(self, theta: Tensor, activation: Activation = torch.tanh) -> Tensor:
        return torch.as_tensor(
            torch.autograd.functional.hessian(lambda vector: self.by_hand(vector, activation), theta)
        )


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def deviation(measured: Any, expected: Any) -> float:
    """The largest deviation relative to the largest expected number; NaN is a deviation of NaN, which no limit allows.

    >>> deviation([1.0, 2.5], torch.tensor([1.0, 2.0]))
    0.25
    """
    a, b = (np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float) for x in (measured, expected))
    return float(np.abs(a - b).max() / np.abs(b).max())
